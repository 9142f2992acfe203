"""Stories of their own plane, on the healthy platform and on platforms that are wrong there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.harness.defects.catalogue import BY_NAME


# One of tokens, one of what devices share: all the others are the matrix's (`earwitness defects --matrix`).
@pytest.mark.timeout(240)
@pytest.mark.parametrize("defect", ["refresh-twice", pytest.param("missed-mark", marks=pytest.mark.campaign)])
def test_a_wrong_platform_is_caught_by_its_story(locust: Callable[..., Any], defect: str) -> None:
    """The check that is meant for the defect fails, with the records that prove it."""
    described = BY_NAME[defect].defect
    run = locust(
        *("-u", "20", "-r", "20", "-t", "25s", "--seed", "7", "--defect", f"{described.service}={defect}:1"),
        story=f"locustfiles/{described.story}.py",
    )
    assert run.code == 1, run.out
    found = run.check(described.caught_by[0])
    assert found["outcome"] == "FAIL"
    assert 1 <= len(found["witnesses"][0]["records"]) <= 6
    assert "Traceback" not in run.out
    assert run.left_behind == []


@pytest.mark.timeout(240)
def test_people_with_five_tabs(locust: Callable[..., Any]) -> None:
    """In two load processes, with a replica that is killed and people who go home: what tabs share is judged."""
    run = locust(
        *("-u", "20", "-r", "20", "-t", "20s", "--seed", "7", "--processes", "2"),
        *("--faults", "kill:backend-1@8s+2s"),  # when everybody is there for sure
        story="locustfiles/multi_session.py",
    )
    assert run.code == 0, run.out
    for id in ("I14", "I18", "I22", "I27"):
        assert run.check(id)["examined"] > 0
    assert run.recorded("WRITE") > 0
    assert run.recorded("PRESENCE") > 0
    assert run.left_behind == []
