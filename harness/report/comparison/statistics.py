"""Statistics of two sets of runs: intervals over runs, the rank test, Holm's correction, the smallest visible change.

A set has one number for each run. The run is the unit of all statistics, because messages of one run are not
independent samples (Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", 2013). All functions are pure;
random draws have fixed seeds, so that the same runs give the same result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]

RESAMPLES: Final = 20_000
"""Number of sets of runs that the bootstrap draws."""
DRAWS: Final = 100_000
"""Number of draws of Student's t: even a share of 0.0002 of them is twenty draws."""
EXACT_RUNS: Final = 120
"""Total number of runs up to which the rank test is exact; for more, the normal approximation is close."""
PAIRS: Final = 400
"""Number of simulated pairs of sets from which the smallest visible change is found."""
POWER: Final = 0.8
"""Share of pairs of sets in which the smallest visible change is claimed."""
ANGLES: Final = 17


@dataclass(frozen=True)
class Shift:
    """Difference of two means, B - A, as an estimate and as two samples of its distribution.

    estimate   the difference of the observed means
    bootstrap  differences if whole runs are drawn again with replacement: keeps the skew, too narrow for few runs
    student    the Behrens-Fisher distribution: each mean varies by its standard error times Student's t

    For ratios all of them are natural logarithms.
    """

    estimate: float
    bootstrap: Numbers
    student: Numbers

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the edges of the interval; each is the outer one of those of `bootstrap` and `student`.

        `confidence`: a share.
        """
        shares = ((1 - confidence) / 2, (1 + confidence) / 2)
        (low, high), (lower, higher) = (np.quantile(draws, shares) for draws in (self.bootstrap, self.student))
        return float(min(low, lower)), float(max(high, higher))

    @property
    def p(self) -> float:
        """Return the two-sided p-value of "no difference": the larger one that both distributions give."""
        return max(_two_sided(self.bootstrap), _two_sided(self.student))


def _two_sided(draws: Numbers) -> float:
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(draws) + 1))


def shift_of(a: Sequence[float], b: Sequence[float], *, ratio: bool) -> Shift:
    """Return the shift from the runs `a` to the runs `b`, at least two each.

    `ratio`: take the difference of the logarithms of the means. Raises ValueError for fewer runs, and with `ratio` for
    numbers that are not positive.
    """
    before, after = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if min(len(before), len(after)) < 2:
        raise ValueError("an interval over runs needs two runs a side")
    if ratio and min(before.min(), after.min()) <= 0:
        raise ValueError("a ratio needs positive numbers")
    means = (_weights(len(before), 0) @ before, _weights(len(after), 1) @ after)
    errors = _error(before, ratio=ratio), _error(after, ratio=ratio)
    if ratio:
        estimate = math.log(after.mean() / before.mean())
        drawn = np.log(means[1] / means[0])
    else:
        estimate, drawn = float(after.mean() - before.mean()), means[1] - means[0]
    student = estimate + errors[1] * _student(len(after), 1) - errors[0] * _student(len(before), 0)
    return Shift(estimate, drawn, student)


def _error(values: Numbers, *, ratio: bool) -> float:
    """Return the standard error of a mean, or of its logarithm (delta method)."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return error / float(values.mean()) if ratio else error


@lru_cache(maxsize=8)
def _weights(runs: int, side: int) -> Numbers:
    """Return random weights of `runs` runs, shape (RESAMPLES, runs): each row is one set drawn with replacement."""
    drawn: Numbers = np.random.default_rng((17, side, runs)).multinomial(runs, np.full(runs, 1 / runs), RESAMPLES)
    return drawn / runs


@lru_cache(maxsize=8)
def _student(runs: int, side: int) -> Numbers:
    return np.random.default_rng((29, side, runs)).standard_t(runs - 1, DRAWS)


# -- ranks -------------------------------------------------------------------------------------------------------------


