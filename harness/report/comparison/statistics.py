"""Statistics of two sets of runs: intervals over runs, the rank test, Holm's correction, the smallest visible change.

A set has one number for each run, the unit of all of this: messages of one run are not independent samples (Kalibera
and Jones, "Rigorous Benchmarking in Reasonable Time", 2013). All functions are pure; random draws have fixed seeds, so
that the same runs give the same result.
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
"""Sets of runs that the bootstrap draws."""
DRAWS: Final = 100_000
"""Draws of Student's t: a share of 0.0002 still rests on twenty of them."""
EXACT_RUNS: Final = 120
"""Runs of both sides up to which the rank test counts all arrangements; beyond, the normal approximation is close."""
PAIRS: Final = 400
"""Simulated pairs of sets from which the smallest visible change is found."""
POWER: Final = 0.8
"""Share of pairs of sets in which that change would be seen."""
ANGLES: Final = 17


@dataclass(frozen=True)
class Shift:
    """Difference of two means, B - A, as a point and as two distributions of what it may be.

    bootstrap  whole runs drawn again with replacement; keeps the skew of the runs, too narrow for few of them
    student    the Behrens-Fisher distribution: each mean varies by its own standard error times Student's t
    For ratios all of them are logarithms.
    """

    estimate: float
    bootstrap: Numbers
    student: Numbers

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the edges of the interval (`confidence` is a share): at each side the wider of both distributions."""
        shares = ((1 - confidence) / 2, (1 + confidence) / 2)
        (low, high), (lower, higher) = (np.quantile(draws, shares) for draws in (self.bootstrap, self.student))
        return float(min(low, lower)), float(max(high, higher))

    @property
    def p(self) -> float:
        """Return the two-sided p of "no difference": the larger one of both distributions."""
        return max(_two_sided(self.bootstrap), _two_sided(self.student))


def _two_sided(draws: Numbers) -> float:
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(draws) + 1))


def shift_of(a: Sequence[float], b: Sequence[float], *, ratio: bool) -> Shift:
    """Return the shift from the runs `a` to the runs `b`, at least two each.

    `ratio`: that of the logarithms of the means. Raises ValueError for fewer runs, and for a ratio of numbers that are
    not positive.
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
    """Return RESAMPLES rows with the weight of each run in a set that is drawn with replacement."""
    drawn: Numbers = np.random.default_rng((17, side, runs)).multinomial(runs, np.full(runs, 1 / runs), RESAMPLES)
    return drawn / runs


@lru_cache(maxsize=8)
def _student(runs: int, side: int) -> Numbers:
    return np.random.default_rng((29, side, runs)).standard_t(runs - 1, DRAWS)


# -- ranks -------------------------------------------------------------------------------------------------------------


def rank_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the two-sided p of Wilcoxon's rank sum test (Mann-Whitney) of the runs `a` and `b`, exact also with ties.

    For more than EXACT_RUNS runs it is the normal approximation with the correction for ties.
    """
    doubled = _doubled_ranks(np.concatenate([np.asarray(a, dtype=float), np.asarray(b, dtype=float)]))
    total = int(doubled[len(a) :].sum())
    if len(doubled) > EXACT_RUNS:
        return _normal_p(doubled, len(b), total)
    ways = _ways(tuple(sorted(doubled.tolist())), len(b))
    below, above = float(ways[: total + 1].sum()), float(ways[total:].sum())
    return min(1.0, 2 * min(below, above) / float(ways.sum()))


def _doubled_ranks(values: Numbers) -> npt.NDArray[np.int64]:
    """Return twice the rank of each value; equal values share the mean of their ranks, so doubled ones are whole."""
    ordered = np.sort(values)
    first, last = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (first + 1 + last).astype(np.int64)


@lru_cache(maxsize=256)
def _ways(doubled: tuple[int, ...], taken: int) -> Numbers:
    """Return in how many ways `taken` of the ranks have each sum (the shift algorithm of Streitberg and Roehmel).

    Index: the sum. Each rank is either left out or taken once, so sums are updated from the most taken ranks down.
    Counts are floats: exact to 2^53, and to 16 digits beyond.
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
    """Return the share of pairs of runs in which that of `b` is higher, minus that in which that of `a` is: -1 to 1."""
    gaps = np.subtract.outer(np.asarray(b, dtype=float), np.asarray(a, dtype=float))
    return float(np.sign(gaps).mean())


def least_rank_p(runs_a: int, runs_b: int) -> float:
    """Return the smallest p that the rank test can give: that of one side whose runs all exceed those of the other."""
    return min(1.0, 2 / math.comb(runs_a + runs_b, runs_a))


# -- many rows ---------------------------------------------------------------------------------------------------------


def holm(ps: Sequence[float]) -> list[float]:
    """Return the p of each row, adjusted by Holm's method for the number of rows.

    If rows below a level count as changed, the probability that any of them is wrong is at most that level, however the
    rows depend on each other.
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for place, row in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[row]))
        adjusted[row] = largest
    return adjusted


# -- what would have been seen -----------------------------------------------------------------------------------------


def detectable_by_interval(a: Sequence[float], b: Sequence[float], level: float, *, ratio: bool) -> float:
    """Return the smallest shift that the interval shows in POWER of all pairs of sets with such runs.

    `level`: the p that counts as seen. For a ratio the shift is a logarithm. Runs are simulated as normal, with the
    standard deviations of `a` and `b`, and with the uncertainty of these in few runs (`_spreads`). 0 without any
    spread.
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
    """Return the smallest shift that the rank test shows in POWER of all pairs of sets with such runs.

    `level`: the p that counts as seen. For a ratio the shift is a logarithm. Sets are drawn from the runs of each side,
    moved to a common median, so that outliers keep their distance, and spread more, as far as so few runs may have
    understated it (`_spreads`). Infinite if no data reach the level.
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
    """Return the factor by which the true spread differs from that of so few runs, for each pair: often more than 1."""
    drawn = np.random.default_rng((71, side, runs)).chisquare(runs - 1, (PAIRS, 1))
    return np.sqrt((runs - 1) / drawn)


@lru_cache(maxsize=8)
def _picks(runs: int, side: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((59, side, runs)).integers(0, runs, (PAIRS, runs))


@lru_cache(maxsize=64)
def _bounds(runs_a: int, runs_b: int, level: float) -> tuple[Numbers, Numbers]:
    """Return (angles, bounds): how many joint standard errors a shift must have to be seen.

    The angle is the arc tangent of the standard error of B divided by that of A.
    """
    angles = np.linspace(0, np.pi / 2, ANGLES)
    t_a, t_b = _student(runs_a, 0), _student(runs_b, 1)
    bounds = [np.quantile(np.cos(angle) * t_a + np.sin(angle) * t_b, 1 - level / 2) for angle in angles]
    return angles, np.asarray(bounds)


@lru_cache(maxsize=64)
def _wins_needed(runs_a: int, runs_b: int, level: float) -> int | None:
    """Return the least U of the rank test, without ties, whose p is at most `level`; None if there is none."""
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
