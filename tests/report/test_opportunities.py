"""Opportunities: which story creates which, how often each occurred in a run, and which the verdict misses."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from earwitness.checks.history.record import NOBODY, NONE, FaultKind, Flag, Kind
from earwitness.checks.roster import Roster
from earwitness.harness.evidence.opportunities_page import PAGE, page, stories
from earwitness.harness.evidence.stages import file_of
from earwitness.harness.record.history import History, open_history
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.report import opportunities
from earwitness.harness.report.opportunities import ALL, BY_ID
from earwitness.harness.report.recorded import Recorded

TWO_OF_ANN = Roster(user_of=(0, 0, 1), conversations=((0, 1),))


def run_of(folder: Path, wanted: tuple[str, ...] = ()) -> RunDirectory:
    run = RunDirectory.at(folder)
    run.update(contract={}, journals=["load-0", "load-1"], opportunities=list(wanted))
    run.write_roster(TWO_OF_ANN)
    return run


def read(run: RunDirectory) -> tuple[History, Recorded]:
    history = open_history(run.path)
    return history, Recorded.of(history)


def connection(journal: Journal, client: int, begin: int, end: int) -> None:
    conn = journal.next_connection()
    journal.write(begin, Kind.CONNECT, 0, 0, 0, client, conn, NOBODY, NOBODY, 0, NONE, NONE, 0, 0)
    journal.write(end, Kind.DISCONNECT, 0, 0, 0, client, conn, NOBODY, NOBODY, 1000, NONE, NONE, 0, 0)


def ban(journal: Journal, client: int, asked: int, flags: int = Flag.ACCEPTED) -> None:
    journal.write(asked + 1, Kind.REVOKE, int(flags), 1, 0, client, 0, NOBODY, client, 0, asked, NONE, 200, 0)


def test_the_page_is_current() -> None:
    """What stands in docs/ is what the code says; `python -m earwitness.harness.report.opportunities` writes it."""
    assert PAGE.read_text("utf-8") == page(stories())


def test_every_opportunity_is_created_by_a_story() -> None:
    """None is only described."""
    created = {id for ids in stories().values() for id in ids}
    assert created == set(BY_ID)


@pytest.mark.parametrize("story", [name for name, ids in stories().items() if ids])
def test_a_story_does_what_it_says(story: str) -> None:
    """For each opportunity that it names its tasks call a method that creates it, or its schedule has the fault."""
    file = file_of(story)
    assert file is not None
    source = file.read_text("utf-8")
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    called = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    for id in stories()[story]:
        one = BY_ID[id]
        kind, _, where = one.fault.partition(" ")
        assert called & set(one.by) or (kind and f"{kind}:{where.replace('valkey', 'redis')}@" in source), id


def test_counts_of_all_processes_are_added(tmp_path: Path) -> None:
    """Each load process says in its footer what occurred among its users; what is not known of is left out."""
    run = run_of(tmp_path / "run", ("size-limit", "shared-id", "rest-and-socket"))
    for number, counts in enumerate(({"size-limit": 2, "of-a-later-version": 1}, {"size-limit": 1, "shared-id": 0})):
        Journal.create(run.journals, f"load-{number}", meta={}).close({"opportunities": counts})
    told = opportunities.told(*read(run))
    assert told["occurred"] == {"size-limit": 3}
    assert [row["id"] for row in told["missing"]] == ["shared-id", "rest-and-socket"]
    assert opportunities.line(told).endswith(": shared-id, rest-and-socket")


def test_nothing_is_missing_where_nothing_was_named(tmp_path: Path) -> None:
    """A run of an older version, or an imported one, has no line about opportunities."""
    run = run_of(tmp_path / "run")
    Journal.create(run.journals, "load-0", meta={}).close({})
    assert opportunities.line(opportunities.told(*read(run))) == ""
    assert opportunities.line({}) == ""


def test_a_fault_is_counted_from_its_record(tmp_path: Path) -> None:
    """Redis without its file: once when it begins, not again when it ends; another fault is another."""
    run = run_of(tmp_path / "run")
    journal = Journal.create(run.journals, "load-0", meta={})
    for name, kind in (("wipe valkey", FaultKind.WIPE), ("crash valkey", FaultKind.CRASH)):
        for flags in (int(Flag.OWN), 0):
            fault = journal.intern(name)
            journal.write(1, Kind.FAULT, flags, 0, 0, NOBODY, 0, NOBODY, fault, int(kind), NONE, NONE, 0, 0)
    journal.close({})
    assert opportunities.occurred(*read(run)) == {"redis-without-file": 1}


@pytest.mark.parametrize(
    ("other", "begin", "end", "flags", "count"),
    [
        (1, 10, 90, Flag.ACCEPTED, 1),
        (1, 10, 40, Flag.ACCEPTED, 0),  # the other device has gone before
        (1, 60, 90, Flag.ACCEPTED, 0),  # it comes after
        (2, 10, 90, Flag.ACCEPTED, 0),  # somebody else's
        (0, 10, 90, Flag.ACCEPTED, 0),  # the only device there is
        (1, 10, 90, Flag(0), 0),  # nobody knows whether there was a ban
    ],
)
def test_a_ban_with_several_devices(tmp_path: Path, other: int, begin: int, end: int, flags: Flag, count: int) -> None:
    """Counted from the records of all load processes: the devices of one user may belong to several."""
    run = run_of(tmp_path / "run")
    first, second = (Journal.create(run.journals, f"load-{number}", meta={}) for number in range(2))
    ban(first, 0, asked=50, flags=int(flags))
    connection(second, other, begin, end)
    for journal in (first, second):
        journal.close({})
    assert opportunities.occurred(*read(run)).get(opportunities.BAN, 0) == count


def test_ids_are_unique() -> None:
    """A footer names them by id."""
    assert len(BY_ID) == len(ALL)
