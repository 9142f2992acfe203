"""Statistics over runs, compared with brute force, with known values and with simulated runs."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from seeds import rest

from earwitness.harness.report.comparison import statistics
from earwitness.harness.report.comparison.statistics import (
    detectable_by_interval,
    detectable_by_ranks,
    holm,
    least_rank_p,
    rank_p,
    ranks_higher,
    shift_of,
)


def brute_rank_p(a: list[float], b: list[float]) -> float:
    """All ways to choose which runs are B's, each with its sum of ranks: the definition."""
    both = a + b
    ranks = [sum(x < y for x in both) + (1 + sum(x == y for x in both)) / 2 for y in both]
    seen = sum(ranks[len(a) :])
    sums = [sum(ranks[i] for i in chosen) for chosen in combinations(range(len(both)), len(b))]
    below, above = sum(s <= seen for s in sums), sum(s >= seen for s in sums)
    return min(1.0, 2 * min(below, above) / len(sums))


@pytest.mark.parametrize("seed", range(60))
def test_the_rank_test_is_the_permutation_test(seed: int) -> None:
    """With ties and with unequal numbers of runs; numbers from 0 to 5 are tied often."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, (5, 1000)[seed % 2], rng.integers(1, 7)).tolist()
    b = rng.integers(0, (6, 1000)[seed % 2], rng.integers(1, 7)).tolist()
    assert rank_p(a, b) == pytest.approx(brute_rank_p(a, b), rel=1e-12)
    assert rank_p(b, a) == pytest.approx(rank_p(a, b), rel=1e-12)


def test_known_ranks() -> None:
    """Nothing is rarer than a complete separation: one of 3,432 arrangements at each end for seven and seven."""
    low, high = list(range(7)), list(range(10, 17))
    assert rank_p(low, high) == pytest.approx(2 / 3432) == least_rank_p(7, 7)
    assert least_rank_p(10, 10) == pytest.approx(2 / 184756)
    assert rank_p([1, 1, 1], [1, 1, 1]) == 1.0
    assert ranks_higher(low, high) == 1.0
    assert ranks_higher([1, 2], [2, 1]) == 0.0


def test_many_runs_take_the_normal_approximation(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 40, 40).tolist(), rng.integers(8, 48, 40).tolist()
    exact = rank_p(a, b)
    monkeypatch.setattr(statistics, "EXACT_RUNS", 79)
    assert rank_p(a, b) != exact
    assert rank_p(a, b) == pytest.approx(exact, rel=0.15)
    assert rank_p([1.0] * 40, [1.0] * 40) == 1.0


def test_holm() -> None:
    """The example of a textbook, in any order; monotone, and never above 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_ratio_is_that_of_the_means() -> None:
    shift = shift_of([10, 12, 11], [20, 24, 22], ratio=True)
    assert math.exp(shift.estimate) == pytest.approx(2.0)
    low, high = shift.interval(0.95)
    assert low < shift.estimate < high
    wider = shift.interval(0.99)
    assert wider[0] < low
    assert wider[1] > high


def test_the_unit_does_not_matter() -> None:
    a, b = [10.0, 12.0, 11.0, 10.5], [13.0, 12.0, 14.0, 15.0]
    ms, us = (shift_of([k * x for x in a], [k * x for x in b], ratio=True).interval(0.95) for k in (1, 1000))
    assert ms == pytest.approx(us)


def test_a_difference_may_have_zeros() -> None:
    shift = shift_of([0.0, 0.0, 0.0], [0.5, 0.7, 0.6], ratio=False)
    assert shift.estimate == pytest.approx(0.6)
    assert shift.interval(0.95)[0] > 0.3


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([0.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [-1.0, 3.0])])
def test_what_has_no_interval(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="needs"):
        shift_of(a, b, ratio=True)


def simulated(rng: np.random.Generator, runs: int, kind: str) -> list[float]:
    """Figures of runs that differ by more than what varies within each: evenly, skewed, or with disturbed runs."""
    if kind == "even":
        return list(10 * np.exp(rng.normal(0, 0.08, runs)))
    if kind == "skewed":
        return list(10 + rng.exponential(1.0, runs))
    return list(10 * np.exp(rng.normal(0, 0.04, runs)) * np.where(rng.random(runs) < 0.1, 1.4, 1.0))


