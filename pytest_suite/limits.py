"""Small rate budgets, and a bound on the requests that a service may grant within one, whatever the network does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RATE_PER_S, RATE_BURST = 2, 40
"""Rate budget (requests a second, burst) that refills so slowly that it is still empty at a test's next request."""
ABUSE_NACKS = 1200
"""Number of refused frames within ten seconds after which a socket is closed: more than a burst of a thousand."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Request of one user.

    `sent`, `answered`: times of sending and of the answer, in seconds of one clock; `place`: the service that was
    asked; `granted`: whether the request was accepted.
    """

    sent: float
    answered: float
    place: str
    granted: bool


def most_overspent(asked: Sequence[Asked], rate_per_s: float = RATE_PER_S, burst: float = RATE_BURST) -> float:
    """Return the most requests that were granted beyond a token bucket, over all time spans; not positive: none were.

    All granted requests that were both sent and answered within a span must fit into burst + rate × length. No
    assumption is made about when, between its sending and its answer, a request was counted.
    """
    granted = [a for a in asked if a.granted]
    worst = -burst
    for begin in sorted(a.sent for a in granted):
        inside = sorted(a.answered for a in granted if a.sent >= begin)
        for count, end in enumerate(inside, start=1):
            worst = max(worst, count - burst - rate_per_s * (end - begin))
    return worst
