"""Comparison of this process's wall clock with the monotonic clock of the records.

Steps of the wall clock are recorded (H3, `checks.engine.wall_clock`). Deadlines of tokens are converted to monotonic
time; no other times of the wall clock are recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import gevent

from earwitness.checks.history.record import NONE

SECOND = 1_000_000_000

PERIOD_S = 0.05
STEP_NS = 250_000_000
"""Smallest change (ns) that counts as a step of the wall clock.

Smaller changes do not matter: times in tokens are whole seconds, and checks of tokens have leeways of seconds. Gradual
corrections (NTP slewing) change the monotonic clock of the kernel too, so they are not noticed here.
"""


class WallClock:
    """Watcher of the difference between the wall clock and the monotonic clock.

    Only a step changes the difference, caused by NTP, an administrator, or a machine that slept.

    note  called for each step with (monotonic ns of the last comparison before it, monotonic ns of the comparison that
          noticed it, size in ns)
    """

    def __init__(self, note: Callable[[int, int, int], None]) -> None:
        """Compare the clocks now, and start the greenlet that compares them again until `close`."""
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
        """Compare both clocks once, and call `note` if the wall clock made a step."""
        low, high = ahead_ns()
        now = time.monotonic_ns()
        # A process that was suspended between two readings cannot tell a step from its own pause; the next one can.
        if high - low > STEP_NS:
            return
        by_ns = (low + high) // 2 - self._ahead
        if abs(by_ns) > STEP_NS:
            self._note(self._seen_ns, now, by_ns)
            self._ahead += by_ns
        self._seen_ns = now

    def close(self) -> None:
        """Stop watching, after one last comparison."""
        self._greenlet.kill()
        self.look()


def ahead_ns() -> tuple[int, int]:
    """Return by how many ns the wall clock is ahead of the monotonic one: (at least, at most)."""
    before = time.monotonic_ns()
    wall = time.time_ns()
    return wall - time.monotonic_ns(), wall - before


class Deadline(NamedTuple):
    """Deadline on the monotonic clock, and the clock that it depends on.

    ns            monotonic ns, NONE without a deadline
    by_own_clock  the platform did not state when it issued the artefact, so a wrong wall clock of the tester makes the
                  deadline wrong
    clocks_agree  the platform's time of issue is at most 1 s before the request was sent, and at most STEP_NS after the
                  artefact was received
    """

    ns: int
    by_own_clock: bool = False
    clocks_agree: bool = False


def deadline_of(expires_at: float | None, issued_at: float | None, sent_ns: int, received_ns: int) -> Deadline:
    """Convert a deadline on the platform's wall clock to one on this process's monotonic clock.

    `expires_at` and `issued_at` are Unix seconds of the platform, `sent_ns` and `received_ns` monotonic ns. The
    artefact was issued between sending and receiving. If the platform's clock shows another time, the deadline is moved
    as if the artefact had been issued on receiving. So a token that was presented in time is never judged late. Without
    `expires_at` the deadline is NONE.
    """
    if expires_at is None:
        return Deadline(NONE)
    to_monotonic_ns = time.monotonic_ns() - time.time_ns()
    ends_ns = int(expires_at * SECOND) + to_monotonic_ns
    if issued_at is None:
        return Deadline(ends_ns, by_own_clock=True)
    issued_ns = int(issued_at * SECOND) + to_monotonic_ns
    # The platform may round its time of issue down to whole seconds: hence one second of leeway.
    if sent_ns - SECOND <= issued_ns <= received_ns:
        return Deadline(ends_ns, clocks_agree=True)
    ahead_ns = issued_ns - received_ns
    return Deadline(ends_ns - ahead_ns, clocks_agree=0 < ahead_ns <= STEP_NS)
