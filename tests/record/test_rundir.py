"""Run directories are unique, described atomically, and refused in one sentence where they cannot be made."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from earwitness.harness.errors import RecordError
from earwitness.harness.record.rundir import RunDirectory, write_json


def test_two_runs_in_one_second_differ(tmp_path: Path) -> None:
    """Directories of one story, seed and second have different names; `latest` is the newest."""
    runs = [RunDirectory.create(tmp_path / "runs", "ws_ordering", 7) for _ in range(4)]
    assert len({run.path for run in runs}) == 4
    assert all("-ws_ordering-7" in run.path.name for run in runs)
    latest = tmp_path / "runs" / "latest"
    assert latest.resolve() == runs[-1].path.resolve()
    assert not os.path.isabs(latest.readlink())
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == sorted([*(r.path.name for r in runs), "latest"])


def test_many_at_once(tmp_path: Path) -> None:
    """Runs made at the same time by several threads never share a directory."""
    made: list[Path] = []

    def make() -> None:
        for _ in range(5):
            made.append(RunDirectory.create(tmp_path, "s", 1).path)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20


def test_update_merges_and_is_whole_at_any_time(run: RunDirectory) -> None:
    """While `run.json` is replaced again and again, a reader always sees a whole one."""
    done = threading.Event()
    torn: list[str] = []

    def read() -> None:
        while not done.is_set():
            text = (run.path / "run.json").read_text()
            try:
                json.loads(text)
            except ValueError:
                torn.append(text)

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(100):
        run.update(n=n, options={"x": "y" * 5000})
    done.set()
    reader.join()
    assert torn == []
    content = json.loads((run.path / "run.json").read_text())
    assert (content["story"], content["seed"], content["n"]) == ("story", 7, 99)
    assert RunDirectory.open(run.path).run == content
    assert sorted(p.name for p in run.path.iterdir()) == ["journals", "roster.json", "run.json", "spare", "tables"]


def test_tables_keep_their_lines(run: RunDirectory) -> None:
    """Rows come back in order; a table that nobody wrote is empty; a broken line is named."""
    for n in range(3):
        run.append("samples", {"n": n})
    assert list(run.rows("samples")) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert list(run.rows("probes")) == []
    with (run.path / "tables" / "samples.jsonl").open("a") as file:
        file.write("{\n")
    with pytest.raises(RecordError, match=r"samples\.jsonl:4 is no JSON"):
        list(run.rows("samples"))
    with pytest.raises(RecordError, match="is no name for a table"):
        run.append("../x", {})


def test_too_little_space(tmp_path: Path) -> None:
    """Below the least free space a run is refused before it begins, and leaves nothing."""
    with pytest.raises(RecordError, match=r"^Only \d+ MB are free at .*, a run needs 999999999 MB: "):
        RunDirectory.create(tmp_path, "s", 1, free_mb_min=999_999_999)
    assert list(tmp_path.iterdir()) == []


def test_place_in_the_way(tmp_path: Path) -> None:
    """A file where a directory should be made is one sentence with its path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"Cannot make a run directory in .*file"):
        RunDirectory.create(tmp_path / "file", "s", 1)
    (tmp_path / "latest").mkdir()
    with pytest.raises(RecordError, match="latest is in the way"):
        RunDirectory.create(tmp_path, "s", 1)
    with pytest.raises(RecordError, match="is not empty"):
        RunDirectory.at(tmp_path)
    with pytest.raises(RecordError, match="Cannot write"):
        write_json(tmp_path / "nowhere" / "x.json", {})


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="only Linux can lend a thread another user")
def test_not_writable_for_an_ordinary_user(tmp_path: Path) -> None:
    """A directory that belongs to somebody else is refused in one sentence, also when the tests run as root."""
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o555)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            if os.geteuid() == 0:
                for parent in [folder, *folder.parents][:-1]:
                    os.chmod(parent, parent.stat().st_mode | 0o555)
                os.setresuid(65534, 65534, 65534)
            RunDirectory.create(folder, "s", 1)
        except RecordError as error:
            said = str(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(reading, 1000).decode()
    os.close(reading)
    os.close(writing)
    assert said == f"Cannot make a run directory in {folder}: Permission denied. Name another place."