KINDS, SIZES = ("even", "skewed", "disturbed"), (3, 5, 10)
EACH_ONCE = list(zip(SIZES, KINDS, strict=True))


@pytest.mark.parametrize(
    ("runs", "kind"), EACH_ONCE + [rest(*one) for one in product(SIZES, KINDS) if one not in EACH_ONCE]
)
def test_the_interval_holds_the_truth(runs: int, kind: str) -> None:
    """95 % of intervals hold the true ratio; resampling alone would hold it in 78 to 91 % with so few runs."""
    rng, held, alone = np.random.default_rng(runs), 0, 0
    trials = 150
    for _ in range(trials):
        a, b = simulated(rng, runs, kind), [1.3 * x for x in simulated(rng, runs, kind)]
        shift = shift_of(a, b, ratio=True)
        low, high = shift.interval(0.95)
        held += low <= math.log(1.3) <= high
        low, high = np.quantile(shift.bootstrap, (0.025, 0.975))
        alone += low <= math.log(1.3) <= high
    assert held >= 0.91 * trials  # 95 % less twice the standard error
    assert alone < held


def test_p_and_interval_are_of_one_mind() -> None:
    """The 95 % interval excludes "no difference" where p is below 0.05, and nowhere else."""
    rng = np.random.default_rng(5)
    agreed = 0
    for _ in range(60):
        shift = shift_of(simulated(rng, 5, "even"), [1.1 * x for x in simulated(rng, 5, "even")], ratio=True)
        low, high = shift.interval(0.95)
        assert (low > 0 or high < 0) == (shift.p < 0.05)
        agreed += shift.p < 0.05
    assert 5 < agreed < 55


@pytest.mark.parametrize(
    ("by_ranks", "runs", "level"), [(False, 4, 0.01), (False, 10, 0.001), (True, 8, 0.001), (True, 12, 0.002)]
)
def test_what_would_have_been_seen_is_seen(by_ranks: bool, runs: int, level: float) -> None:
    """A shift of the stated size is seen in about four of five pairs of sets."""
    rng, seen, trials = np.random.default_rng(7), 0, 300
    size_of = detectable_by_ranks if by_ranks else detectable_by_interval
    for _ in range(trials):
        past = simulated(rng, runs, "even"), simulated(rng, runs, "even")
        ratio = math.exp(size_of(*past, level, ratio=True))
        a, b = simulated(rng, runs, "even"), [ratio * x for x in simulated(rng, runs, "even")]
        seen += (rank_p(a, b) if by_ranks else shift_of(a, b, ratio=True).p) <= level
    assert 0.72 * trials <= seen <= 0.9 * trials


def test_what_no_data_could_show() -> None:
    assert detectable_by_ranks([1, 2, 3], [1, 2, 3], 0.001, ratio=True) == math.inf
    assert detectable_by_interval([5, 5, 5], [5, 5, 5], 0.001, ratio=True) == 0.0


def test_the_wins_that_ranks_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least U whose p is small enough: one less is not; the normal approximation is close."""
    for runs_a, runs_b, level in ((7, 7, 0.01), (10, 10, 0.002), (8, 12, 0.05)):
        wins = statistics._wins_needed(runs_a, runs_b, level)
        assert wins is not None
        assert p_of_wins(runs_a, runs_b, wins) <= level < p_of_wins(runs_a, runs_b, wins - 1)
    assert abs(statistics._wins_by_normal(30, 30, 0.01) - statistics._wins_needed(30, 30, 0.01)) <= 2


def p_of_wins(runs_a: int, runs_b: int, wins: int) -> float:
    """The p of data in which B wins so many comparisons: each of B's runs beats as many of A's as are left to win."""
    beaten = []
    for left in range(runs_b, 0, -1):
        beaten.append(min(runs_a, wins - sum(beaten)) if left else 0)
    return rank_p(list(range(1, runs_a + 1)), [count + 0.5 + k / 1000 for k, count in enumerate(beaten)])
