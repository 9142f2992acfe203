"""The wall clock of this process against the monotonic one of the records: its steps (H3, `checks.engine.wall_clock`),
and the deadlines of tokens, which are the only times that come from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import gevent

from earwitness.checks.history.record import NONE

SECOND = 1_000_000_000

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


class Deadline(NamedTuple):
    """A deadline on the monotonic clock, and what it rests on.

    ns            monotonic ns, NONE without an end
    by_own_clock  the platform did not say when it had issued: if our wall clock is wrong, so is this deadline
    clocks_agree  the platform's time of issue was ours, but for less than what counts as a step
    """

    ns: int
    by_own_clock: bool = False
    clocks_agree: bool = False


def deadline_of(expires_at: float | None, issued_at: float | None, sent_ns: int, received_ns: int) -> Deadline:
    """A deadline of the platform's clock on our monotonic one. It was issued between our sending and receiving: a
    platform whose clock says otherwise is set right, as if it had issued on receiving, so that nobody is blamed for
    what was still in time."""
    if expires_at is None:
        return Deadline(NONE)
    to_monotonic_ns = time.monotonic_ns() - time.time_ns()
    ends_ns = int(expires_at * SECOND) + to_monotonic_ns
    if issued_at is None:
        return Deadline(ends_ns, by_own_clock=True)
    issued_ns = int(issued_at * SECOND) + to_monotonic_ns
    # Whole seconds may be rounded down.
    if sent_ns - SECOND <= issued_ns <= received_ns:
        return Deadline(ends_ns, clocks_agree=True)
    ahead_ns = issued_ns - received_ns
    return Deadline(ends_ns - ahead_ns, clocks_agree=0 < ahead_ns <= STEP_NS)
