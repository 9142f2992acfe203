"""No damage changes a verdict from PASS to FAIL or from FAIL to PASS."""

from __future__ import annotations

import pytest
from damage import KEPT_MIN, Tally, campaign, simulated_runs

COPIES = 120


@pytest.fixture(scope="module")
def tally(tmp_path_factory: pytest.TempPathFactory) -> Tally:
    """Copies of passing and of failing runs, each damaged in one way (`python tests/support/damage.py` makes more)."""
    folder = tmp_path_factory.mktemp("damage")
    return campaign(simulated_runs(folder, 3), range(COPIES), folder)


def test_no_verdict_changes_sides(tally: Tally) -> None:
    """Whatever is damaged in whatever way: no new FAIL, no PASS of damaged evidence, no traceback."""
    assert tally.wrong == []
    assert sum(tally.outcomes.values()) == COPIES


def test_what_whole_blocks_prove_stays(tally: Tally) -> None:
    """A counterexample outside the damage is still one."""
    assert tally.provable > COPIES // 4
    assert tally.kept >= KEPT_MIN * tally.provable, tally.lost
