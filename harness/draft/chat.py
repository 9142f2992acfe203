"""Roles of the frames: which carry messages, acknowledge, greet, join, and where their values stand."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final

from earwitness.harness.dialects.toml.paths import compile_path
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
    after,
    best_path,
    ends_named,
    is_word,
    named,
    number_of,
)
from earwitness.harness.draft.kinds import Group, Side, Traffic, Unit
from earwitness.harness.draft.leaves import leaves
from earwitness.harness.draft.secrets import SECRET_NAME

IN_LIST: Final = re.compile(r"^(.*?)\.(\d+)\.(.+)$")
LEAST_TEXT: Final = 1.7
HINTS: Final = {
    "nack": re.compile(r"nack|err|fail|reject|denied|refus|invalid|^no$", re.I),
    "welcome": re.compile(r"welcome|hello|ready|connect|greet|session|auth|init|open", re.I),
    "joined": re.compile(r"join|enter|subscri|member", re.I),
    "left": re.compile(r"left|leave|part|unsub|exit", re.I),
    "replayed": re.compile(r"replay|backlog|history|missed|catch|sync|resum", re.I),
}
"""Kinds whose names hint at a role."""
REFUSED: Final = {"code": re.compile(r"code|status|why|reason", re.I), "retry_after": re.compile(r"retry|wait", re.I)}
"""Roles of the values in a refusal, and the names that hint at them."""
OF_SENT: Final = {
    "id": "the client id of the sent message stands there",
    "room": "the room of the sent message stands there",
}
USER: Final = re.compile(r"^(?:name|me|id|nick)$")
OVER: Final = re.compile(r"left|leave|unsub|exit|typing|presence", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How messages are sent: the units, and where text, room and client id stand in them. `back`: seen as received."""

    group: Group
    by_http: bool
    at: Mapping[str, Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """Everything that was guessed of the frames.

    rules     role (message, ack, …) -> its rule
    join      sent units that subscribe to a room; `first`: those before everything else
    numbers   "contiguous", "increasing" or "none": what was seen of the numbers of messages
    echoed    own messages that came back, and own messages
    beats     kinds of sent frames that look like heartbeats
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
    """A text that was sent and came back: where it stands, and in how many units."""

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
    join, first, beats = _openings(traffic.sent, sending, rules)
    rules |= _around(traffic.received, rules, join, message, own)
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
    """Return what most looks like a sent text: it comes back, is named like a text, or holds several words."""
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
            (id(group), *_in_list(other, back))
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


def _in_list(unit: Unit, path: str) -> tuple[str, str]:
    """Return (path of a list of objects, path inside its items) of a path that leads through one, else ("", path)."""
    found = IN_LIST.match(path)
    if found is None:
        return "", path
    held = compile_path(found[1])(unit.value)
    whole = isinstance(held, list) and all(isinstance(one, dict) for one in held)
    return (found[1], found[3]) if whole else ("", path)


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
        "sender": lambda path, units: _as_sender(path, units, own),
    }
    for role, score in roles.items():
        if found := best_path(inner, score, 0.9, taken):
            at[role] = found
            taken.add(found.path)
    return Rule(group=group, how=how, items=items, at=at)


def inside(group: Group, items: str) -> Group:
    """Return the items of the lists at a path of the units, as a group of their own."""
    found = Group(value=group.value)
    for unit in group.units:
        held = compile_path(items)(unit.value)
        for one in held[:200] if isinstance(held, list) else ():
            found.units.append(
                Unit(sent=unit.sent, time=unit.time, place=unit.place, value=one, leaves=dict(leaves(one)))
            )
    return found


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
    """Return identity of a received message -> the value of a role in the message that was sent with the same text."""
    if sending is None or role not in sending.at:
        return {}
    text, there = sending.at["text"].path, sending.at[role].path
    sent = {unit.leaves.get(text): str(unit.leaves.get(there, "")) for unit in sending.group.units}
    known = {id(unit): sent[unit.leaves[path]] for unit in message.units if unit.leaves.get(path) in sent}
    return {unit: value for unit, value in known.items() if value}


def _as_same(
    path: str, units: Sequence[Unit], *, sent: Mapping[int, str], pattern: re.Pattern[str], what: str, by_name: float
) -> tuple[float, str]:
    """Score a path by the values of `sent`, and by its name, which alone is not enough for an id."""
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


def _as_sender(path: str, units: Sequence[Unit], own: Collection[str]) -> tuple[float, str]:
    values = [str(unit.leaves[path]) for unit in units if is_word(unit.leaves[path])]
    if len(values) < len(units):
        return 0.0, ""
    ours = any(value in own for value in values)
    known = named(path, SENDER_NAME)
    how = "the user's own id stands there" if ours else "named like a sender"
    return 1.0 * known + 0.7 * ours + 0.1 * ends_named(path, ID_NAME), how


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
            else _codes(group, taken)
        )
        rules[role] = Rule(group=group, how="it repeats the client id of a sent message", at=at)
    return rules


def _repeats(path: str, units: Sequence[Unit], ids: Mapping[str, Unit]) -> tuple[float, str]:
    hits = [unit for unit in units if is_word(unit.leaves[path]) and str(unit.leaves[path]) in ids]
    good = [unit for unit in hits if after(ids[str(unit.leaves[path])], unit)]
    return 1.2 * len(good) / len(units) + 0.2 * bool(good) * named(path, ID_NAME), "it repeats a client id"


def _also(group: Group, taken: Collection[str], answered: Mapping[int, Unit], message: Rule | None) -> dict[str, Found]:
    """Return number and room of acknowledgements: they equal those of the message that is acknowledged.

    answered: identity of an acknowledgement -> the received message of the same text.
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
    """Return identity of an acknowledgement, whose id stands at `path` -> the received message of the same text."""
    if message is None:
        return {}
    text, own = sending.at["text"].path, sending.at["id"].path
    by_text = {unit.leaves.get(message.at["text"].path): unit for unit in message.group.units}
    texts = {str(unit.leaves.get(own)): unit.leaves.get(text) for unit in sending.group.units}
    known = {id(unit): texts.get(str(unit.leaves.get(path))) for unit in group.units}
    return {unit: by_text[text] for unit, text in known.items() if text in by_text}


def _codes(group: Group, taken: Collection[str]) -> dict[str, Found]:
    """Return code and wait of refusals: numbers with such names."""

    def score(path: str, units: Sequence[Unit], pattern: re.Pattern[str]) -> tuple[float, str]:
        numbers = all(isinstance(unit.leaves[path], (int, float)) for unit in units)
        return 1.0 * (numbers and ends_named(path, pattern)), "a number, by its name"

    both = {role: best_path(group, partial(score, pattern=pattern), 0.4, taken) for role, pattern in REFUSED.items()}
    return {role: found for role, found in both.items() if found}


def _has_all(path: str, units: Sequence[Unit], *, values: Collection[str], is_number: bool) -> tuple[float, str]:
    same = all(str(unit.leaves[path]) in values for unit in units)
    good = number_of(units[0].leaves[path]) is not None or not is_number
    return 1.0 * (same and good), f"it has the {'number' if is_number else 'room'} of a message"


def _openings(
    sent: Side, sending: Sending | None, rules: Mapping[str, Rule]
) -> tuple[tuple[Unit, ...], tuple[Unit, ...], tuple[Group, ...]]:
    """Return (units that join a room, units before everything else, groups of heartbeats)."""
    rooms = room_values(sending, rules.get("message"))
    beats = tuple(group for group in sent.groups if re.search(r"ping|pong|heartbeat|keep_?alive", group.name, re.I))
    messages = {unit.place for unit in sending.group.units} if sending and not sending.by_http else set()
    beating = {unit.place for group in beats for unit in group.units}
    join, first = [], []
    for unit in sent.units:
        if unit.place in messages | beating:
            continue
        kind = str(unit.leaves.get(sent.kind, ""))
        has_room = any(str(value) in rooms for path, value in unit.leaves.items() if path != sent.kind)
        if has_room and not OVER.search(kind):
            join.append(unit)
        elif not any(other.place < unit.place and other.place[0] == unit.place[0] for other in sent.units):
            first.append(unit)
    kinds: dict[str, Unit] = {}
    for unit in join:
        kinds.setdefault(str(unit.leaves.get(sent.kind, "")), unit)
    wanted = [unit for kind, unit in kinds.items() if HINTS["joined"].search(kind)] or list(kinds.values())[:1]
    return tuple(wanted), tuple(first[:1]), beats


def room_values(sending: Sending | None, message: Rule | None) -> set[str]:
    """Return the rooms that sent and received messages name."""
    found = set()
    for rule in (sending, message):
        if rule is not None and "room" in rule.at:
            found |= {str(unit.leaves.get(rule.at["room"].path, "")) for unit in rule.group.units}
    return found - {""}


def _around(
    received: Side, rules: Mapping[str, Rule], join: Sequence[Unit], message: Rule | None, own: Collection[str]
) -> dict[str, Rule]:
    """Return the rules of the frames around messages: greeting, joined, left, refusals, replayed."""
    used = {id(rule.group) for rule in rules.values()}
    rest = [group for group in received.groups if id(group) not in used]
    rooms = room_values(None, message) | {str(value) for unit in join for value in unit.leaves.values()}
    as_room = partial(_as_joined, rooms=rooms)
    found: dict[str, Rule] = {}
    firsts = {
        min((unit.place for unit in received.units if unit.place[0] == n), default=None)
        for n in {unit.place[0] for unit in received.units}
    }
    for group in rest:
        room = best_path(group, as_room, 0.7, {received.kind})
        answers = any(after(unit, group.units[0]) for unit in join) and room is not None
        role = _role(group, answers, group.units[0].place in firsts)
        if not role or role in found or role in rules:
            continue
        rule = _rule_around(role, group, room, message, received.kind, own)
        if rule is not None:
            found[role] = rule
    return found


def _as_joined(path: str, units: Sequence[Unit], *, rooms: Collection[str]) -> tuple[float, str]:
    values = [str(unit.leaves[path]) for unit in units if is_word(unit.leaves[path])]
    same = sum(value in rooms for value in values) / len(units)
    known = ends_named(path, ROOM_NAME)
    return 1.0 * same + 0.5 * known, "the room that was joined stands there" if same else "by its name"


def _role(group: Group, answers: bool, is_first: bool) -> str:
    """Return the role of a kind of frame by its name and its place, "" if none fits."""
    for role in ("left", "replayed", "nack"):
        if HINTS[role].search(group.name):
            return role
    if answers and (HINTS["joined"].search(group.name) or not is_first):
        return "joined"
    if is_first or HINTS["welcome"].search(group.name):
        return "welcome"
    return ""


def _rule_around(
    role: str, group: Group, room: Found | None, message: Rule | None, kind: str, own: Collection[str]
) -> Rule | None:
    how = "by its name" if HINTS[role].search(group.name) else "by its place in the recording"
    if role in ("joined", "left"):
        return Rule(group=group, how=how, at={"room": room}) if room else None
    if role == "welcome":
        user = best_path(group, lambda path, units: _as_sender(path, units, own), 0.9, {kind})
        user = user or best_path(group, lambda path, units: (1.0 * ends_named(path, USER), "by its name"), 0.9, {kind})
        return Rule(group=group, how=how, at={"user": user} if user else {})
    if role == "nack":
        own_id = best_path(group, lambda path, units: (1.0 * named(path, ID_NAME), "by its name"), 0.9, {kind})
        return Rule(group=group, how=how, at={"id": own_id} | _codes(group, {kind, own_id.path})) if own_id else None
    return _replayed(group, message, how)


def _replayed(group: Group, message: Rule | None, how: str) -> Rule | None:
    """Return the rule of frames with a list of messages, whose items are read as messages are."""
    if message is None:
        return None
    for path in group.paths():
        items, inner = _in_list(group.units[0], path)
        if items and inner.rpartition(".")[2] == message.at["text"].path.rpartition(".")[2]:
            each = inside(group, items)
            lead = inner.rpartition(".")[0]
            at = {}
            for role, one in message.at.items():
                last = one.path.rpartition(".")[2]
                there = next((p for p in (one.path, f"{lead}.{last}" if lead else last) if each.share(p)[0]), "")
                if there:
                    at[role] = Found(path=there, seen=each.share(there)[0], of=len(each.units), how="as in messages")
            return Rule(group=group, how=how, items=items, at=at) if "text" in at else None
    return None
