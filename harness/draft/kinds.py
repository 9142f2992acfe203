"""Kinds of frames: the field that distinguishes them, and the frames of each kind."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from earwitness.harness.draft.leaves import PREFIX, Parsed, entropy, last_step, leaves, parse
from earwitness.harness.draft.recording import Socket

KIND_NAME: Final = re.compile(
    r"^(?:type|event|kind|op|ev|evt|t|action|cmd|command|method|msg_?type|message_?type|event_?type|opcode|e)$", re.I
)
KIND_VALUE: Final = re.compile(r"[A-Za-z0-9_][\w.:/@ -]{0,63}")
EVENT: Final = "phx_"
"""Prefix of the events of Phoenix channels, whose frames are lists."""
MOST_UNITS: Final = 10_000
"""Most JSON values that are examined of all sent frames, and of all received frames."""
BEATS: Final = ("1", "2", "3", "5", "6", "2probe", "3probe", "ping", "pong", "")
"""Texts of frames that keep a connection open."""
LEAST: Final = 0.6
"""Least share of frames (0 to 1) that must have a field for it to tell their kinds."""
GOOD: Final = 1.6
"""Least score of a field that tells the kind."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unit:
    """JSON value of a frame, or body of a request.

    sent    by the browser, not received
    time    seconds since the epoch, 0.0 if unknown
    place   position in the recording: number of the socket, position of its frame
    value   the JSON value; of a request the whole exchange
    leaves  the values inside it by path
    """

    sent: bool
    time: float
    place: tuple[int, int]
    value: object
    leaves: Mapping[str, object]


