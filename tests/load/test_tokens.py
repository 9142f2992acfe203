"""Stories of the auth plane against platforms that are wrong about tokens and accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.reference.defects.catalogue import BY_NAME


@pytest.mark.timeout(240)
@pytest.mark.parametrize("defect", ["refresh-twice", "deactivation-forgotten"])
def test_a_wrong_platform_is_caught_by_its_story(locust: Callable[..., Any], defect: str) -> None:
    """The check that is meant for the defect fails, with the records that prove it."""
    described = BY_NAME[defect]
    run = locust(
        *("-u", "20", "-r", "20", "-t", "20s", "--seed", "7", "--defect", f"{described.service}={defect}:1"),
        story=f"locustfiles/{described.story}.py",
    )
    assert run.code == 1, run.out
    found = run.check(described.caught_by[0])
    assert found["outcome"] == "FAIL"
    assert 1 <= len(found["witnesses"][0]["records"]) <= 6
    assert "Traceback" not in run.out
    assert run.left_behind == []
