"""Until when something holds, on the clock of our records."""

from __future__ import annotations

import time
from typing import NamedTuple

from checks.record import NONE

SECOND = 1_000_000_000


class Deadline(NamedTuple):
    """A deadline on the monotonic clock, and what it rests on.

    ns            monotonic ns, NONE without an end
    by_own_clock  the platform did not say when it had issued: if our wall clock is wrong, so is this deadline
    clocks_agree  the platform's time of issue was ours
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
    return Deadline(ends_ns - (issued_ns - received_ns))
