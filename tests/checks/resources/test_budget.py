"""Rate budgets (I36 to I39): the arithmetic against an obvious version of itself; limiters behind a network."""

from __future__ import annotations

import random

import limiters
import numpy as np
import pytest
from limiters import BROKEN, HEALTHY, Network, simulate, verdicts
from seeds import blocks

from earwitness.checks import Outcome
from earwitness.checks.resources.budget import Budget, Uses
from earwitness.checks.resources.charges import NEVER
from earwitness.checks.resources.identity import KEY_INTEGRITY
from earwitness.checks.resources.limits import NEVER_LESS, NEVER_MORE
from earwitness.checks.resources.retry import RETRY_AFTER

MS = 1_000_000
CHECKS = (NEVER_MORE, NEVER_LESS, RETRY_AFTER, KEY_INTEGRITY)


def intervals(rng: random.Random, n: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    start = np.array([rng.randrange(3000) * MS for _ in range(n)])
    return start, start + np.array([rng.randrange(1, longest) * MS for _ in range(n)])


def exact_excess(budget: Budget, start: np.ndarray, end: np.ndarray) -> float:
    """Every window from a sending to an answer, and everything that is wholly inside it."""
    worst = -budget.burst
    for s in start:
        for e in end[end >= s]:
            inside = int(((start >= s) & (end <= e)).sum())
            worst = max(worst, inside - budget.burst - budget.per_ns * (e - s))
    return float(worst)


@pytest.mark.parametrize("seed", range(60))
def test_excess_is_never_above_the_exact_bound(seed: int) -> None:
    """What is called too much is too much for certain; where requests do not overlap the figure is exact."""
    rng = random.Random(seed)
    budget = Budget(rng.choice((1, 10, 50)) / 1e9, rng.choice((1, 3, 10)))
    start, end = intervals(rng, rng.randrange(1, 30), rng.choice((2, 50, 900)))
    exact = exact_excess(budget, start, end)
    assert budget.excess(start, end)[0].max() <= exact
    start = np.cumsum([rng.randrange(2, 200) * MS for _ in range(30)])
    apart = budget.excess(start, start + MS)[0].max()
    assert exact_excess(budget, start, start + MS) - apart < 0.05


@pytest.mark.parametrize("seed", range(60))
def test_least_left_holds_however_things_were_charged(seed: int) -> None:
    """Wherever inside their spans the charges fell, a bucket never holds less, and at some time it holds no more than
    the most that was certainly charged allows."""
    rng = random.Random(seed)
    budget = Budget(rng.choice((1, 10, 50)) / 1e9, rng.choice((2, 5, 20)))
    start, end = intervals(rng, rng.randrange(1, 25), rng.choice((2, 50, 900)))
    lost = np.array([rng.random() < 0.1 for _ in start])
    sent = int(rng.randrange(3000) * MS)
    answered = sent + rng.randrange(1, 300) * MS
    uses = Uses(np.sort(start), np.sort(np.where(lost, NEVER, end)), -MS, -MS, 0.0)
    least = budget.least_left(uses, np.array([sent]), np.array([answered]))[0]
    most = budget.most_left(start[~lost], end[~lost], np.array([sent]), np.array([answered]))[0]
    for _ in range(50):
        charged = np.sort([rng.uniform(s, e) for s, e in zip(start, end, strict=True)])
        taken = [at for at, gone in zip(charged, lost, strict=True) if not gone or rng.random() < 0.5]
        at = rng.uniform(sent, answered)
        level, before = budget.burst, 0.0
        for time in [*(t for t in taken if t <= at), at]:
            level = min(budget.burst, level + (time - before) * budget.per_ns)
            before = time
            if time != at:
                level -= 1
        assert level >= least
        if level >= 0 and not lost.any():
            assert level <= most + 1


# -- limiters, right and wrong, behind a network --------------------------------------------------------------------


@pytest.mark.parametrize("seed", blocks(12, 6))
def test_a_right_limiter_is_never_blamed(seed: int) -> None:
    """However long the network takes and whatever it loses."""
    network = Network(mean_s=(0.002, 0.02, 0.3)[seed % 3], lost=(0.0, 0.02)[seed % 2])
    found = verdicts(simulate(seed, HEALTHY(), network), CHECKS)
    assert {id: v.violations for id, v in found.items()} == {"I36": 0, "I37": 0, "I38": 0, "I39": 0}
    slow = {"I38"} if network.mean_s == 0.3 else set()  # whoever waits for each answer is never limited then
    assert {id for id, v in found.items() if v.outcome is Outcome.UNKNOWN} <= slow, found


CAUGHT = {
    "per process": "I36", "fixed window": "I36", "15 % too much": "I36", "off": "I36", "by address": "I39",
    "by token": "I39", "neighbour's": "I39", "too little": "I37", "constant": "I38",
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("seed", blocks(3, 1))
def test_a_wrong_limiter_is_caught_by_the_check_that_is_meant(name: str, seed: int) -> None:
    """And what is I39's (another address, another token) is not I36's."""
    found = verdicts(simulate(seed, BROKEN[name]()), CHECKS)
    assert found[CAUGHT[name]].outcome is Outcome.FAIL
    if name.startswith("by "):
        assert found["I36"].outcome is Outcome.PASS
    if name == "neighbour's":
        assert found["I37"].outcome is Outcome.FAIL


def test_batches_may_come_in_any_order() -> None:
    """Two journals, read in either order, give the same verdicts."""
    records = simulate(3, BROKEN["per process"]())
    parts = [records[records["client"] % 2 == n].copy() for n in (0, 1)]
    for part in parts:
        part["index"] = np.arange(1, len(part) + 1)
    assert limiters.verdicts_of(parts, CHECKS) == limiters.verdicts_of(parts, CHECKS, backwards=True)
