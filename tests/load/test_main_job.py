"""The main job as a user starts it: verdicts that are right, exit codes, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.harness.record.machine import machine, versions
from earwitness.harness.shipped import STORIES

SMALL = ("-u", "20", "-r", "20", "-t", "8s")


def test_a_healthy_platform_passes(locust: Callable[..., Any]) -> None:
    """Locust starts the platform itself, every named check examines something, and everything ends with it."""
    run = locust(*SMALL, "--seed", "7")
    assert run.code == 0, run.out
    verdict = run.verdict
    assert verdict["outcome"] == "PASS"
    assert verdict["seed"] == 7
    assert verdict["load"]["users"] == 20
    assert len(verdict["replicas"]) == 2
    assert all(c["examined"] > 0 for c in verdict["checks"] if c["judged_by_story"])
    assert verdict["opportunities"]["missing"] == []
    longest = max(int(size) for size in run.values("INVOKE", "size"))
    assert longest == run.described["contract"]["message_bytes_max"]
    assert run.described["machine"] == machine()
    assert run.described["versions"] == versions(STORIES / "ws_ordering.py")
    (burst,) = verdict["bursts"]
    assert (burst["sent"], burst["acknowledged"], burst["stored"]) == (1000, 1000, 1000)
    assert burst["delivered"] == 1000 * burst["hearers"]
    assert (run.directory / "junit.xml").exists()
    assert run.left_behind == []


@pytest.mark.campaign
def test_two_processes_give_one_verdict(locust: Callable[..., Any], platform: Any) -> None:
    """`--processes 2`: both workers' journals are judged together, once."""
    run = locust(*SMALL, "--processes", "2", platform=platform)
    assert run.code == 0, run.out
    assert run.verdict["load"]["users"] == 20
    assert {p.name for p in (run.directory / "journals").glob("*.ewj")} == {
        "load-0.ewj",
        "load-1.ewj",
        "collector.ewj",
    }


@pytest.mark.parametrize(
    ("defect", "check"),
    [
        pytest.param("swap-pushes:0.01", "I4", marks=pytest.mark.campaign),
        pytest.param("drop-push:0.01", "I5b", marks=pytest.mark.campaign),
        pytest.param("duplicate-push:0.01", "I6", marks=pytest.mark.campaign),
        pytest.param("lose-after-ack:0.01", "I5a", marks=pytest.mark.campaign),
        ("leak:0.01", "I12"),
    ],
)
def test_a_wrong_platform_is_caught(locust: Callable[..., Any], defect: str, check: str) -> None:
    """Each defect of the backend fails the check that is there for it, with a witness in words."""
    run = locust(*SMALL, "--defect", f"backend={defect}")
    assert run.code == 1, run.out
    assert run.verdict["outcome"] == "FAIL"
    found = run.check(check)
    assert found["outcome"] == "FAIL"
    assert found["witnesses"][0]["sentence"]
    assert 1 <= len(found["witnesses"][0]["records"]) <= 6
    assert found["witnesses"][0]["sentence"] in " ".join(run.out.split())


def test_the_end_waits_for_those_on_their_way_back(locust: Callable[..., Any], platform: Any) -> None:
    """A connection that was resumed while the run was drained has heard everything before it is closed."""
    run = locust("-u", "10", "-r", "20", "-t", "3s", platform=platform, story="tests/load/stories/late.py")
    assert run.code == 0, run.out
    assert "Traceback" not in run.out
    assert run.verdict["load"]["connections"] == 12


def test_silence_never_passes(locust: Callable[..., Any], platform: Any) -> None:
    """A story that never sends is UNKNOWN, and says what was not seen."""
    run = locust("-u", "10", "-r", "10", "-t", "3s", platform=platform, story="tests/load/stories/silent.py")
    assert run.code == 3, run.out
    assert run.verdict["outcome"] == "UNKNOWN"
    assert "I1" in run.verdict["why"] or "sent" in run.verdict["why"]
