"""`earwitness collect`: parts of a run from a store or from other hosts, made one run directory and judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import NOBODY, NONE, Kind, Phase
from earwitness.checks.roster import Roster
from earwitness.harness.cli import main
from earwitness.harness.errors import Exit
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.history import open_history
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.record.shipping import Cutter
from earwitness.harness.record.store import file_name, open_store, piece_name


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run of one load process, which has recorded elsewhere."""
    directory = RunDirectory.create(tmp_path / "runs", "story", 7)
    directory.write_roster(Roster(user_of=(0, 1), conversations=((0, 1),)))
    directory.update(
        journals=["load-0"], contract=Contract().to_dict(), state="running", process=1, process_started=0.0
    )
    return directory


@pytest.fixture
def part(tmp_path: Path, run: RunDirectory) -> Path:
    path = tmp_path / f"{run.path.name}.load-0"
    (path / "tables").mkdir(parents=True)
    (path / "tables" / "services.jsonl").write_text('{"t_ns": 5, "service": "load-0"}\n')
    journal = Journal.create(path / "journals", "load-0", meta={"host": "there"})
    for phase in (Phase.LOAD, Phase.DRAIN, Phase.DRAINED):
        journal.write(int(phase), Kind.PHASE, 0, 0, 0, NOBODY, 0, NOBODY, NOBODY, int(phase), NONE, NONE, 0, 0)
    journal.close({})
    return path


def put(run: RunDirectory, part: Path, store: str) -> str:
    """Put a run and its part into a store; return the run's URL there."""
    there, name = open_store(store), run.path.name
    for file in ("run.json", "roster.json"):
        there.put(file_name(name, file), (run.path / file).read_bytes())
    cutter, number = Cutter(part, "load-0"), 0
    while (piece := cutter.next()) is not None:
        number += 1
        there.put(piece_name(name, 0, "load-0", number), piece.packed())
    return f"{store}/run={name}"


def test_a_run_from_a_store(
    run: RunDirectory, part: Path, store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its description, its records and the rows of its side tables; it is UNKNOWN, since it was never concluded."""
    url = put(run, part, store_url)
    assert main(["collect", url, "--into", str(tmp_path / "again")]) == Exit.UNKNOWN
    (view,) = open_history(tmp_path / "again").journals
    assert (view.name, view.count, view.torn, view.faults) == ("load-0", 3, False, [])
    assert (tmp_path / "again" / "tables" / "services.jsonl").read_bytes() == (
        part / "tables/services.jsonl"
    ).read_bytes()
    assert json.loads((tmp_path / "again" / "verdict.json").read_text())["exit_code"] == Exit.UNKNOWN
    assert "UNKNOWN" in capsys.readouterr().out
    assert main(["collect", url, "--into", str(tmp_path / "again")]) == Exit.CANNOT_RUN
    assert "is not empty" in capsys.readouterr().err


def test_what_a_worker_kept(run: RunDirectory, part: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Into the master's run directory, which had the beginning already; a second time changes nothing."""
    for file in ("load-0.names.jsonl",):
        first = (part / "journals" / file).read_bytes().partition(b"\n")[0] + b"\n"
        (run.journals / file).write_bytes(first)
    (run.journals / "load-0.ewj").write_bytes(b"")
    for _ in range(2):
        assert main(["collect", str(run.path), str(part)]) == Exit.UNKNOWN
        assert [(v.count, v.torn, v.faults) for v in open_history(run.path).journals] == [(3, False, [])]
    assert "MB of load-0 added from" in capsys.readouterr().err


def test_a_part_of_another_run(run: RunDirectory, part: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is mixed."""
    Journal.create(run.journals, "load-0", meta={"host": "here"}).close({})
    conclude(run)
    assert main(["collect", str(run.path), str(part)]) == Exit.CANNOT_RUN
    assert "is no part of this run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["file:///nowhere/at/all/run=x"], "has no run x"),
        (["ftp://host/run=x"], "is no store"),
        (["runs/x"], "name a run directory and the directories"),
        (["file:///a/run=x", "part"], "leave the directories out"),
        (["nowhere", "part"], "is no run directory"),
    ],
)
def test_bad_input(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", *args]) == Exit.CANNOT_RUN
    assert said in capsys.readouterr().err
