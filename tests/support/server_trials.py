"""Trials of a shipped dialect against a server: a right one passes, a planted fault is found by the check for it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from planted_faults import Planter
from story_runs import CHAT, Judged, probe, run_story

SECONDS = 8
"""Length of a run: longer than two heartbeats of the servers of these tests."""
OFTEN, RARELY = 4, 20


def planter_of(fault: str, every: int = RARELY) -> Planter:
    """Return the planter of a fault in one of `every` deliveries; fewer of them can leak, so these leak more often."""
    return Planter(fault, OFTEN if fault == "leak" else every)


def passes(file: Path, story: str = CHAT, seconds: int = SECONDS, *, unknown: bool = False) -> Judged:
    """Assert that a probe and a run find nothing wrong; return the run. `unknown`: the probe may leave some open."""
    code, said = probe(file)
    assert (code, not unknown and "UNKNOWN" in said) == (0, False), said
    judged = run_story(story, file, seconds)
    assert judged.code == 0, judged.out
    return judged


def finds(planter: Planter, checks: Collection[str], file: Path, story: str = CHAT, seconds: int = SECONDS) -> Judged:
    """Run a story against `file`, which leads to the planter: one of `checks` fails, or, without any, the run passes.

    Return the run. A planter of no fault has planted nothing.
    """
    judged = run_story(story, file, seconds)
    assert bool(planter.planted) == bool(planter.fault)
    assert judged.code == (1 if checks else 0), judged.out
    assert bool(judged.broken.intersection(checks)) == bool(checks), judged.out
    return judged
