"""Small budgets, and what may be granted within them whatever the network does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RATE_PER_S, RATE_BURST = 2, 40
"""Refilled so slowly that a test sees an empty budget stay empty from one request to the next."""
ABUSE_NACKS = 1200
"""Refused frames within ten seconds after which a socket is closed: more than one burst of a thousand."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a subject: when it was sent, when its answer came (seconds, one clock), what the answer was."""

    sent: float
    answered: float
    place: str
    granted: bool


def most_overspent(asked: Sequence[Asked], rate_per_s: float = RATE_PER_S, burst: float = RATE_BURST) -> float:
    """By how many requests a token bucket was exceeded in the worst of all time spans; not positive: it never was.

    Everything granted that was both sent and answered within a span must fit into burst + rate × length. Nothing is
    assumed about when inside its own span a request was counted.
    """
    granted = [a for a in asked if a.granted]
    worst = -burst
    for begin in sorted(a.sent for a in granted):
        inside = sorted(a.answered for a in granted if a.sent >= begin)
        for count, end in enumerate(inside, start=1):
            worst = max(worst, count - burst - rate_per_s * (end - begin))
    return worst
