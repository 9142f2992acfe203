"""What the judge is told of a run's roster: made again from the plan, or said to be unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from earwitness.checks.roster import Origin
from earwitness.harness.planning.plan import Plan
from earwitness.harness.record.exporter import export
from earwitness.harness.record.history import open_history
from earwitness.harness.record.importer import import_history
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.report.facts import facts_of, planned_roster

PLAN = Plan(seed=7, tag="golden", users=12, sizes=(5, 12))


def write_run(path: Path, **footer: int) -> Path:
    """A run directory as the conductor begins it, with one record."""
    directory = RunDirectory.at(path)
    directory.update(plan=PLAN.to_dict(), contract={}, journals=["load-0"], target={"kind": "reference"})
    directory.write_roster(PLAN.roster(), PLAN.origin)
    journal = Journal.create(directory.journals, "load-0", meta={"roster": PLAN.roster().digest()})
    journal.identity(0, "id-0")
    journal.write(1, 6, 0, 0, 0, 0, 1, 0xFFFF_FFFF, 0xFFFF_FFFF, 0, -1, -1, 0, 0)
    journal.close(footer)
    return path


def test_a_plan_makes_the_same_roster_in_every_version() -> None:
    """Runs of today are judged again by later versions: what a plan makes of its numbers must not change."""
    assert PLAN.roster().digest() == "be6fbd46d4c70af43c669ff9c1228a0dc3703f50d5bfe4c4e0af637c7e8e86f8"


def test_the_plan_gives_the_roster_again(tmp_path: Path) -> None:
    """From run.json alone, also after an export and an import; identities come from the journals."""
    run = write_run(tmp_path / "run")
    export(run, tmp_path / "run.jsonl")
    import_history(tmp_path / "run.jsonl", tmp_path / "again")
    for directory in (run, tmp_path / "again"):
        facts = facts_of(open_history(directory))
        assert facts["roster_origin"] == "plan"
        assert facts["roster_planned"].digest() == PLAN.roster().digest()
        assert facts["identities"] == [(0, "id-0")]


@pytest.mark.parametrize(
    ("run", "origin"),
    [
        ({}, None),
        ({"roster": {"origin": "joined"}, "plan": PLAN.to_dict()}, "joined"),
        ({"roster": {"origin": "plan"}}, "plan"),
        ({"roster": {"origin": "plan"}, "plan": {**PLAN.to_dict(), "users": "many"}}, "plan"),
        # Rooms that nobody's file states can only have come from the platform itself.
        ({"roster": {"origin": "target"}, "plan": {**PLAN.to_dict(), "rooms": [["lobby", [0, 1]]]},
          "target": {"kind": "reference"}}, "target"),
    ],
)  # fmt: skip
def test_a_roster_that_no_plan_gives(run: dict[str, Any], origin: str | None) -> None:
    """Without a plan, with one that makes no sense, or with rooms that no target file states, there is none."""
    assert planned_roster(run, PLAN.clients) == (None, origin)


def test_rooms_of_a_target_file() -> None:
    """Rooms that the platform's owner wrote into the target's file are the tester's word."""
    plan = {**PLAN.to_dict(), "rooms": [["lobby", [0, 1]]]}
    run = {"roster": {"origin": Origin.TARGET}, "plan": plan, "target": {"kind": "file", "path": "chat.toml"}}
    planned, origin = planned_roster(run, PLAN.clients)
    assert origin == Origin.TARGET
    assert planned is not None
    assert planned.conversations == ((0, 1),)


ROSTER = {"roster": {"members": {"general": ["ann"]}}}
ROWS = [
    {"time_ns": 1, "kind": "connect", "client": "ann"},
    {"time_ns": 2, "kind": "join", "client": "ann", "conversation": "general"},
]


@pytest.mark.parametrize(
    ("lines", "origin"),
    [([ROSTER, *ROWS], "stated"), ([*ROWS, ROSTER], "stated-late"), (ROWS, "joined")],
)
def test_whose_word_an_imported_roster_is(tmp_path: Path, lines: list[dict[str, Any]], origin: str) -> None:
    """Stated before the first record it is the recorder's word; later, or made of who joined, it is not."""
    file = tmp_path / "history.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_history(file, tmp_path / "run")
    assert facts_of(open_history(tmp_path / "run"))["roster_origin"] == origin


def test_load_that_was_not_said(tmp_path: Path) -> None:
    """What users could not say, because they could not come back, is load that was offered and not attained; where
    faults were planned that may be their work, and nothing is stated."""
    run = write_run(tmp_path / "run", messages_sent=90, messages_unsaid=10)
    facts = facts_of(open_history(run))
    assert (facts["messages_sent"], facts["messages_offered"]) == (90, 100)
    RunDirectory.open(run).update(planned_faults=["kill:auth@1s"])
    assert "messages_offered" not in facts_of(open_history(run))
