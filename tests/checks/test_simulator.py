"""The simulator and the oracle against each other, before either is used to judge the folds."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import judge
from rough import rate, rough
from simulated_clients import KICK, READ
from simulated_defects import DEFECTS
from simulator import SimulatedRun, simulate

from earwitness.checks.history.record import Flag, Kind


def _failed(run: SimulatedRun, *, promised_only: bool) -> set[str]:
    opinions = judge(run.roster, run.contract, run.journals, run.infos)
    return {id for id, o in opinions.items() if o.outcome == "FAIL" and (o.promised or not promised_only)}


def test_a_seed_names_one_history() -> None:
    """The same seed gives the same records, another seed gives others."""
    one, same, other = (simulate(seed) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(one.journals, same.journals, strict=True))
    assert one.journals[0].tolist() != other.journals[0].tolist()


def test_rough_runs_are_rough() -> None:
    """Correct runs hold everything that could fool a check: cuts, timeouts, refusals, retries, replays, resumes."""
    records = np.concatenate([journal for seed in range(60) for journal in simulate(seed, **rough(seed)).journals])
    for kind in (Kind.OK, Kind.FAIL, Kind.INFO, Kind.FAULT, Kind.DELIVER, Kind.REPLAY, Kind.LEAVE, Kind.READ_END):
        assert np.count_nonzero(records["kind"] == kind) >= 20, kind
    flags, kinds = records["flags"], records["kind"]
    assert np.count_nonzero((kinds == Kind.JOIN) & (flags & Flag.CONTINUED != 0)) >= 20
    assert np.count_nonzero((kinds == Kind.INFO) & (flags & Flag.TIMEOUT != 0)) >= 20
    assert np.count_nonzero((kinds == Kind.DELIVER) & (records["attempt"] > 1)) >= 20
    answers = (kinds == Kind.OK) | (kinds == Kind.FAIL)
    for many in (kinds == READ, kinds == KICK, kinds == Kind.RUN, answers & (records["attempt"] == 0)):
        assert np.count_nonzero(many) >= 20


def test_the_oracle_finds_nothing_in_correct_runs() -> None:
    """However rough, a correct run breaks no promise. More seeds: where the folds are compared with it."""
    assert {
        seed: failed for seed in range(40) if (failed := _failed(simulate(seed, **rough(seed)), promised_only=True))
    } == {}


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_oracle_finds_every_defect_that_shows(defect: str) -> None:
    """Whenever an effect reached a witness, each check that must fail does. More seeds: where the folds are compared
    with it, which must agree in all."""
    shown = 0
    for seed in range(100, 110):
        run = simulate(seed, **rough(seed, restarts=2), defects=(defect,), rate=rate(defect, seed))
        shown += bool(run.expected)
        assert run.expected <= _failed(run, promised_only=False), (seed, run.expected)
    assert shown >= 1