@dataclass(slots=True, kw_only=True, eq=False)
class Group:
    """Units of one kind. `value`: their value of the field that tells the kind, None if they lack the field."""

    value: object
    units: list[Unit] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the value of the field that tells the kind, as text; "" if the units lack the field."""
        return str(self.value) if self.value is not None else ""

    def share(self, path: str) -> tuple[int, int]:
        """Return (units that have a value at the path, all units)."""
        return sum(path in unit.leaves for unit in self.units), len(self.units)

    def paths(self) -> list[str]:
        """Return the paths of the units, those of most units first, at most 60."""
        counts = Counter(path for unit in self.units for path in unit.leaves)
        return [path for path, _ in counts.most_common(60)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Frames that were sent, or those that were received. `kind`: path of the field that tells the kind, "" if none."""

    kind: str
    groups: tuple[Group, ...]

    @property
    def units(self) -> list[Unit]:
        """Return all units, in the order of the recording."""
        return sorted((unit for group in self.groups for unit in group.units), key=lambda unit: unit.place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """All frames of the sockets of one address.

    prefix   text before the JSON of received frames, "" if there is none
    split    as `frames.split` of a target file
    binary   number of frames that are binary or too long; `frames`: of all frames
    plain_sent, plain_received
             first 40 characters of frames without JSON, with their counts; for sent frames with another prefix, the
             prefix
    numbered whether sent frames have a number between the prefix and the JSON, for an acknowledgement
    others   prefixes of received frames besides `prefix`, with their counts
    opened   (text before the JSON, JSON or None) of the first three frames that the first socket sent before any that
             has the prefix, heartbeats not counted
    """

    sent: Side
    received: Side
    prefix: str
    split: str
    binary: int
    frames: int
    plain_sent: Counter[str]
    plain_received: Counter[str]
    numbered: bool
    others: Counter[str]
    opened: tuple[tuple[str, object], ...]


def traffic_of(sockets: Sequence[Socket]) -> Traffic:
    """Return the frames of the sockets, grouped by kind."""
    parsed: list[tuple[bool, float, tuple[int, int], str, Parsed]] = [
        (frame.sent, frame.time, (number, k), frame.data, parse(frame.data))
        for number, socket in enumerate(sockets)
        for k, frame in enumerate(socket.frames)
        if frame.data is not None
    ]
    prefixes = Counter(one.prefix for sent, _, _, _, one in parsed if not sent and one.values)
    prefix = _prefix(prefixes)
    units: dict[bool, list[Unit]] = {True: [], False: []}
    plain: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for sent, time, place, data, one in parsed:
        if not one.values:
            plain[sent][data[:40]] += 1
        elif one.prefix == prefix or (not prefix and sent):
            if len(units[sent]) > MOST_UNITS:
                continue
            units[sent] += [
                Unit(sent=sent, time=time, place=place, value=value, leaves=dict(leaves(value))) for value in one.values
            ]
        elif sent:
            plain[sent][one.prefix] += 1
    opened = takewhile(lambda one: not (one[4].values and one[4].prefix == prefix), (one for one in parsed if one[0]))
    openings = tuple(_opening(data, one) for _, _, place, data, one in opened if not place[0] and data not in BEATS)
    splits = Counter(one.split for sent, _, _, _, one in parsed if not sent and one.split != "none")
    total = sum(len(socket.frames) for socket in sockets)
    return Traffic(
        sent=side_of(units[True]),
        received=side_of(units[False]),
        prefix=prefix,
        split=splits.most_common(1)[0][0] if splits else "none",
        binary=total - len(parsed),
        frames=total,
        plain_sent=plain[True],
        plain_received=plain[False],
        others=prefixes - Counter({prefix: prefixes[prefix]}),
        opened=openings[:3],
        numbered=any(sent and (found := PREFIX.match(data)) and found[2] for sent, _, _, data, _ in parsed),
    )


def _opening(data: str, one: Parsed) -> tuple[str, object]:
    return (one.prefix, one.values[0]) if one.values else (data[:40], None)


def _prefix(prefixes: Counter[str]) -> str:
    """Return the prefix whose frames are read: that of events in Socket.IO, else the most frequent one."""
    events = [prefix for prefix in prefixes if prefix.startswith("42")]
    if events:
        return max(events, key=lambda prefix: prefixes[prefix])
    return prefixes.most_common(1)[0][0] if prefixes else ""


def side_of(units: Sequence[Unit]) -> Side:
    """Return the units in groups by the field that tells the kind; units without it by the paths that they have."""
    kind = kind_path(units)
    groups: dict[object, Group] = {}
    for unit in units:
        value = unit.leaves.get(kind)
        known = value is not None and not isinstance(value, (bool, float)) and KIND_VALUE.fullmatch(str(value))
        key = ("kind", type(value), value) if known else ("shape", shape(unit))
        groups.setdefault(key, Group(value=value if known else None)).units.append(unit)
    return Side(kind=kind, groups=tuple(groups.values()))


def shape(unit: Unit) -> frozenset[str]:
    """Return the set of paths of a unit; frames of one kind have similar sets."""
    return frozenset(unit.leaves)


def kind_path(units: Sequence[Unit]) -> str:
    """Return the path of the field that tells the kinds of frames apart, "" if there is none.

    Such a field is in most frames, has few values, and says much about which other keys a frame has.
    """
    counts: Counter[str] = Counter(
        path
        for unit in units
        for path, value in unit.leaves.items()
        if path.count(".") <= 2 and path != "." and isinstance(value, (str, int)) and not isinstance(value, bool)
    )
    scored = [(_score(path, units), -path.count("."), path) for path, n in counts.items() if n >= LEAST * len(units)]
    best = max(scored, default=(0.0, 0, ""))
    return best[2] if best[0] >= GOOD else ""


def _score(path: str, units: Sequence[Unit]) -> float:
    having = [unit for unit in units if path in unit.leaves]
    values = [unit.leaves[path] for unit in having]
    named = bool(KIND_NAME.match(last_step(path)))
    first = path == "0" and isinstance(values[0], str)  # a list that begins with its event
    phoenix = any(isinstance(value, str) and value.startswith(EVENT) for value in values)
    distinct = len(set(values))
    good = sum(isinstance(value, str) and bool(KIND_VALUE.fullmatch(value)) for value in values)
    if good < len(values) and not (named and all(isinstance(value, int) for value in values)):
        return 0.0
    if distinct > max(6, len(values) / 3):
        return 0.0
    shapes = [shape(unit) for unit in having]
    of_shapes, of_values = entropy(shapes), entropy(values)
    by_value: dict[object, list[object]] = defaultdict(list)
    by_shape: dict[object, list[object]] = defaultdict(list)
    for one, value in zip(shapes, values, strict=True):
        by_value[value].append(one)
        by_shape[one].append(value)
    left = sum(len(each) * entropy(each) for each in by_value.values()) / len(values)
    torn = sum(len(each) * entropy(each) for each in by_shape.values()) / len(values)
    explained = (of_shapes - left) / of_shapes if of_shapes else 0.0
    divided = torn / of_values if of_values else 0.0
    return len(having) / len(units) + 1.5 * explained - divided + 1.2 * (named or phoenix) + 0.6 * first
