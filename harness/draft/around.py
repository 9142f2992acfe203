"""Frames around messages: greetings, joining and leaving, refusals, replayed messages, heartbeats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Final

from earwitness.harness.draft.evidence import (
    ID_NAME,
    ROOM_NAME,
    Found,
    Rule,
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
    room_values,
)
from earwitness.harness.draft.kinds import Group, Side, Unit
from earwitness.harness.draft.leaves import STEP

HINTS: Final = {
    "nack": re.compile(r"nack|err|fail|reject|denied|refus|invalid|^no$", re.I),
    "welcome": re.compile(r"welcome|hello|ready|connect|greet|session|auth|init|open", re.I),
    "joined": re.compile(r"join|enter|subscri|member", re.I),
    "left": re.compile(r"left|leave|part|unsub|exit", re.I),
    "replayed": re.compile(r"replay|backlog|history|missed|catch|sync|resum", re.I),
}
"""Role of a kind of frame -> pattern that names of such kinds match."""
OVER: Final = re.compile(r"left|leave|unsub|exit|typing|presence", re.I)


USER: Final = re.compile(r"^(?:name|me|id|nick)$")
GREETING: Final = {
    "replica": re.compile(r"^(?:replica|node|server|instance)$"),
    "session": re.compile(r"^(?:session|sid)(?:_?id)?$", re.I),
}
JOINED: Final = {
    "seq": re.compile(r"^(?:head|seq|last_?seq|last|position)$", re.I),
    "complete": re.compile(r"^complete$", re.I),
}
"""Role of a value in a frame that confirms joining -> pattern that its name matches."""
REFUSED: Final = {"code": re.compile(r"code|status|why|reason", re.I), "retry_after": re.compile(r"retry|wait", re.I)}
"""Role of a value in a refusal -> pattern that its name matches."""


def openings_of(
    sent: Side, sending: Sending | None, rules: Mapping[str, Rule]
) -> tuple[tuple[Unit, ...], tuple[Unit, ...], tuple[Group, ...]]:
    """Return (units that join a room, units sent before everything else, groups of heartbeats) among the sent units.

    At most one unit of each kind joins, and at most one is sent first. `sending`: how messages are sent, None if that
    is not known. `rules`: those known so far, by role.
    """
    rooms = room_values(sending, rules.get("message"))
    beats = tuple(group for group in sent.groups if re.search(r"ping|pong|heartbeat|keep_?alive", group.name, re.I))
    messages = {unit.place for unit in sending.group.units} if sending and not sending.by_http else set()
    skipped = messages | {unit.place for group in beats for unit in group.units}
    join, first, begun = [], [], set[int]()
    for unit in sent.units:
        if unit.place in skipped:
            begun.add(unit.place[0])
            continue
        kind = str(unit.leaves.get(sent.kind, ""))
        has_room = any(str(value) in rooms for path, value in unit.leaves.items() if path != sent.kind)
        if has_room and not OVER.search(kind):
            join.append(unit)
        elif unit.place[0] not in begun:
            first.append(unit)
        begun.add(unit.place[0])
    kinds: dict[str, Unit] = {}
    for unit in join:
        kinds.setdefault(str(unit.leaves.get(sent.kind, "")), unit)
    wanted = [unit for kind, unit in kinds.items() if HINTS["joined"].search(kind)] or list(kinds.values())[:1]
    return tuple(wanted), tuple(first[:1]), beats


def around(
    received: Side, rules: Mapping[str, Rule], join: Sequence[Unit], message: Rule | None, own: Collection[str]
) -> dict[str, Rule]:
    """Return role (welcome, joined, left, nack, replayed) -> rule for the frames around messages.

    rules    those known so far, by role; their frames are skipped
    join     sent units that subscribe to a room
    message  the rule of messages, None if none was found
    own      texts that may be the platform's id of the user
    """
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
        answers = any(after(unit, group.units[0]) for unit in join)
        role = _role(group, room is not None, answers, group.units[0].place in firsts)
        if not role or role in found or role in rules:
            continue
        rule = _rule_around(role, group, room, message, received.kind, own, rooms)
        if rule is not None:
            found[role] = rule
    return found


def _as_joined(path: str, units: Sequence[Unit], *, rooms: Collection[str]) -> tuple[float, str]:
    values = [str(unit.leaves[path]) for unit in units if is_word(unit.leaves[path])]
    same = sum(value in rooms for value in values) / len(units)
    known = ends_named(path, ROOM_NAME)
    return 1.0 * same + 0.5 * known, "the room that was joined stands there" if same else "by its name"


def _role(group: Group, has_room: bool, answers: bool, is_first: bool) -> str:
    """Return the role of a kind of frame, "" if none fits.

    - `has_room`: its frames name a room; `answers`: its first frame came after a frame that joins
    - `is_first`: its first frame is the first that a socket received
    """
    for role in ("left", "replayed", "nack"):
        if HINTS[role].search(group.name):
            return role
    if has_room and (HINTS["joined"].search(group.name) or (answers and not is_first)):
        return "joined"
    if is_first or HINTS["welcome"].search(group.name):
        return "welcome"
    return ""


def _rule_around(
    role: str,
    group: Group,
    room: Found | None,
    message: Rule | None,
    kind: str,
    own: Collection[str],
    rooms: Collection[str],
) -> Rule | None:
    how = "by its name" if HINTS[role].search(group.name) else "by its place in the recording"
    if role in ("joined", "left"):
        if room is None:
            return None
        more = _named_values(group, JOINED, {kind, room.path}) if role == "joined" else {}
        return Rule(group=group, how=how, at={"room": room} | more)
    if role == "welcome":
        return Rule(group=group, how=how, at=_greeting(group, kind, own, rooms))
    if role == "nack":
        own_id = best_path(group, lambda path, units: (1.0 * named(path, ID_NAME), "by its name"), 0.9, {kind})
        return Rule(group=group, how=how, at={"id": own_id} | codes(group, {kind, own_id.path})) if own_id else None
    return _replayed(group, message, how)


def _greeting(group: Group, kind: str, own: Collection[str], rooms: Collection[str]) -> dict[str, Found]:
    """Return the paths of user, replica, session and rooms in a greeting."""
    user = best_path(group, lambda path, units: as_sender(path, units, own), 0.9, {kind})
    user = user or best_path(group, lambda path, units: (1.0 * ends_named(path, USER), "by its name"), 0.9, {kind})
    at = {"user": user} if user else {}
    at |= _named_values(group, GREETING, {kind, *([user.path] if user else [])})
    counts: Counter[str] = Counter()
    for unit in group.units:
        for key, value in unit.value.items() if isinstance(unit.value, dict) else ():
            if isinstance(value, (dict, list)) and any(is_word(one) and str(one) in rooms for one in value):
                counts[str(key)] += bool(STEP.fullmatch(str(key)))
    for path, seen in counts.most_common(1):
        if seen:
            at["rooms"] = Found(path=path, seen=seen, of=len(group.units), how="it lists the room of messages")
    return at


def _named_values(group: Group, wanted: Mapping[str, re.Pattern[str]], taken: Collection[str]) -> dict[str, Found]:
    """Return role -> path for values that are found by their names alone. Values of the role seq must be whole numbers.

    `wanted`: role -> pattern for the name; `taken`: paths that have a role already.
    """

    def score(path: str, units: Sequence[Unit], role: str, pattern: re.Pattern[str]) -> tuple[float, str]:
        good = role != "seq" or all(number_of(unit.leaves[path]) is not None for unit in units)
        return 1.0 * (good and bool(pattern.search(path))), "by its name"

    both = {role: best_path(group, partial(score, role=role, pattern=one), 0.4, taken) for role, one in wanted.items()}
    return {role: found for role, found in both.items() if found}


def _replayed(group: Group, message: Rule | None, how: str) -> Rule | None:
    """Return the rule of frames with a list of replayed messages, whose items have the values of `message`.

    Return None if there is no such list, or no rule of messages.
    """
    if message is None:
        return None
    for path in group.paths():
        items, inner = in_list(group.units[0], path)
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


def codes(group: Group, taken: Collection[str]) -> dict[str, Found]:
    """Return the paths of a refusal's `code` and `retry_after`, by role: numbers whose names hint at them (REFUSED).

    `taken`: paths that have a role already.
    """

    def score(path: str, units: Sequence[Unit], pattern: re.Pattern[str]) -> tuple[float, str]:
        numbers = all(isinstance(unit.leaves[path], (int, float)) for unit in units)
        return 1.0 * (numbers and ends_named(path, pattern)), "a number, by its name"

    both = {role: best_path(group, partial(score, pattern=pattern), 0.4, taken) for role, pattern in REFUSED.items()}
    return {role: found for role, found in both.items() if found}


def _has_all(path: str, units: Sequence[Unit], *, values: Collection[str], is_number: bool) -> tuple[float, str]:
    same = all(str(unit.leaves[path]) in values for unit in units)
    good = number_of(units[0].leaves[path]) is not None or not is_number
    return 1.0 * (same and good), f"it has the {'number' if is_number else 'room'} of a message"
