"""`earwitness check --processes, --shards, --cluster`: the files of one process, whatever judges."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from journaled import Journaled
from reported import failed_run
from rough import rough
from simulator import simulate

from earwitness.checks.history.record import RECORD, Kind
from earwitness.harness.cli import main
from earwitness.harness.record.shards import COMMON, Layout, ShardWriter, file_of, read_shards

SETTINGS_MISTAKE = 2
FILES = ("verdict.json", "verdict.txt", "junit.xml", "report.html")


def written(run: Path, *options: str) -> dict[str, bytes]:
    """Judge a run; the bytes of the files of its verdict."""
    main(["check", str(run), *options])
    return {name: (run / name).read_bytes() for name in FILES}


def test_the_files_of_a_verdict_are_the_same(tmp_path: Path) -> None:
    """Byte for byte: counterexamples, reach, figures and pictures too."""
    failed_run(tmp_path / "run")
    whole = written(tmp_path / "run")
    assert b'"outcome": "FAIL"' in whole["verdict.json"]
    for shards in (1, 3, 16):
        assert written(tmp_path / "run", "--shards", str(shards)) == whole, shards


def by_two_processes(run: Path) -> dict[str, bytes]:
    """Judge a run by two processes. `tests/conftest.py` knows by this name that the test starts processes."""
    return written(run, "--processes", "2", "--shards", "3")


def test_two_processes(tmp_path: Path) -> None:
    """Each judges some of the conversations of a rough run with a defect."""
    told = simulate(4, **rough(4, restarts=2), defects=("Z1",), rate=0.3)
    run = Journaled(tmp_path / "run", told)
    for number in run.left:
        run.write(number, len(told.journals[number]))
    run.close()
    whole = written(tmp_path / "run")
    assert by_two_processes(tmp_path / "run") == whole


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--processes", "0"], "give a number from 1"),
        (["--shards", "9999999"], "give a number from 1"),
        (["--shard-dir", "nowhere"], "is no folder"),
        (["--cluster", "tcp://127.0.0.1:1"], "--shard-dir"),
        (["--follow", "--processes", "2"], "--follow judges by one process"),
    ],
)
def test_options_that_cannot_be(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, and exit code 2."""
    failed_run(tmp_path / "run")
    assert main(["check", str(tmp_path / "run"), *options]) == SETTINGS_MISTAKE
    assert said in capsys.readouterr().err


def test_a_cluster_without_its_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence names the extra to install."""
    failed_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    options = ["--cluster", "tcp://127.0.0.1:1", "--shard-dir", str(tmp_path)]
    assert main(["check", str(tmp_path / "run"), *options]) == SETTINGS_MISTAKE
    assert "earwitness[cluster]" in capsys.readouterr().err


def test_shards_are_read_in_the_order_of_their_journals(tmp_path: Path) -> None:
    """Whatever lies in which file, in windows of any size; late records stand where they were recorded."""
    rng = np.random.default_rng(1)
    journals = [np.zeros(500, RECORD), np.zeros(40, RECORD), np.zeros(3, RECORD)]
    wheres = [rng.integers(-1, 4, len(records)) for records in journals]
    with ShardWriter(tmp_path, 4) as writer:
        for number, (records, where) in enumerate(zip(journals, wheres, strict=True)):
            records["kind"], records["index"] = Kind.DELIVER, np.arange(1, len(records) + 1)
            late = (where == 2) & (records["index"] % 5 == 0)
            for start in range(0, len(records), 77):
                part = slice(start, start + 77)
                writer.write(number, records[part], np.where(late, -3, where)[part])
                writer.late(2, writer.chunks, number, records[part][late[part]])
    assert writer.layout.records(COMMON) == sum(int((where == COMMON).sum()) for where in wheres)
    for window in (1, 7, 1 << 16):
        for shards in ((0,), (2,), (1, 2), (0, 1, 2, 3)):
            found: dict[int, list[int]] = {}
            for batch in read_shards(tmp_path, writer.layout, shards, window):
                found.setdefault(batch.journal, []).extend(batch.records["index"].tolist())
            for number, where in enumerate(wheres):
                wanted = journals[number]["index"][np.isin(where, (COMMON, *shards))].tolist()
                assert found.get(number, []) == wanted
    assert not list(read_shards(tmp_path, Layout(), (0,)))
    assert file_of(tmp_path, 3).exists()
