"""The checks of the auth and sync planes, of devices and of presence against their oracle, on nonsense."""

from __future__ import annotations

import random
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from auth_soup import auth_soup
from compare import fold
from device_soup import device_soup
from oracle_accounts import ACCOUNT_CHECKS
from oracle_auth import AUTH_CHECKS
from oracle_devices import DEVICE_CHECKS
from oracle_history import History, Opinion
from seeds import blocks
from soup import Soup

from earwitness.checks.catalogue import ALL
from earwitness.checks.engine.fold import Check


@dataclass(frozen=True)
class Plane:
    """`soup(seed, steps)`; `steps`: the longest bowl."""

    soup: Callable[[int, int], Soup]
    oracle: Mapping[str, Callable[[History], Opinion]]
    steps: int

    def checks(self, *ids: str) -> list[Check]:
        return [check for check in ALL if check.id in (ids or self.oracle)]


PLANES = {
    "auth": Plane(auth_soup, ChainMap(AUTH_CHECKS, ACCOUNT_CHECKS), 190),
    "devices": Plane(device_soup, DEVICE_CHECKS, 90),
}


@pytest.fixture(params=PLANES)
def plane(request: pytest.FixtureRequest) -> Plane:
    return PLANES[request.param]


@pytest.mark.parametrize("block", blocks(4))
def test_nonsense(plane: Plane, block: int) -> None:
    """In any order of batches the same outcome, violations and opportunities as the oracle's."""
    for seed in range(block * 60, block * 60 + 60):
        bowl = plane.soup(seed, 20 + seed % (plane.steps - 20))
        history = History(bowl.roster, bowl.contract, bowl.journals, bowl.infos)
        verdicts = fold(bowl, random.Random(seed), checks=plane.checks())
        for id, opinion_of in plane.oracle.items():
            opinion, verdict = opinion_of(history), verdicts[id]
            told = (verdict.outcome.name, verdict.examined, verdict.violations, verdict.promised)
            wanted = (opinion.outcome, opinion.examined, opinion.violations, opinion.promised)
            assert told == wanted, (id, seed, verdict.why)


def test_the_nonsense_is_rich(plane: Plane) -> None:
    """Each check fails, passes, and has nothing to say in some of it: else agreeing would prove little."""
    for id in plane.oracle:
        outcomes = {fold(plane.soup(seed, 15 + seed), checks=plane.checks(id))[id].outcome.name for seed in range(80)}
        assert outcomes == {"PASS", "FAIL", "UNKNOWN"}, id


def test_the_order_of_batches_does_not_matter(plane: Plane) -> None:
    """One journal after the other, or cut anywhere and dealt: the same verdicts to the last number."""
    for seed in range(30):
        bowl = plane.soup(seed, plane.steps)
        told = {
            str([(v.id, v.outcome, v.examined, v.violations, v.why) for v in verdicts.values()])
            for verdicts in (
                fold(bowl, order, checks=plane.checks())
                for order in (None, random.Random(seed), random.Random(-seed - 1))
            )
        }
        assert len(told) == 1, seed
