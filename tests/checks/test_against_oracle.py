"""The folds against the oracle: on correct runs, on runs with defects, on slightly wrong runs and on nonsense."""

from __future__ import annotations

import random

import pytest
from compare import differences, fold
from mutants import mutant
from rough import rate, rough
from seeds import blocks
from simulated_defects import DEFECTS
from simulator import simulate
from soup import soup

from earwitness.checks.verdict import Outcome


@pytest.mark.parametrize("block", blocks(3))
def test_no_false_alarm(block: int) -> None:
    """A correct run, however rough, breaks no promise and no check says otherwise; the oracle agrees in all."""
    for seed in range(block * 50, block * 50 + 50):
        run = simulate(seed, **rough(seed))
        verdicts = fold(run, random.Random(seed))
        assert {id: v for id, v in verdicts.items() if v.outcome == Outcome.FAIL and v.promised} == {}, seed
        assert differences(run, verdicts) == {}, seed


@pytest.mark.parametrize(("seeds", "least"), [(8, 1), pytest.param(16, 3, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_that_show_are_found(defect: str, seeds: int, least: int) -> None:
    """Whenever a defect's effect reached a witness, each check that must fail does, and the oracle agrees in all."""
    shown = 0
    for seed in range(seeds):
        run = simulate(seed, **rough(seed, restarts=2), defects=(defect,), rate=rate(defect, seed))
        verdicts = fold(run, random.Random(seed))
        shown += bool(run.expected)
        assert run.expected <= {id for id, v in verdicts.items() if v.outcome == Outcome.FAIL}, seed
        assert differences(run, verdicts) == {}, seed
    assert shown >= least


@pytest.mark.parametrize("block", blocks(4))
def test_slightly_wrong_histories(block: int) -> None:
    """After one to three changed records the fold and the oracle agree."""
    for seed in range(block * 100, block * 100 + 100):
        run, done = mutant(seed, changes=1 + seed % 3, torn=seed % 10 == 0)
        assert differences(run, fold(run, random.Random(seed))) == {}, (seed, done)


@pytest.mark.parametrize("block", blocks(4))
def test_nonsense(block: int) -> None:
    """On records that make no sense together, in any order of batches, the fold and the oracle agree."""
    for seed in range(block * 150, block * 150 + 150):
        bowl = soup(seed, 20 + seed % 120)
        assert differences(bowl, fold(bowl, random.Random(seed))) == {}, seed


def test_the_order_of_batches_does_not_matter() -> None:
    """Journals one after another, or cut anywhere and dealt in any order: the same verdicts to the last number."""
    for seed in range(40):
        run = soup(seed, 90) if seed % 2 else mutant(seed, changes=3)[0]
        told = {
            str({id: (v.outcome, v.examined, v.violations, v.promised) for id, v in fold(run, order).items()})
            for order in (None, random.Random(seed), random.Random(-seed - 1))
        }
        assert len(told) == 1, (seed, told)
