"""Roles of recorded frames (message, acknowledgement, greeting, joining, …) and the paths of the values in them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final

from earwitness.harness.draft.around import HINTS, around, codes, openings_of
from earwitness.harness.draft.evidence import (
    ID_NAME,
    LATE,
    ROOM_NAME,
    SENDER_NAME,
    SEQ_NAME,
    TEXT_NAME,
    TIME_NAME,
    Found,
    Rule,
    Score,
    Sending,
    after,
    as_sender,
    best_path,
    ends_named,
    in_list,
    inside,
    is_word,
    named,
    number_of,
)
from earwitness.harness.draft.kinds import Group, Side, Traffic, Unit
from earwitness.harness.draft.secrets import SECRET_NAME

LEAST_TEXT: Final = 1.7
OF_SENT: Final = {
    "id": "the client id of the sent message stands there",
    "room": "the room of the sent message stands there",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """Everything that was guessed about the frames of a recording.

    sending   how messages are sent, None if no sent text was found
    rules     role (message, ack, …) -> its rule
    join      sent units that subscribe to a room; `first`: those sent before everything else
    numbers   "contiguous", "increasing" or "none": what was seen of the numbers of messages
    echoed    (own messages that came back, all own messages)
    beats     kinds of sent frames that look like heartbeats
    own       the platform's id of the user: the sender of own messages that came back; "" if it is not known
    """

    sending: Sending | None
    rules: Mapping[str, Rule]
    join: tuple[Unit, ...]
    first: tuple[Unit, ...]
    numbers: str
    echoed: tuple[int, int]
    beats: tuple[Group, ...]
    own: str


@dataclass(frozen=True, slots=True)
class _Echo:
    """Path of sent texts, and the received frames in which the same texts came back.

    score         how likely these are texts of messages
    source, path  the sent units, and the path of the text in them
    seen          number of sent units whose text came back; if none came back, of units with a text
    group         received units with the texts, None if none came back
    items, back   path of the list in them, "" if there is none, and path of the text
    """

    score: float
    source: Group
    path: str
    seen: int
    group: Group | None
    items: str
    back: str


def chat_of(traffic: Traffic, posts: Sequence[Group], own: Collection[str]) -> Chat:
    """Return the roles of the frames.

    posts  requests that may send messages, by address
    own    texts that may be the platform's id of the user
    """
    echo = _text_sent(traffic, posts)
    sending = _sending(traffic, posts, echo) if echo else None
    message = _message(traffic, echo, sending, own)
    rules: dict[str, Rule] = {"message": message} if message else {}
    rules |= _answers(traffic.received, sending, message)
    join, first, beats = openings_of(traffic.sent, sending, rules)
    rules |= around(traffic.received, rules, join, message, own)
    numbers = _numbers(message)
    texts = {text for unit in echo.source.units if (text := unit.leaves.get(echo.path))} if echo else set()
    back = {unit.leaves.get(message.at["text"].path) for unit in message.group.units} & texts if message else set()
    user = _own_id(message, texts)
    return Chat(
        sending=sending,
        rules=rules,
        join=join,
        first=first,
        numbers=numbers,
        echoed=(len(back), len(texts)),
        beats=beats,
        own=user,
    )


# -- the text -------------------------------------------------------------------------------------------------------


def _text_sent(traffic: Traffic, posts: Sequence[Group]) -> _Echo | None:
    """Return the path that most probably has the texts of sent messages, None if no score reaches LEAST_TEXT.

    A path scores if its texts come back, have several words and differ, and if it is named like a text.
    """
    index: dict[object, list[tuple[Unit, Group, str]]] = defaultdict(list)
    for group in traffic.received.groups:
        for unit in group.units:
            for path, value in unit.leaves.items():
                if isinstance(value, str) and value and path != traffic.received.kind:
                    index[value].append((unit, group, path))
    best: _Echo | None = None
    for group in (*traffic.sent.groups, *posts):
        for path in group.paths():
            if (path == traffic.sent.kind and group.units[0].place[0] >= 0) or SECRET_NAME.search(path):
                continue
            echo = _echo(group, path, index)
            if echo and echo.score >= LEAST_TEXT and (best is None or echo.score > best.score):
                best = echo
    return best


def _echo(source: Group, path: str, index: Mapping[object, Sequence[tuple[Unit, Group, str]]]) -> _Echo | None:
    units = [unit for unit in source.units if isinstance(unit.leaves.get(path), str) and unit.leaves[path]]
    if not units or path.startswith("/"):
        return None
    hits: Counter[tuple[int, str, str]] = Counter()
    groups: dict[int, Group] = {}
    for unit in units:
        found = {
            (id(group), *in_list(other, back))
            for other, group, back in index.get(unit.leaves[path], ())[:50]
            if after(unit, other) and not groups.update({id(group): group})
        }
        hits.update(found)
    most = max(hits.items(), key=lambda one: (one[1], not one[0][1], _named_text(one[0][2])), default=None)
    values = [str(unit.leaves[path]) for unit in units]
    words = sum(bool(re.search(r"\S\s+\S|[^\w.:/@-]", value)) for value in values) / len(units)
    spread = len(set(values)) / len(values) if len(values) > 1 else 0.5
    other = ends_named(path, ID_NAME) or ends_named(path, ROOM_NAME) or ends_named(path, SENDER_NAME)
    score = 1.2 * _named_text(path) + 0.9 * words + 0.5 * spread - 1.3 * other
    if most is None:
        return _Echo(score, source, path, len(units), None, "", "")
    (group, items, back), n = most
    score += 1.2 * n / len(units) + 0.4 * _named_text(back)
    return _Echo(score, source, path, n, groups[group], items, back)


def _named_text(path: str) -> bool:
    return bool(TEXT_NAME.match(path.rpartition(".")[2]))


def _sending(traffic: Traffic, posts: Sequence[Group], echo: _Echo) -> Sending:
    group = echo.source
    by_http = any(group is post for post in posts)
    kind = "" if by_http else traffic.sent.kind
    n = len(group.units)
    how = "this text came back on the socket" if echo.back else "it is named like a text"
    at = {"text": Found(path=echo.path, seen=echo.seen, of=n, how=how)}
    received = {
        str(value)
        for unit in traffic.received.units
        for path, value in unit.leaves.items()
        if is_word(value) and path != traffic.received.kind
    }
    room = best_path(group, lambda path, units: _as_room(path, units, received), 0.9, {kind, echo.path})
    if room:
        at["room"] = room
    taken = {kind, echo.path, *([room.path] if room else [])}
    own = best_path(group, lambda path, units: _as_id(path, units, received), 0.9, taken)
    if own:
        at["id"] = own
    return Sending(group=group, by_http=by_http, at=at)


def _as_room(path: str, units: Sequence[Unit], received: Collection[str]) -> tuple[float, str]:
    values = [unit.leaves[path] for unit in units]
    if not all(is_word(value) for value in values) or SECRET_NAME.search(path):
        return 0.0, ""
    back = sum(str(value) in received for value in values) / len(values)
    few = len(set(map(str, values))) <= max(1, len(values) / 2)
    known = ends_named(path, ROOM_NAME)
    letters = all(re.search(r"[^\W\d_]", str(value)) for value in values)
    score = 1.0 * known + 0.5 * back + 0.3 * few + 0.15 * letters - 0.6 * (ends_named(path, SENDER_NAME) and not known)
    return score - 0.5 * (
        path.startswith("/") and not back
    ), "named like a room" if known else "it comes back, and repeats"


def _as_id(path: str, units: Sequence[Unit], received: Collection[str]) -> tuple[float, str]:
    values = [str(unit.leaves[path]) for unit in units]
    if not all(is_word(unit.leaves[path]) for unit in units) or path.startswith("/") or SECRET_NAME.search(path):
        return 0.0, ""
    if len(set(values)) < len(values):
        return 0.0, ""
    back = sum(value in received for value in values) / len(values)
    known = named(path, ID_NAME)
    late = ends_named(path, TIME_NAME) and not back
    how = "different in each message, and an answer repeats it" if back else "different in each message"
    return 0.8 * known + 0.7 * back + 0.3 * (len(values) > 1) - 1.0 * late, how


# -- what is received -----------------------------------------------------------------------------------------------


def _message(traffic: Traffic, echo: _Echo | None, sending: Sending | None, own: Collection[str]) -> Rule | None:
    kind = traffic.received.kind
    if echo and echo.group is not None:
        group, items, path = echo.group, echo.items, echo.back
        how = "a sent text came back in it"
    else:
        likely = [(group, found) for group in traffic.received.groups if (found := _likely_text(group, kind))]
        if not likely:
            return None
        group, found = max(likely, key=lambda one: len(one[0].units))
        items, path, how = "", found.path, "it has a text; no sent text came back"
    inner = inside(group, items) if items else group
    seen, of = inner.share(path)
    at = {"text": Found(path=path, seen=seen, of=of, how=how)}
    taken = {kind, path}
    same_id = partial(
        _as_same, sent=_pairs(inner, path, sending, "id"), pattern=ID_NAME, what=OF_SENT["id"], by_name=0.1
    )
    rooms = _pairs(inner, path, sending, "room")
    same_room = partial(_as_same, sent=rooms, pattern=ROOM_NAME, what=OF_SENT["room"], by_name=0.8)
    roles: dict[str, Score] = {
        "id": same_id,
        "room": same_room,
        "seq": _as_number,
        "sender": lambda path, units: as_sender(path, units, own),
    }
    for role, score in roles.items():
        if found := best_path(inner, score, 0.9, taken):
            at[role] = found
            taken.add(found.path)
    return Rule(group=group, how=how, items=items, at=at)


def _likely_text(group: Group, kind: str) -> Found | None:
    def score(path: str, units: Sequence[Unit]) -> tuple[float, str]:
        values = [unit.leaves[path] for unit in units]
        words = sum(isinstance(value, str) and " " in value.strip() for value in values) / len(values)
        texts = all(isinstance(value, str) for value in values)
        return (1.0 * _named_text(path) + 0.6 * words if texts else 0.0), "named like a text"

    if any(hint.search(group.name) for role, hint in HINTS.items() if role in ("nack", "welcome")):
        return None
    return best_path(group, score, 0.9, {kind})


def _pairs(message: Group, path: str, sending: Sending | None, role: str) -> dict[int, str]:
    """Return `id()` of a received unit -> the value of the role `role` in the sent message with the same text.

    `path`: of the text in received messages. Units without such a value are left out.
    """
    if sending is None or role not in sending.at:
        return {}
    text, there = sending.at["text"].path, sending.at[role].path
    # Not every frame of the kind has a text: a subscription looks like a message of GraphQL.
    having = [unit for unit in sending.group.units if text in unit.leaves]
    sent = {unit.leaves[text]: str(unit.leaves.get(there, "")) for unit in having}
    known = {
        id(unit): sent[unit.leaves[path]] for unit in message.units if path in unit.leaves and unit.leaves[path] in sent
    }
    return {unit: value for unit, value in known.items() if value}


def _as_same(
    path: str, units: Sequence[Unit], *, sent: Mapping[int, str], pattern: re.Pattern[str], what: str, by_name: float
) -> tuple[float, str]:
    """Return (score, phrase for the comment) of a path whose values should equal those of `sent`.

    - `sent`: `id()` of a unit -> the value that is expected in it
    - `pattern`, `by_name`: pattern of fitting names, and the score for one: too low for an id, enough for a room
    - `what`: the phrase if at least half of the values are equal
    """
    pairs = [(str(unit.leaves[path]), sent[id(unit)]) for unit in units if id(unit) in sent]
    if not all(is_word(unit.leaves[path]) for unit in units):
        return 0.0, ""
    same = sum(value == other for value, other in pairs) / len(pairs) if pairs else 0.0
    known = ends_named(path, pattern)
    return 1.2 * (same if same >= 0.5 else 0.0) + (by_name + 0.2) * known, what if same >= 0.5 else "by its name"


def _as_number(path: str, units: Sequence[Unit]) -> tuple[float, str]:
    numbers = [number_of(unit.leaves[path]) for unit in units]
    whole = [number for number in numbers if number is not None]
    if len(whole) < len(numbers) or ends_named(path, TIME_NAME):
        return 0.0, ""
    known = ends_named(path, SEQ_NAME)
    if not known and max(whole) >= LATE:
        return 0.0, ""
    distinct = list(dict.fromkeys(whole))
    rising = len(distinct) > 1 and all(a < b for a, b in pairwise(distinct))
    by_one = rising and all(b - a == 1 for a, b in pairwise(distinct))
    grows = ", and rises" if rising else ""
    return 1.0 * known + 0.5 * rising + 0.5 * by_one, ("named like a number" if known else "a number") + grows


def _numbers(message: Rule | None) -> str:
    if message is None or "seq" not in message.at:
        return "none"
    inner = inside(message.group, message.items) if message.items else message.group
    room = message.at["room"].path if "room" in message.at else ""
    by_room: dict[object, list[int]] = defaultdict(list)
    for unit in inner.units:
        number = number_of(unit.leaves.get(message.at["seq"].path))
        if number is not None and number not in by_room[unit.leaves.get(room)]:
            by_room[unit.leaves.get(room)].append(number)
    steps = [b - a for each in by_room.values() for a, b in pairwise(each)]
    return "contiguous" if steps and all(step == 1 for step in steps) else "increasing"


def _own_id(message: Rule | None, texts: Collection[object]) -> str:
    """Return the sender of messages that the recording's own user sent, "" if none came back."""
    if message is None or "sender" not in message.at or message.items:
        return ""
    text, sender = message.at["text"].path, message.at["sender"].path
    values = Counter(str(unit.leaves.get(sender)) for unit in message.group.units if unit.leaves.get(text) in texts)
    return values.most_common(1)[0][0] if values else ""


