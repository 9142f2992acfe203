"""Environment for processes that tests start: without variables that would configure them by accident."""

from __future__ import annotations

import os

CHOSEN = "EARWITNESS_NATIVE"
"""Variable with which the caller of the tests chooses the native or the Python path, see `harness.native`."""


def inherited() -> dict[str, str]:
    """Return this process's environment without variables of Locust and Earwitness, except CHOSEN."""
    return {
        key: value
        for key, value in os.environ.items()
        if key == CHOSEN or not key.startswith(("LOCUST_", "EARWITNESS_"))
    }
