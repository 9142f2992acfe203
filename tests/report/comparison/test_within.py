"""Comparing two runs, and drift within one: what is slower, what is noise."""

from __future__ import annotations

import numpy as np
import pytest
from seeds import blocks

from earwitness.harness.report.comparison.within import Blocks, compare_pair, word
from earwitness.harness.report.drift import slope_with_interval, windows
from earwitness.harness.report.series import Series

S = 1_000_000_000


def run_of(ms: float, seed: int, seconds: int = 60, per_s: int = 100, sway: float = 0.1) -> Series:
    """Waiting times around `ms`; each second has its own mood, as real ones do."""
    rng = np.random.default_rng(seed)
    mood = np.repeat(np.exp(rng.normal(0, sway, seconds)), per_s)
    t = np.arange(seconds * per_s) * (S // per_s)
    return t, ms * mood * np.exp(rng.normal(0, 0.3, len(t)))


def words(a: Series, b: Series, tolerance: float = 0.2) -> dict[str, str]:
    return {row["name"]: row["word"] for row in compare_pair({"ack": Blocks(a)}, {"ack": Blocks(b)}, tolerance)}


def test_a_run_that_is_half_as_slow_again_is_slower() -> None:
    """50 % more with a tolerance of 20 % is a regression, of median and tail; the other way round it is faster."""
    assert words(run_of(10, 1), run_of(15, 2)) == {"ack p50": "slower", "ack p99": "slower"}
    assert words(run_of(15, 1), run_of(10, 2)) == {"ack p50": "faster", "ack p99": "faster"}


@pytest.mark.parametrize("block", blocks(4, 1))
def test_noise_is_called_noise(block: int) -> None:
    """Of ten pairs of runs of the same platform hardly one row is told as anything else, and none as slower beyond
    the tolerance."""
    seeds = range(block * 10, block * 10 + 10)
    told = [w for seed in seeds for w in words(run_of(10, seed), run_of(10, 1000 + seed)).values()]
    assert told.count("noise") >= 18
    assert "slower" not in told


def test_a_small_difference_is_no_regression() -> None:
    """5 % more is seen in many samples, and stays within the tolerance."""
    found = words(run_of(10, 1, sway=0.01), run_of(10.5, 2, sway=0.01))
    assert found["ack p50"] == "a little slower"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.9, 1.3, "noise"), (1.25, 1.4, "slower"), (1.1, 1.4, "perhaps slower"), (1.05, 1.15, "a little slower"),
     (0.5, 0.7, "faster"), (0.85, 0.95, "a little faster")],
)  # fmt: skip
def test_the_word_is_what_the_interval_allows(low: float, high: float, said: str) -> None:
    """A regression is one only if the whole interval is beyond the tolerance."""
    assert word(low, high, 0.2) == said


def test_of_memory_only_what_is_beyond_the_tolerance_is_told() -> None:
    """Processes differ from start to start by more than memory moves within a run."""
    flat = run_of(100, 1, sway=0.0)
    found = {
        name: compare_pair({name: Blocks(flat)}, {name: Blocks((flat[0], flat[1] * more))}, 0.2)[0]["word"]
        for name, more in (("memory of a", 1.1), ("memory of b", 1.3))
    }
    assert found == {"memory of a": "within tolerance", "memory of b": "slower"}


def test_what_lasted_a_few_seconds_is_not_compared() -> None:
    """Without ten seconds in both runs there is no row."""
    assert compare_pair({"ack": Blocks(run_of(10, 1, seconds=5))}, {"ack": Blocks(run_of(10, 2))}, 0.2) == []


def test_a_rise_has_a_slope_whose_interval_holds_the_truth() -> None:
    """Ten megabytes an hour are found as such; a flat series' interval holds zero in nearly all of many cases."""
    t = np.arange(3600) * S
    rng = np.random.default_rng(1)
    _, low, high = slope_with_interval(*windows((t, 100 + 10 * t / (3600 * S) + rng.normal(0, 1, 3600)), 0, 3600 * S))
    assert low < 10 < high
    assert low > 8
    flat = 0
    for _ in range(50):
        _, low, high = slope_with_interval(*windows((t, 100 + rng.normal(0, 1, 3600)), 0, 3600 * S))
        flat += low <= 0 <= high
    assert flat >= 43
