"""Steps of the wall clock, and which findings cannot be judged because of them.

Records carry the monotonic clock, which no step moves. The wall clock affects only tokens: platforms and forgeries
write its times into them. When it is stepped (NTP, an administrator, a machine that slept), two things are not known:

- Whether the platform's clock moved too, because it may run on the same machine. A token that was issued before a step
  may end earlier or later than its recorded deadline.
- Whether the tester's clock was right before the step, or is right after it. So a time that the tester wrote into a
  token is believed only if the platform's clock agreed with the tester's between this step and the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from earwitness.checks.engine.rare import Kept
from earwitness.checks.engine.tables import REC_BITS
from earwitness.checks.engine.world import World
from earwitness.checks.history.record import Flag, Kind, Phase

NEVER = 1 << 62
IN_FLIGHT_NS = 1_000_000_000
"""Longest time in ns from issuing a token to its record: the answer with the token is on its way so long."""
NOT_JUDGED = "{} findings rest on the wall clock, which was stepped (H3)"


class Step(NamedTuple):
    """Step of the wall clock by `by` ns (positive: forward), at some time after `start` and until `end` (monotonic ns).

    `journal`: number of the journal of the process that noticed it.
    """

    start: int
    end: int
    by: int
    journal: int


class WallClock:
    """All recorded steps of the wall clock, of all processes. Without a step nothing is in doubt."""

    def __init__(self, kept: Kept) -> None:
        """Read the steps of the wall clock from the PHASE records of `kept`."""
        phases, recs = kept.of(Kind.PHASE)
        self.steps = sorted(
            Step(int(row["seq"]), int(row["t"]), int(row["aux"]), int(rec) >> REC_BITS)
            for row, rec in zip(phases, recs, strict=True)
            if row["counter"] == Phase.CLOCK_STEP
        )
        self._unproven = self._segments(kept) if self.steps else {}

    def _segments(self, kept: Kept) -> dict[int, list[tuple[int, int]]]:
        """Return by journal the intervals in which its process's wall clock may be wrong, both ends included."""
        tokens, recs = kept.of(Kind.TOKEN)
        agreed = defaultdict(list)
        for row, rec in zip(tokens, recs, strict=True):
            if row["flags"] & Flag.ACCEPTED:
                agreed[int(rec) >> REC_BITS].append(int(row["t"]))
        found: dict[int, list[tuple[int, int]]] = {}
        for journal in {step.journal for step in self.steps}:
            own = [(step.start, step.end) for step in self.steps if step.journal == journal]
            edges = [-NEVER, *(edge for step in own for edge in step), NEVER]
            quiet = zip(edges[::2], edges[1::2], strict=True)
            doubtful = [(a, b) for a, b in quiet if not any(a < t < b for t in agreed[journal])]
            found[journal] = [*own, *doubtful]
        return found

    def forward(self, start: int, end: int) -> int:
        """Return by how many ns steps may have moved the clock forward between two times (monotonic ns)."""
        return sum(step.by for step in self._between(start, end) if step.by > 0)

    def backward(self, start: int, end: int) -> int:
        """Return by how many ns (≥ 0) steps may have moved the clock backward between two times (monotonic ns)."""
        return -sum(step.by for step in self._between(start, end) if step.by < 0)

    def moved(self, start: int, end: int) -> bool:
        """Return whether a step may have happened between two times (monotonic ns)."""
        return any(True for _ in self._between(start, end))

    def unproven(self, journal: int, t: int) -> bool:
        """Return whether times that this journal's process wrote into a token at `t` (monotonic ns) may be wrong."""
        return any(start <= t <= end for start, end in self._unproven.get(journal, ()))

    def _between(self, start: int, end: int) -> Iterable[Step]:
        return (step for step in self.steps if step.start <= end and start <= step.end)


def forgets(clock: WallClock, since: int, until: int) -> bool:
    """Return whether a platform may have dropped a revocation by `until` that it received at `since` (monotonic ns).

    A platform stores a revocation until the token's deadline. If its clock is stepped back after that, the token is
    valid again.
    """
    return clock.backward(since, until) > 0


def wall_clock_of(world: World) -> WallClock:
    """Return the steps of the wall clock on record so far. All checks share one object."""
    return world.kept.once("wall clock", lambda: WallClock(world.kept))
