"""Confidence intervals for proportions, such as the share of runs in which a defect was found."""

from __future__ import annotations

from math import sqrt

Z_95 = 1.959963984540054


def wilson_95(successes: int, trials: int) -> tuple[float, float]:
    """Return the two-sided 95 % Wilson score interval of the share of `successes`; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, Z_95**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    # Exact at the ends, where rounding would leave 1e-17 or 0.9999.
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == trials else middle + half)


def none_seen_95(trials: int) -> float:
    """Return the upper 95 % bound on a rate of events after `trials` without an event; 1 without trials.

    One-sided, Clopper–Pearson.
    """
    return float(1.0 - 0.05 ** (1.0 / trials)) if trials else 1.0
