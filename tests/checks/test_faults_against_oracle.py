"""I28, I35 and I40 against their oracle, on histories full of faults, in any order of reading."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from compare import fold
from oracle_faults import FAULT_CHECKS
from oracle_history import History
from seeds import blocks
from soup_faults import soup_of_faults

from earwitness.checks.catalogue import ALL
from earwitness.checks.verdict import Outcome

CHECKS = [check for check in ALL if check.id in FAULT_CHECKS]
COUNTED = ("I28", "I35")


@pytest.mark.parametrize("block", blocks(4))
def test_the_fold_and_the_oracle_agree(block: int) -> None:
    """Outcome, promise and number of violations; both outcomes are met often enough to mean something."""
    met: Counter[tuple[str, str]] = Counter()
    for seed in range(block * 120, block * 120 + 120):
        run = soup_of_faults(seed, 8 + seed % 60)
        verdicts = fold(run, random.Random(seed), checks=CHECKS)
        for id, judge in FAULT_CHECKS.items():
            said = judge(History(run.roster, run.contract, run.journals, run.infos))
            told = verdicts[id]
            assert (told.promised, told.outcome == Outcome.FAIL) == (said.promised, said.outcome == "FAIL"), (seed, id)
            if id in COUNTED:
                assert (told.examined, told.violations) == (said.examined, said.violations), (seed, id)
            met[id, told.outcome.name] += told.promised
    assert min(met[id, outcome] for id in FAULT_CHECKS for outcome in ("FAIL", "PASS")) >= 3, met


def test_the_order_of_batches_does_not_matter() -> None:
    """Journals one after another, or cut anywhere and dealt in any order: the same verdicts to the last number."""
    for seed in range(40):
        run = soup_of_faults(seed, 60)
        told = {
            str({id: (v.outcome, v.examined, v.violations) for id, v in fold(run, order, checks=CHECKS).items()})
            for order in (None, random.Random(seed), random.Random(-seed - 1))
        }
        assert len(told) == 1, (seed, told)