# -- answers, openings ----------------------------------------------------------------------------------------------


def _answers(received: Side, sending: Sending | None, message: Rule | None) -> dict[str, Rule]:
    """Return the rules of acknowledgements and refusals: frames that repeat the client id of a sent message."""
    if sending is None or "id" not in sending.at:
        return {}
    ids = {str(unit.leaves.get(sending.at["id"].path)): unit for unit in sending.group.units}
    rules: dict[str, Rule] = {}
    for group in received.groups:
        if message is not None and group is message.group:
            continue
        found = best_path(group, lambda path, units: _repeats(path, units, ids), 0.4, {received.kind})
        role = "nack" if HINTS["nack"].search(group.name) else "ack"
        if found is None or (role in rules and len(rules[role].group.units) >= len(group.units)):
            continue
        at = {"id": found}
        taken = {received.kind, found.path}
        at |= (
            _also(group, taken, _answered(group, found.path, sending, message), message)
            if role == "ack"
            else codes(group, taken)
        )
        rules[role] = Rule(group=group, how="it repeats the client id of a sent message", at=at)
    return rules


def _repeats(path: str, units: Sequence[Unit], ids: Mapping[str, Unit]) -> tuple[float, str]:
    hits = [unit for unit in units if is_word(unit.leaves[path]) and str(unit.leaves[path]) in ids]
    good = [unit for unit in hits if after(ids[str(unit.leaves[path])], unit)]
    return 1.2 * len(good) / len(units) + 0.2 * bool(good) * named(path, ID_NAME), "it repeats a client id"


