"""Trials of a shipped dialect against a server: without errors a run passes; a planted one is found by its check."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from planted_faults import Planter
from story_runs import CHAT, Judged, probe, run_story

SECONDS = 8
"""Duration of a run in s: longer than two heartbeats of the servers of these tests."""
OFTEN, RARELY = 4, 20


def planter_of(fault: str, every: int = RARELY) -> Planter:
    """Return the planter of an error in one of `every` deliveries.

    An error `leak` is planted more often, because fewer deliveries can leak.
    """
    return Planter(fault, OFTEN if fault == "leak" else every)


def passes(file: Path, story: str = CHAT, seconds: int = SECONDS, *, unknown: bool = False) -> Judged:
    """Assert that a probe and a run find nothing wrong; return the run.

    `unknown`: the probe may have UNKNOWN results.
    """
    code, said = probe(file)
    assert (code, not unknown and "UNKNOWN" in said) == (0, False), said
    judged = run_story(story, file, seconds)
    assert judged.code == 0, judged.out
    return judged


def finds(planter: Planter, checks: Collection[str], file: Path, story: str = CHAT, seconds: int = SECONDS) -> Judged:
    """Run a story for `seconds` against `file`, whose addresses are those of the planter; return the run.

    Assert that one of `checks` fails; without any, that the run passes; and that the planter planted something if it
    has an error to plant.
    """
    judged = run_story(story, file, seconds)
    assert bool(planter.planted) == bool(planter.fault)
    assert judged.code == (1 if checks else 0), judged.out
    assert bool(judged.broken.intersection(checks)) == bool(checks), judged.out
    return judged