def rank_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the two-sided p-value of Wilcoxon's rank sum test (Mann-Whitney) for the runs `a` and `b`.

    The p-value is exact, also with ties, for up to EXACT_RUNS runs. For more it is the normal approximation with the
    correction for ties.
    """
    doubled = _doubled_ranks(np.concatenate([np.asarray(a, dtype=float), np.asarray(b, dtype=float)]))
    total = int(doubled[len(a) :].sum())
    if len(doubled) > EXACT_RUNS:
        return _normal_p(doubled, len(b), total)
    ways = _ways(tuple(sorted(doubled.tolist())), len(b))
    below, above = float(ways[: total + 1].sum()), float(ways[total:].sum())
    return min(1.0, 2 * min(below, above) / float(ways.sum()))


def _doubled_ranks(values: Numbers) -> npt.NDArray[np.int64]:
    """Return twice the rank of each value.

    Equal values share the mean of their ranks; twice a mean rank is an integer.
    """
    ordered = np.sort(values)
    first, last = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (first + 1 + last).astype(np.int64)


@lru_cache(maxsize=256)
def _ways(doubled: tuple[int, ...], taken: int) -> Numbers:
    """Return the number of ways to choose `taken` of the ranks, for each sum (Streitberg and Roehmel's algorithm).

    Index: the sum. `doubled`: the ranks, doubled. The loop over `k` runs downwards so that each rank is taken at most
    once. Counts are floats: exact to 2^53, and to 16 digits beyond.
    """
    ways = np.zeros((taken + 1, sum(sorted(doubled)[-taken:]) + 1))
    ways[0, 0] = 1.0
    for number, rank in enumerate(doubled):
        for k in range(min(number + 1, taken), 0, -1):
            ways[k, rank:] += ways[k - 1, : ways.shape[1] - rank]
    found: Numbers = ways[taken]
    return found


def _normal_p(doubled: npt.NDArray[np.int64], taken: int, total: int) -> float:
    runs = len(doubled)
    variance = taken * (runs - taken) / runs * float(doubled.var(ddof=0)) * runs / (runs - 1)
    if variance == 0:
        return 1.0
    distance = max(0.0, abs(total - taken * float(doubled.mean())) - 1)  # continuity: sums are two apart
    return math.erfc(distance / math.sqrt(2 * variance))


def ranks_higher(a: Sequence[float], b: Sequence[float]) -> float:
    """Return P(b > a) - P(b < a) over all pairs of a run of `a` and a run of `b`: from -1 to 1."""
    gaps = np.subtract.outer(np.asarray(b, dtype=float), np.asarray(a, dtype=float))
    return float(np.sign(gaps).mean())


def least_rank_p(runs_a: int, runs_b: int) -> float:
    """Return the smallest p-value that the rank test can give: that of two sides whose values do not overlap."""
    return min(1.0, 2 / math.comb(runs_a + runs_b, runs_a))


# -- many rows ---------------------------------------------------------------------------------------------------------


def holm(ps: Sequence[float]) -> list[float]:
    """Return the p-value of each row, adjusted by Holm's method for the number of rows.

    If rows below a level count as changed, the probability that any of them is wrong is at most that level, whether or
    not the rows depend on each other.
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for place, row in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[row]))
        adjusted[row] = largest
    return adjusted


# -- what would have been seen -----------------------------------------------------------------------------------------


def detectable_by_interval(a: Sequence[float], b: Sequence[float], level: float, *, ratio: bool) -> float:
    """Return the smallest shift that the interval shows in the share POWER of simulated pairs of sets.

    `level`: the p-value that counts as seen. For a ratio the shift is a natural logarithm. Runs are simulated as normal
    with the standard deviations of `a` and `b`, which are varied because few runs state them badly (`_spreads`). 0 if
    the runs have no spread.
    """
    sides = [np.asarray(values, dtype=float) for values in (a, b)]
    spreads = [_error(values, ratio=ratio) * math.sqrt(len(values)) for values in sides]
    before, after = (
        _noise(len(v), side) * _spreads(len(v), side) * s
        for side, (v, s) in enumerate(zip(sides, spreads, strict=True))
    )
    errors = [values.std(axis=1, ddof=1) / math.sqrt(values.shape[1]) for values in (before, after)]
    angles, bounds = _bounds(len(a), len(b), level)
    needed = np.hypot(*errors) * np.interp(np.arctan2(errors[1], errors[0]), angles, bounds)
    needed = needed - (after.mean(axis=1) - before.mean(axis=1))
    return max(0.0, float(np.quantile(needed, POWER)))


