"""Small budgets, and how much may be granted within them whatever the network does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RATE_PER_S, RATE_BURST = 2, 40
"""Budget that refills so slowly that a test sees it stay empty from one request to the next."""
ABUSE_NACKS = 1200
"""Number of refused frames within ten seconds after which a socket is closed: more than a burst of a thousand."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Request of one user: when it was sent, when its answer came (seconds of one clock), and what the answer was."""

    sent: float
    answered: float
    place: str
    granted: bool


def most_overspent(asked: Sequence[Asked], rate_per_s: float = RATE_PER_S, burst: float = RATE_BURST) -> float:
    """Return by how many requests a token bucket was exceeded in the worst of all time spans; if not positive, in none.

    Everything granted that was both sent and answered within a span must fit into burst + rate × length. No assumption
    is made about when, between its sending and its answer, a request was counted.
    """
    granted = [a for a in asked if a.granted]
    worst = -burst
    for begin in sorted(a.sent for a in granted):
        inside = sorted(a.answered for a in granted if a.sent >= begin)
        for count, end in enumerate(inside, start=1):
            worst = max(worst, count - burst - rate_per_s * (end - begin))
    return worst
