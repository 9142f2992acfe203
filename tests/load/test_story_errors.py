"""A story whose own code crashes never passes (H7), in one load process and in several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

CRASHING = "tests/load/stories/crashing.py"
KINDS = (
    "talk (crashing.py:23): AttributeError: 'Misspelt' object has no attribute 'sya'",
    "on_start (crashing.py:29): KeyError: 'no such account'",
    "on_stop (crashing.py:35): OSError: the file is closed",
    "later (crashing.py:44): ZeroDivisionError: in a greenlet",
    "event handler: LookupError: in a listener",
)


@pytest.mark.parametrize(
    "processes",
    [
        pytest.param((), id="one process", marks=pytest.mark.campaign),
        pytest.param(("--processes", "2"), id="two processes"),
    ],
)
def test_a_crashing_story(locust: Callable[..., Any], platform: Any, processes: tuple[str, ...]) -> None:
    """Every kind of mistake is counted by its place; the run is UNKNOWN and its first line says so."""
    # Long enough for every user to reach its first task, also with a second of lag.
    run = locust("-u", "12", "-r", "12", "-t", "6s", *processes, story=CRASHING, platform=platform)
    assert run.code == 3, run.out
    stories = [line["story"] for line in run.footers if "story" in line]
    assert len(stories) == (2 if processes else 1)
    seen = {f"{row['where']}: {row['error']}" for story in stories for row in story["errors"]}
    seen |= {f"{row['where']}: {row['error']}" for row in run.described.get("story_errors", {}).get("errors", ())}
    assert seen == set(KINDS)
    assert sum(story["requests"] for story in stories) == 2 * run.check("H7")["facts"]["failed_requests"] > 0
    why = run.check("H7")["why"]
    assert "errors in the story: " in why
    assert "requests of the story failed: GET own: OSError: HTTP 500" in why
    assert run.verdict["headline"] == "UNKNOWN"


def test_own_requests_are_errors(locust: Callable[..., Any], platform: Any) -> None:
    """The threshold on errors counts them."""
    args = ("--threshold", "errors < 1 %", "-u", "3", "-r", "3", "-t", "2s", "Asks")
    run = locust(*args, story=CRASHING, platform=platform)
    (row,) = [row for row in run.verdict["thresholds"] if row["name"] == "errors"]
    own = run.check("H7")["facts"]
    operations = own["requests"] + run.recorded("INVOKE") + run.recorded("PROBE")
    assert row["met"] is False
    assert row["samples"] == operations
    assert row["measured"] == pytest.approx(100 * own["failed_requests"] / operations, abs=0.001)
    assert own["failed_requests"] > 0
