"""What a draft states, and on which evidence: a path with the frames in which it was seen, and names that hint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from earwitness.harness.draft.kinds import Group, Unit

TEXT_NAME: Final = re.compile(r"^(?:text|body|message|msg|content|payload|markdown|said|plain_?text|input|m)$", re.I)
ROOM_NAME: Final = re.compile(
    r"room|channel|topic|conv|chat|circle|thread|group|stream|destination|dest$|^to$|target|space|lobby", re.I
)
ID_NAME: Final = re.compile(
    r"(?:^|_)(?:id|ref|nonce|key|cid|uuid|guid|rid|mid|tag)$|Id$|client_?(?:id|ref)|nonce|idempot|correl|request_?id"
    r"|transaction|temp_?id|local_?id",
    re.I,
)
SENDER_NAME: Final = re.compile(r"sender|from|author|user|(?:^|_)by$|handle|nick|member|who|owner|posted", re.I)
SEQ_NAME: Final = re.compile(r"seq|^n$|^no$|num|index|^idx$|offset|^pos|position|order|counter|serial|cursor", re.I)
TIME_NAME: Final = re.compile(r"time|date|(?:^|_)at$|^ts$|At$|stamp|expir|ttl|age|ms$", re.I)
LATE: Final = 1_000_000_000
"""Numbers from here on are times rather than numbers of messages."""


Score: TypeAlias = Callable[[str, Sequence[Unit]], tuple[float, str]]
"""Function (path, units that have it) -> (score of the path for a role, phrase for the comment)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Path of a value, and the evidence for it. `how`: a phrase for the comment."""

    path: str
    seen: int
    of: int
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Kind of frame with its guessed role: the group, the path of its list if it has one, and paths of its values."""

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
    """Return whether one of the last two keys of a path has such a name; positions have none."""
    steps = [step for step in path.split(".") if not step.isdigit()]
    return any(pattern.search(step) for step in steps[-2:])


def ends_named(path: str, pattern: re.Pattern[str]) -> bool:
    """Return whether the last key of a path has such a name."""
    return bool(pattern.search(path.rpartition(".")[2]))


def best_path(group: Group, score: Score, least: float, without: Iterable[str]) -> Found | None:
    """Return the path of a group with the highest score, None if none reaches `least`.

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
    """Return whether a frame came after another was sent: by position on one socket, else by time, with some slack."""
    if sent.place[0] == received.place[0]:
        return received.place > sent.place
    return not sent.time or not received.time or received.time >= sent.time - 1.0
