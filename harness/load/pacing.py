"""When users act: closed, with a pause after each action, or open, at planned times whatever became of the last one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from random import Random

import gevent

from earwitness.harness.planning.arrivals import Arrivals


class Paced:
    """Part of `ChatUser`. think_s: bounds of the pause after an action of a closed user, drawn from its own `rng`."""

    think_s: tuple[float, float] = (0.5, 2.0)
    rng: Random
    _starts: Iterator[int] | None = None
    _taken_starts = 0
    planned_ns: int | None = None
    """When the present action was to begin (`time.monotonic_ns`), if that was planned."""

    @property
    def open(self) -> bool:
        """Acts at planned times, and does not wait for answers."""
        return self._starts is not None

    def wait_time(self) -> float:
        """For Locust: seconds until the next action; none when it is late already, its plan stays."""
        if self._starts is None:
            return self.rng.uniform(*self.think_s)
        self.planned_ns = next(self._starts)
        self._taken_starts += 1
        return max(0.0, (self.planned_ns - time.monotonic_ns()) / 1e9)

    def begin_arrivals(self, arrivals: Arrivals, number: int, users: int, begin_ns: int) -> None:
        """Wait for the first planned start after now. `begin_ns`: where the plan begins."""
        late_ns = time.monotonic_ns()
        planned = (begin_ns + int(at * 1e9) for at in arrivals.times_s(number, users, self.rng))
        self._starts = (at_ns for at_ns in planned if at_ns >= late_ns)
        self._taken_starts = 0
        gevent.sleep(self.wait_time())

    def actions(self, now_ns: int) -> tuple[int, int]:
        """Return (planned, started): how many actions were to begin until `now_ns`, and how many did. Call it once,
        when the user acts no more: it reads the plan on."""
        if self._starts is None or self.planned_ns is None:
            return 0, 0
        started = self._taken_starts - (1 if self.planned_ns > now_ns else 0)
        overdue = 0
        if self.planned_ns <= now_ns:
            overdue = sum(1 for _ in itertools.takewhile(lambda at_ns: at_ns <= now_ns, self._starts))
        return started + overdue, started
