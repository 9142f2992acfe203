"""Shapes, planned arrivals, and runs that outlast their tokens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest


def test_who_leaves_comes_back_as_the_same_person(locust: Callable[..., Any], platform: Any) -> None:
    """Six of ten stop and start again: no person is there twice, nothing is missed, counters go on."""
    run = locust("-u", "10", "-r", "20", platform=platform, story="tests/load/stories/tide.py")
    assert run.code == 0, run.out
    assert "Traceback" not in run.out
    assert run.verdict["load"]["users"] == 10
    assert run.verdict["load"]["connections"] == 16


@pytest.mark.campaign
def test_a_spike_of_planned_arrivals_passes(locust: Callable[..., Any], platform: Any) -> None:
    """Any story takes a shape and a rate; both are in run.json, and the planned start has its own latency."""
    shaped = ("--shape", "spike:0.5", "--arrivals", "poisson 40/s")
    run = locust("-u", "10", "-r", "20", "-t", "9s", *shaped, platform=platform, story="tests/load/stories/talking.py")
    assert run.code == 0, run.out
    assert "Traceback" not in run.out
    assert run.verdict["load"]["users"] == 10
    assert run.verdict["latency_ms"]["planned ack"]["samples"] == run.verdict["latency_ms"]["ack"]["samples"] > 50


def test_a_shape_that_is_none_is_told_before_anything_starts(refused: Callable[..., Any]) -> None:
    """One sentence, exit 2."""
    run = refused("-u", "10", "-t", "9s", "--shape", "spyke")
    assert run.code == 2
    assert "did you mean spike" in run.out
    assert "Traceback" not in run.out


def test_a_run_that_outlasts_its_tokens(locust: Callable[..., Any], platform_of_short_tokens: Any) -> None:
    """Who is closed because their token has ended logs in anew, resumes, and misses nothing."""
    run = locust("-u", "6", "-r", "20", "-t", "20s", platform=platform_of_short_tokens, story="locustfiles/soak.py")
    assert run.code == 0, run.out
    assert "status 401" not in run.out
    assert "HTTP 401" not in run.out
    assert run.verdict["load"]["users"] == 6
    assert run.verdict["load"]["connections"] >= 12
    assert run.recorded("LOGIN") >= 12


def test_no_more_users_than_the_target_allows() -> None:
    """Whoever asks Locust for more, by a key or by a shape that exceeds what it foretold, gets as many as are allowed,
    and a sentence."""
    program = """
import locust
from locust.runners import WorkerNode
from earwitness.harness.load.shapes import limited_to

class Some(locust.User):
    pass

dispatcher = limited_to(3, "our chat")(worker_nodes=[WorkerNode("one")], user_classes=[Some])
for asked in (2, 5, 1):
    dispatcher.new_dispatch(asked, 10.0)
    *_, last = dispatcher
    print(asked, sum(last["one"].values()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split("\n") == ["2 2", "5 3", "1 1", ""]
    assert done.stderr == "earwitness: our chat allows 3 users (max_users), 5 were asked for; it stays at 3.\n"
