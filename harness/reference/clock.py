"""The wall clock of a service. All of it reads the time here, so that a machine whose clock is wrong can be played."""

from __future__ import annotations

import time

offset = 0.0
"""Seconds by which this process's clock is ahead (set once, before anything is started)."""


def now() -> float:
    """Seconds of the epoch, as this service believes."""
    return time.time() + offset
