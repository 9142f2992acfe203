"""`benchmarks/false_alarms.py`: pairs of one state, and how many of them have a claim. A sample of its 600 pairs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.false_alarms import count, drawn_from, simulated, slowed, upper_95


def runs_of(number: int, seed: int = 1) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    return [simulated(rng) for _ in range(number)]


def test_halves_of_recorded_runs_have_no_regression() -> None:
    found = count(drawn_from(runs_of(20), 10), 40)
    assert (found.pairs, found.regressions) == (40, 0)
    assert found.claims <= 1


def test_a_slower_half_is_found() -> None:
    """So that nobody takes silence for proof: twice as slow is claimed in each pair."""
    found = count(drawn_from(runs_of(20), 10), 20, slower=100)
    assert found.regressions == found.pairs == 20


def test_sets_of_a_pair_share_no_run() -> None:
    runs = [{"ack p50": float(number)} for number in range(21)]
    before, after = drawn_from(runs, 10)(np.random.default_rng(1))
    assert len({run["ack p50"] for run in (*before, *after)}) == 20


def test_only_what_a_slow_backend_makes_greater_is_greater() -> None:
    run = slowed([{"ack p50": 10.0, "messages sent": 10.0, "CPU of auth": 1.0, "errors": 0.0}], 20)[0]
    assert run == {"ack p50": 12.0, "messages sent": 10.0, "CPU of auth": 1.2, "errors": 0.0}


@pytest.mark.parametrize(("bad", "of", "bound"), [(0, 600, 0.00498), (6, 600, 0.01961), (1, 10, 0.39416)])
def test_the_bound_of_a_share(bad: int, of: int, bound: float) -> None:
    """The exact bounds of a table; for none of 600 nearly the rule of three."""
    assert upper_95(bad, of) == pytest.approx(bound, abs=0.0002)
