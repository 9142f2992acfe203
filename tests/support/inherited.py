"""The environment that tests give to processes of ours: nothing that would configure them by accident."""

from __future__ import annotations

import os

CHOSEN = "EARWITNESS_NATIVE"
"""Whoever runs the tests chooses by it which path they try, see `harness.native`."""


def inherited() -> dict[str, str]:
    """This process's environment without variables of Locust and Earwitness, but for CHOSEN."""
    return {
        key: value
        for key, value in os.environ.items()
        if key == CHOSEN or not key.startswith(("LOCUST_", "EARWITNESS_"))
    }
