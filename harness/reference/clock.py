"""Wall clock of a service.

The service reads the time only here, so that a wrong clock can be simulated.
"""

from __future__ import annotations

import time

offset = 0.0
"""Seconds by which this process's clock is ahead (set once, before anything is started)."""


def now() -> float:
    """Return the epoch seconds of this service's clock, which may be wrong by `offset`."""
    return time.time() + offset
