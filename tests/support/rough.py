"""Options for `simulate` that vary with the seed, so that a range of seeds covers all variants of platforms."""

from __future__ import annotations

from typing import Any

SEQUENCES = ("contiguous", "none", "increasing")
RESUMES = ("live", "replay", "none", "history")

RARE = {
    "Z3",
    "Z4",
    "Z7",
    "Z9",
    "Z16",
    "Z17",
    "Z20",
    "Z21",
    "Z23",
    "Z24",
    "Z25",
    "Z26",
    "Z28",
    "Z30",
    "Z32",
    "Z66",
    "Z71",
}
"""Defects with few opportunities in a run, such as restarts, retries, reconnects or concurrent requests."""


def rate(defect: str, seed: int) -> float:
    """Return the probability with which a defect fires: high for even seeds, low for odd seeds."""
    often, seldom = (0.9, 0.4) if defect in RARE else (0.3, 0.02)
    return seldom if seed % 2 else often


def rough(seed: int, **fixed: Any) -> dict[str, Any]:
    """Return the options of a seed; `fixed`: options to override.

    Most options repeat with different, mutually prime periods, so that every pair of values occurs for some seed.
    """
    options: dict[str, Any] = {
        "sequence": SEQUENCES[seed % 3],
        "resume": RESUMES[seed // 3 % 4],
        "history": seed % 5 != 0,
        "hold_back": seed % 3 == 0 or seed % 7 != 0,
        "retries": seed % 4 != 0,
        "idempotent": seed % 11 != 0,
        "echo": seed % 13 != 0,
        "restarts": seed % 2,
        "journals": 2 + seed // 2 % 3,
        "waits": seed % 4 != 1,
        "recent": seed % 3 == 1,
    }
    return options | fixed