def detectable_by_ranks(a: Sequence[float], b: Sequence[float], level: float, *, ratio: bool) -> float:
    """Return the smallest shift that the rank test shows in the share POWER of simulated pairs of sets.

    `level`: the p-value that counts as seen. For a ratio the shift is a natural logarithm. Sets are drawn with
    replacement from the runs of each side, after these were moved to a common median; outliers so keep their distance.
    The drawn runs are spread more widely, because few runs may understate the spread (`_spreads`). Infinite if no data
    reach the level.
    """
    wins = _wins_needed(len(a), len(b), level)
    if wins is None:
        return math.inf
    sets = []
    for side, values in enumerate((a, b)):
        runs = np.log(values) if ratio else np.asarray(values, dtype=float)
        wider = math.sqrt(len(runs) / (len(runs) - 1)) * _spreads(len(runs), side)
        sets.append((runs - np.median(runs))[_picks(len(runs), side)] * wider)
    # After a shift by d, B wins as many comparisons as differences A - B are below d.
    gaps = np.sort((sets[0][:, :, None] - sets[1][:, None, :]).reshape(PAIRS, -1), axis=1)
    return max(0.0, float(np.quantile(gaps[:, wins - 1], POWER)))


@lru_cache(maxsize=8)
def _noise(runs: int, side: int) -> Numbers:
    return np.random.default_rng((43, side, runs)).standard_normal((PAIRS, runs))


@lru_cache(maxsize=8)
def _spreads(runs: int, side: int) -> Numbers:
    """Return PAIRS random factors, shape (PAIRS, 1): true standard deviation divided by that of `runs` runs."""
    drawn = np.random.default_rng((71, side, runs)).chisquare(runs - 1, (PAIRS, 1))
    return np.sqrt((runs - 1) / drawn)


@lru_cache(maxsize=8)
def _picks(runs: int, side: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((59, side, runs)).integers(0, runs, (PAIRS, runs))


@lru_cache(maxsize=64)
def _bounds(runs_a: int, runs_b: int, level: float) -> tuple[Numbers, Numbers]:
    """Return (angles, bounds): for each angle, how many joint standard errors a shift must have to be seen.

    An angle is the arc tangent of the standard error of B divided by that of A, in radians. `level`: the p-value that
    counts as seen.
    """
    angles = np.linspace(0, np.pi / 2, ANGLES)
    t_a, t_b = _student(runs_a, 0), _student(runs_b, 1)
    bounds = [np.quantile(np.cos(angle) * t_a + np.sin(angle) * t_b, 1 - level / 2) for angle in angles]
    return angles, np.asarray(bounds)


@lru_cache(maxsize=64)
def _wins_needed(runs_a: int, runs_b: int, level: float) -> int | None:
    """Return the least Mann-Whitney U, without ties, whose p-value is at most `level`; None if there is none."""
    both = runs_a + runs_b
    if both > EXACT_RUNS:
        return None if runs_a * runs_b == 0 else _wins_by_normal(runs_a, runs_b, level)
    ways = _ways(tuple(2 * rank for rank in range(1, both + 1)), runs_b)
    shares = np.cumsum(ways[::-1])[::-1] / ways.sum()
    seen = np.flatnonzero(2 * shares <= level)
    if not len(seen) or seen[0] >= len(ways):
        return None
    wins = math.ceil(seen[0] / 2) - runs_b * (runs_b + 1) // 2
    return wins if wins <= runs_a * runs_b else None


def _wins_by_normal(runs_a: int, runs_b: int, level: float) -> int | None:
    spread = math.sqrt(runs_a * runs_b * (runs_a + runs_b + 1) / 12)
    for wins in range(runs_a * runs_b // 2, runs_a * runs_b + 1):
        if math.erfc((wins - runs_a * runs_b / 2 - 0.5) / spread / math.sqrt(2)) <= level:
            return wins
    return None
