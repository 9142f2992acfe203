"""The checks of the auth and sync planes against their oracle, on nonsense."""

from __future__ import annotations

import random

import pytest
from auth_soup import auth_soup
from compare import fold
from oracle_auth import AUTH_CHECKS
from oracle_history import History

from checks.catalogue import ALL

MINE = [check for check in ALL if check.id in AUTH_CHECKS]


@pytest.mark.parametrize("block", range(4))
def test_nonsense(block: int) -> None:
    """In any order of batches the same outcome, violations and opportunities as the oracle's."""
    for seed in range(block * 60, block * 60 + 60):
        bowl = auth_soup(seed, 40 + seed % 150)
        history = History(bowl.roster, bowl.contract, bowl.journals, bowl.infos)
        verdicts = fold(bowl, random.Random(seed), checks=MINE)
        for id, opinion_of in AUTH_CHECKS.items():
            opinion, verdict = opinion_of(history), verdicts[id]
            told = (verdict.outcome.name, verdict.examined, verdict.violations, verdict.promised)
            wanted = (opinion.outcome, opinion.examined, opinion.violations, opinion.promised)
            assert told == wanted, (id, seed, verdict.why)


def test_the_nonsense_is_rich() -> None:
    """Each check fails, passes, and has nothing to say in some of it: else agreeing would prove little."""
    for id in AUTH_CHECKS:
        only = [check for check in ALL if check.id == id]
        outcomes = {fold(auth_soup(seed, 15 + seed), checks=only)[id].outcome.name for seed in range(80)}
        assert outcomes == {"PASS", "FAIL", "UNKNOWN"}, id


def test_the_order_of_batches_does_not_matter() -> None:
    """One journal after the other, or cut anywhere and dealt: the same verdicts to the last number."""
    for seed in range(30):
        bowl = auth_soup(seed)
        told = {
            str([(v.id, v.outcome, v.examined, v.violations, v.why) for v in fold(bowl, order, checks=MINE).values()])
            for order in (None, random.Random(seed), random.Random(-seed - 1))
        }
        assert len(told) == 1, seed
