"""A step of the wall clock during a run makes H3 UNKNOWN, and no right platform FAIL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks.history.record import Phase
from earwitness.harness.dialects.reference.forgery import TIMED

STORY = "tests/load/stories/stepped.py"
SIZE = ("-u", "6", "-r", "6", "-t", "12s", "--seed", "7")


@pytest.mark.parametrize(
    "step_s",
    [pytest.param(3600.0, id="an hour forward", marks=pytest.mark.campaign), pytest.param(-3600.0, id="an hour back")],
)
def test_a_right_platform_does_not_fail(locust: Callable[..., Any], platform: Any, step_s: float) -> None:
    """Forgeries that are wrong by their times become valid tokens, or controls are refused: UNKNOWN, with the step."""
    run = locust(*SIZE, "--step-s", str(step_s), platform=platform, story=STORY)
    assert run.verdict["outcome"] == "UNKNOWN", run.out
    assert run.code == 3, run.out
    clock = run.check("H3")
    assert clock["outcome"] == "UNKNOWN"
    assert clock["why"].startswith(f"the wall clock was stepped by {step_s:+.1f} s after ")
    assert clock["why"].endswith(" s (load-0)")
    for id in ("I31", "I35"):
        found = run.check(id)
        assert (found["outcome"], found["violations"]) == ("UNKNOWN", 0), found
        assert found["why"], found
    assert "rest on the wall clock, which was stepped (H3)" in run.check("I35" if step_s < 0 else "I31")["why"]
    assert run.check("I5b")["outcome"] == "PASS"
    assert run.values("PHASE", "counter").count(Phase.CLOCK_STEP) == 1


def test_a_step_hides_no_forgery(locust: Callable[..., Any]) -> None:
    """A backend that accepts unsigned tokens FAILs, whatever the clock does: no step makes such a token valid."""
    run = locust(*SIZE, "--step-s", "3600", "--defect", "backend=unsigned-accepted:1", story=STORY)
    assert run.code == 1, run.out
    assert run.check("H3")["outcome"] == "UNKNOWN"
    found = run.check("I31")
    assert found["outcome"] == "FAIL"
    assert found["why"].endswith(" findings rest on the wall clock, which was stepped (H3)")
    shown = [witness["sentence"].rpartition(": ")[2] for witness in found["witnesses"]]
    assert shown
    assert not {name.replace("_", " ") for name in TIMED} & set(shown)