def _also(group: Group, taken: Collection[str], answered: Mapping[int, Unit], message: Rule | None) -> dict[str, Found]:
    """Return the paths of `seq` and `room` in acknowledgements, by role: where the acknowledged message's values stand.

    - `taken`: paths that have a role already
    - `answered`: `id()` of an acknowledgement -> the received message whose text was acknowledged
    """
    found: dict[str, Found] = {}
    for role in ("seq", "room"):
        if message is None or role not in message.at:
            continue
        score = partial(_equals, answered=answered, there=message.at[role].path, role=role)
        path = best_path(group, score, 0.4, {*taken, *(one.path for one in found.values())})
        if path:
            found[role] = path
    return found


def _equals(
    path: str, units: Sequence[Unit], *, answered: Mapping[int, Unit], there: str, role: str
) -> tuple[float, str]:
    pairs = [(unit.leaves[path], answered[id(unit)].leaves.get(there)) for unit in units if id(unit) in answered]
    same = bool(pairs) and all(str(value) == str(other) for value, other in pairs)
    return 1.0 * same, f"it equals the {'number' if role == 'seq' else 'room'} of the message"


def _answered(group: Group, path: str, sending: Sending, message: Rule | None) -> dict[int, Unit]:
    """Return `id()` of an acknowledgement -> the received message whose text it acknowledges.

    `path`: of the client id in acknowledgements.
    """
    if message is None:
        return {}
    text, own = sending.at["text"].path, sending.at["id"].path
    by_text = {unit.leaves.get(message.at["text"].path): unit for unit in message.group.units}
    texts = {str(unit.leaves.get(own)): unit.leaves.get(text) for unit in sending.group.units}
    known = {id(unit): texts.get(str(unit.leaves.get(path))) for unit in group.units}
    return {unit: by_text[text] for unit, text in known.items() if text in by_text}
