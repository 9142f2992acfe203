"""Steps of the wall clock of this process, as H3 needs them (`checks.wall_clock`)."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

PERIOD_S = 0.05
STEP_NS = 250_000_000
"""A smaller change is no step: times in tokens are whole seconds, and their tests have leeways of seconds. Gradual
corrections (NTP slewing) move the monotonic clock of the kernel as well, so they do not show here at all."""


class WallClock:
    """Watches how far the wall clock is ahead of the monotonic one. Only a step changes that: NTP, an administrator,
    or a machine that slept.

    note  called for each step: (monotonic ns of the last look before it, of the look that noticed it, by how many ns)
    """

    def __init__(self, note: Callable[[int, int, int], None]) -> None:
        self._note = note
        low, high = ahead_ns()
        self._ahead = (low + high) // 2
        self._seen_ns = time.monotonic_ns()
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            gevent.sleep(PERIOD_S)
            self.look()

    def look(self) -> None:
        """Compare both clocks once."""
        low, high = ahead_ns()
        now = time.monotonic_ns()
        # A process that was suspended between two readings knows too little; the next look will know.
        if high - low > STEP_NS:
            return
        by_ns = (low + high) // 2 - self._ahead
        if abs(by_ns) > STEP_NS:
            self._note(self._seen_ns, now, by_ns)
            self._ahead += by_ns
        self._seen_ns = now

    def close(self) -> None:
        """Look a last time."""
        self._greenlet.kill()
        self.look()


def ahead_ns() -> tuple[int, int]:
    """By how much the wall clock is ahead of the monotonic one, at least and at most."""
    before = time.monotonic_ns()
    wall = time.time_ns()
    return wall - time.monotonic_ns(), wall - before
