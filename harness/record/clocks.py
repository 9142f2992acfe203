"""Clocks of several hosts: how far a clock is from the master's, measured by exchanges, and how times are mapped.

An exchange: the master notes its time (`asked`), asks, gets the time `w` of the other clock, and notes its time again
(`told`). The other clock was read in between. So the offset (master − other) is between `asked − w` and `told − w`,
even if question and answer did not take equally long.

Between exchanges clocks drift apart by at most DRIFT_PPM. So each exchange also limits the offset at all other times,
and the bound that `Offset.summary` states holds for every time from the first exchange to the last one. `run.json`:

    clocks  {"master": name of the clock that all times are mapped to,
             "others": {name of a clock: {"offset_ns", "drift_ppb", "since_ns", "bound_ns", "until_ns", "exchanges"}}}

A time `t` of another clock is `t + offset_ns + (t − since_ns) · drift_ppb / 10⁹` of the master's, give or take
`bound_ns`; after `until_ns`, the last exchange, the bound grows by DRIFT_PPM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import numpy as np

from earwitness.checks.history.record import Kind, Phase
from earwitness.checks.history.schema import KINDS

KEY: Final = "clocks"
DRIFT_PPM: Final = 1000
"""Fastest drift of two clocks against each other, in millionths: the kernel corrects each by at most 500 (NTP)."""
BETTER_NS: Final = 1_000_000
"""A drift is stated only if its bound is less than half of the bound of a constant offset, by this many ns at least."""

_TIMED = [
    int(kind) for kind, what in KINDS.items() if any(slot.names == "seq" and slot.unit == "ns" for slot in what.slots)
]
"""Numbers of the kinds whose field `seq` is a second time (ns) on the clock of `t`, or NONE."""


class Stated(TypedDict):
    """Entry of one clock in `run.json`; its keys are described in the docstring of the module.

    `bound_ns` None: the clock jumped, and its times cannot be mapped.
    """

    offset_ns: int
    drift_ppb: int
    since_ns: int
    bound_ns: int | None
    until_ns: int
    exchanges: int


class Offset:
    """Offset of another clock to the master's, from exchanges that are added in the order of time."""

    def __init__(self) -> None:
        """Start without exchanges."""
        self._at: list[int] = []
        self._low: list[int] = []
        self._high: list[int] = []
        self._stated: int | None = None

    def add(self, asked: int, there: int, told: int) -> None:
        """Add an exchange: `asked` and `told` in ns of the master's clock, `there` in ns of the other one.

        An exchange whose `there` is not later than that of the exchange before is ignored.
        """
        if not self._at or there > self._at[-1]:
            self._at.append(there)
            self._low.append(asked - there)
            self._high.append(told - there)

    def __len__(self) -> int:
        """Return the number of exchanges."""
        return len(self._at)

    def summary(self) -> Stated:
        """Return offset, drift and bound by the exchanges so far. There must be at least one.

        Later calls return the offset of the first call, because live verdicts rest on it. It is replaced by an offset
        with a drift only if that makes the bound much smaller (BETTER_NS). `bound_ns` is None if the exchanges
        contradict each other.
        """
        at, low, high = self._limits()
        edges: Stated = {
            "offset_ns": 0, "drift_ppb": 0, "since_ns": int(at[0]), "bound_ns": None, "until_ns": int(at[-1]),
            "exchanges": len(at),
        }  # fmt: skip
        if self._stated is None:
            tightest = int(np.argmin(high - low))
            self._stated = int(low[tightest] + high[tightest]) // 2
        edges["offset_ns"] = self._stated
        if (low > high).any():
            return edges
        edges["bound_ns"] = constant = _bound(at, low, high, self._stated, 0)
        offset, drift = _line(at, low, high)
        bound = _bound(at, low, high, offset, drift)
        if 2 * bound + BETTER_NS < constant:
            edges["offset_ns"], edges["drift_ppb"], edges["bound_ns"] = offset, drift, bound
        return edges

    def _limits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (times of the exchanges, lowest and highest possible offset then), all in ns as arrays.

        Times are those of the other clock. Each exchange also limits the offset at the times of the others, by
        DRIFT_PPM.
        """
        at = np.array(self._at, np.int64)
        away = (at - at[0]) * DRIFT_PPM // 1_000_000
        # An exchange at another time limits this offset too, wider by the drift in between.
        low, high = np.array(self._low, np.int64), np.array(self._high, np.int64)
        low = np.maximum(
            np.maximum.accumulate(low + away) - away, np.maximum.accumulate((low - away)[::-1])[::-1] + away
        )
        high = np.minimum(
            np.minimum.accumulate(high - away) + away, np.minimum.accumulate((high + away)[::-1])[::-1] - away
        )
        return at, low, high


def _line(at: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[int, int]:
    """Return (offset at the first exchange in ns, drift in ppb) of the straight line in the middle of the limits."""
    span = int(at[-1] - at[0])
    if not span:
        return int(low[0] + high[0]) // 2, 0
    middle = (low + high) / 2
    base = middle[0]
    slope, offset = np.polyfit((at - at[0]) / 1e9, middle - base, 1)
    return int(base + offset), int(np.clip(slope, -DRIFT_PPM * 1000, DRIFT_PPM * 1000))


def _bound(at: np.ndarray, low: np.ndarray, high: np.ndarray, offset: int, drift: int) -> int:
    """Return by how many ns the line may be wrong at any time between the first exchange and the last.

    `at`, `low`, `high`: as `Offset._limits` returns them; `offset` (ns at the first exchange) and `drift` (ppb): the
    line.
    """
    line = offset + ((at - at[0]) * (drift / 1e9)).astype(np.int64)
    wrong = np.maximum(high - line, line - low)
    if len(at) == 1:
        return int(wrong[0])
    gaps = np.diff(at) * (DRIFT_PPM / 2e6 + abs(drift) / 1e9)  # half a gap away from the nearer exchange
    return int(np.max(np.maximum(wrong[:-1], wrong[1:]) + gaps)) + 1


@dataclass(frozen=True, slots=True)
class ClockMap:
    """Mapping of a journal's times to the master's clock. The module's docstring describes the fields.

    bound_ns  by how many ns a mapped time may be wrong; None: the clock was not measured, or jumped
    """

    offset_ns: int = 0
    drift_ppb: int = 0
    since_ns: int = 0
    until_ns: int = 0
    bound_ns: int | None = 0

    @property
    def moves(self) -> bool:
        """Return whether times change at all."""
        return bool(self.offset_ns or self.drift_ppb)

    def same_times(self, other: ClockMap) -> bool:
        """Return whether `other` maps every time as this mapping does."""
        mine, theirs = ((one.offset_ns, one.drift_ppb, one.since_ns if one.drift_ppb else 0) for one in (self, other))
        return mine == theirs

    def time(self, t: int) -> int:
        """Return the master's time for the time `t` of the journal's clock, both in ns."""
        return t + self.offset_ns + round((t - self.since_ns) * (self.drift_ppb / 1e9))

    def bound_until(self, t: int) -> int | None:
        """Return by how many ns mapped times up to `t` (ns of the journal's clock) may be wrong; None if not known."""
        if self.bound_ns is None:
            return None
        return self.bound_ns + max(0, t - self.until_ns) * DRIFT_PPM // 1_000_000

    def apply(self, records: np.ndarray) -> None:
        """Map all times of records (`checks.history.record.RECORD`) in place."""
        if not self.moves or not len(records):
            return
        records["t"] += self._shift(records["t"])
        kinds, seq = records["kind"], records["seq"]
        timed = np.isin(kinds, _TIMED) & (seq > 0)
        timed |= (kinds == Kind.PHASE) & (records["counter"] == Phase.CLOCK_STEP)
        where = np.flatnonzero(timed)
        seq[where] += self._shift(seq[where])

    def _shift(self, t: np.ndarray) -> np.ndarray:
        shift: np.ndarray = np.full(len(t), self.offset_ns, np.int64)
        if self.drift_ppb:
            shift += np.rint((t - self.since_ns) * (self.drift_ppb / 1e9)).astype(np.int64)
        return shift


HERE: Final = ClockMap()
"""Mapping for a journal of the master's clock: no time is changed."""


def mapping_of(run: Mapping[str, Any], meta: Mapping[str, Any]) -> ClockMap:
    """Return the mapping of the times of a journal with this `meta`, as `run` (the content of run.json) states it.

    No time is changed if `run` states no clocks, or does not state this one; in the second case `bound_ns` is None.
    """
    clocks, name = run.get(KEY), meta.get("clock")
    if not clocks or name is None or name == clocks["master"]:
        return HERE
    stated = clocks["others"].get(name)
    if stated is None:
        return ClockMap(bound_ns=None)
    return ClockMap(**{key: stated[key] for key in ("offset_ns", "drift_ppb", "since_ns", "until_ns", "bound_ns")})


def mapped_meta(run: Mapping[str, Any], meta: Mapping[str, Any], last_ns: int) -> dict[str, Any]:
    """Return the `meta` of a journal whose times were mapped: its `wall_minus_monotonic_ns` fits the mapped times.

    `clock_bound_ns` is added: by how many ns the times may be wrong; absent if that is not known. `last_ns`: the
    journal's last time, on its own clock.
    """
    if not run.get(KEY) or "clock" not in meta:
        return dict(meta)
    mapping, found = mapping_of(run, meta), dict(meta)
    bound = mapping.bound_until(last_ns)
    if bound is not None:
        found["clock_bound_ns"] = bound
    if "wall_minus_monotonic_ns" in found:
        found["wall_minus_monotonic_ns"] -= mapping.offset_ns
    return found
