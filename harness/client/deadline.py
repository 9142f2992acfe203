"""Until when something holds, on the clock of our records."""

from __future__ import annotations

import time

from checks.record import NONE

SECOND = 1_000_000_000


def deadline_of(expires_at: float | None, issued_at: float | None, sent_ns: int, received_ns: int) -> int:
    """A deadline of the platform's clock on our monotonic one. It was issued between our sending and receiving: a
    platform whose clock says otherwise is set right, as if it had issued on receiving, so that nobody is blamed for
    what was still in time. NONE without an end."""
    if expires_at is None:
        return NONE
    to_monotonic_ns = time.monotonic_ns() - time.time_ns()
    skew_ns = 0
    if issued_at is not None:
        issued_ns = int(issued_at * SECOND) + to_monotonic_ns
        # Whole seconds may be rounded down.
        if not sent_ns - SECOND <= issued_ns <= received_ns:
            skew_ns = issued_ns - received_ns
    return int(expires_at * SECOND) + to_monotonic_ns - skew_ns
