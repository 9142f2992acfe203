"""Evidence for the lines of a draft: paths of values, frames in which they were seen, names that suggest a role."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from earwitness.harness.dialects.toml.paths import compile_path
from earwitness.harness.draft.kinds import Group, Unit
from earwitness.harness.draft.leaves import leaves

TEXT_NAME: Final = re.compile(r"^(?:text|body|message|msg|content|payload|markdown|said|plain_?text|input|m)$", re.I)
ROOM_NAME: Final = re.compile(
    r"room|channel|topic|conv|chat|circle|thread|group|stream|destination|dest$|^to$|target|space|lobby", re.I
)
ID_NAME: Final = re.compile(
    r"(?:^|_)(?:id|ref|nonce|key|cid|uuid|guid|rid|mid|tag)$|Id$|client_?(?:id|ref)|nonce|idempot|correl|request_?id"
    r"|transaction|temp_?id|local_?id",
    re.I,
)
SENDER_NAME: Final = re.compile(
    r"sender|from|author|user|(?:^|_)by$|handle|nick|member|who|owner|posted|(?:^|_)name$", re.I
)
SEQ_NAME: Final = re.compile(r"seq|^n$|^no$|num|index|^idx$|offset|^pos|position|order|counter|serial|cursor", re.I)
TIME_NAME: Final = re.compile(r"time|date|(?:^|_)at$|^ts$|At$|stamp|expir|ttl|age|ms$", re.I)
IN_LIST: Final = re.compile(r"^(.*?)\.(\d+)\.(.+)$")
MOST_ITEMS: Final = 1_000
"""Most items that are examined of the lists in frames of one kind."""
LATE: Final = 1_000_000_000
"""Least number that counts as a time (seconds since the epoch) and not as a number of a message."""


Score: TypeAlias = Callable[[str, Sequence[Unit]], tuple[float, str]]
"""Function (path, units that have it) -> (score of the path for a role, phrase for the comment)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Path of a value, and the evidence for it: seen in `seen` of `of` units. `how`: a phrase for the comment."""

    path: str
    seen: int
    of: int
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Frames of one kind, whose role was guessed.

    how    phrase for the comment
    items  path of the list of messages in a frame, "" if the frame is one itself
    at     role of a value (text, room, seq, …) -> its path, inside an item if there are items
    """

    group: Group
    how: str
    items: str = ""
    at: dict[str, Found]


def is_word(value: object) -> bool:
    """Return whether a value may be a name or an id: text or a whole number."""
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""


def number_of(value: object) -> int | None:
    """Return the number of a message that a value states, from a number or from digits; None for anything else."""
    if isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62 else None


def named(path: str, pattern: re.Pattern[str]) -> bool:
    """Return whether `pattern` is found in one of the last two keys of a path, positions in lists not counted."""
    steps = [step for step in path.split(".") if not step.isdigit()]
    return any(pattern.search(step) for step in steps[-2:])


def ends_named(path: str, pattern: re.Pattern[str]) -> bool:
    """Return whether `pattern` is found in the last key of a path."""
    return bool(pattern.search(path.rpartition(".")[2]))


def best_path(group: Group, score: Score, least: float, without: Iterable[str]) -> Found | None:
    """Return the path of a group with the highest score, None if none has more than `least`.

    Only paths that at least half of the units have are scored; the fewer have it, the less its score counts.

    score    (path, units that have it) -> (score, phrase for the comment)
    without  paths that have a role already
    """
    taken, best, found = set(without), least, None
    for path in group.paths():
        having = [unit for unit in group.units if path in unit.leaves]
        if path in taken or 2 * len(having) < len(group.units):
            continue
        worth, how = score(path, having)
        worth *= 0.5 + 0.5 * len(having) / len(group.units)
        if worth > best:
            best, found = worth, Found(path=path, seen=len(having), of=len(group.units), how=how)
    return found


def after(sent: Unit, received: Unit) -> bool:
    """Return whether `received` came after `sent`: by position on one socket, else by time, with a second of slack.

    True if one of the times is not known.
    """
    if sent.place[0] == received.place[0]:
        return received.place > sent.place
    return not sent.time or not received.time or received.time >= sent.time - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How messages are sent: the units, and the paths of text, room and client id in them (`at`, by role)."""

    group: Group
    by_http: bool
    at: Mapping[str, Found]


def room_values(sending: Sending | None, message: Rule | None) -> set[str]:
    """Return the rooms that sent and received messages name."""
    found = set()
    for rule in (sending, message):
        if rule is not None and "room" in rule.at:
            found |= {str(unit.leaves.get(rule.at["room"].path, "")) for unit in rule.group.units}
    return found - {""}


def in_list(unit: Unit, path: str) -> tuple[str, str]:
    """Return (path of a list of objects, path inside its items) of a path that leads through one, else ("", path)."""
    found = IN_LIST.match(path)
    if found is None:
        return "", path
    held = compile_path(found[1])(unit.value)
    whole = isinstance(held, list) and all(isinstance(one, dict) for one in held)
    return (found[1], found[3]) if whole else ("", path)


def inside(group: Group, items: str) -> Group:
    """Return the items of the lists at the path `items` of the units, at most MOST_ITEMS, as a group of their own."""
    found = Group(value=group.value)
    for unit in group.units:
        held = compile_path(items)(unit.value)
        for one in held[: MOST_ITEMS - len(found.units)] if isinstance(held, list) else ():
            found.units.append(
                Unit(sent=unit.sent, time=unit.time, place=unit.place, value=one, leaves=dict(leaves(one)))
            )
    return found


def as_sender(path: str, units: Sequence[Unit], own: Collection[str]) -> tuple[float, str]:
    """Return (score, phrase for the comment): how likely the values at a path name the sender of a message.

    The score counts the name of the path, and whether a value is one of `own`, the ids of the recording's user.
    """
    values = [str(unit.leaves[path]) for unit in units if is_word(unit.leaves[path])]
    if len(values) < len(units):
        return 0.0, ""
    ours = any(value in own for value in values)
    known = named(path, SENDER_NAME)
    how = "the user's own id stands there" if ours else "named like a sender"
    return 1.0 * known + 0.7 * ours + 0.1 * ends_named(path, ID_NAME), how
