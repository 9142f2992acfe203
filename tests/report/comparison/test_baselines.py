"""`earwitness baseline`: sets of runs that are kept, without their run directories."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from measured import PLANNED, measured_run

from earwitness.harness.cli import main

RUNS = 8


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eight runs of one state (a0 …), and eight slower ones (c0 …)."""
    root = tmp_path_factory.mktemp("runs")
    for n in range(RUNS):
        measured_run(root / f"a{n}", n)
        measured_run(root / f"c{n}", 200 + n, 1.2)
    return root


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of(recorded: Path, side: str, numbers: range = range(RUNS)) -> list[str]:
    return [str(recorded / f"{side}{n}") for n in numbers]


def test_a_set_outlives_its_runs(recorded: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recorded in two steps, listed, compared with after the run directories are gone."""
    copies = [str(shutil.copytree(path, place / Path(path).name)) for path in of(recorded, "a")]
    assert main(["baseline", "record", "main", *copies[:4]]) == 0
    assert "4 runs; 7 or more are wanted" in capsys.readouterr().out
    assert main(["baseline", "record", "main", *copies[4:]]) == 0
    assert capsys.readouterr().out.rstrip() == "baselines/main.json: 8 runs"
    for copy in copies:
        shutil.rmtree(copy)
    assert main(["baseline", "check", "main", *of(recorded, "c")]) == 4
    assert "REGRESSION" in capsys.readouterr().out
    assert (place / "baselines/main.json").stat().st_size < 60_000


def test_the_list(recorded: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baseline", "list"]) == 0
    assert "no set in baselines" in capsys.readouterr().out
    main(["baseline", "record", "main", *of(recorded, "a"), "--json"])
    assert json.loads(capsys.readouterr().out)["runs"] == RUNS
    assert main(["baseline", "list"]) == 0
    line = capsys.readouterr().out
    assert "main" in line
    assert "8 runs  baseline, 5 users, 12 s, machine 00ff, commit 111111111111" in line
    assert main(["baseline", "list", "main", "--json"]) == 0
    assert [row["run"] for row in json.loads(capsys.readouterr().out)] == of(recorded, "a")


def test_a_run_is_in_a_set_once(recorded: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also under another name; and a set is not compared with its own runs."""
    assert main(["baseline", "record", "main", *of(recorded, "a")]) == 0
    copy = str(shutil.copytree(recorded / "a0", place / "copy"))
    for words in (["record", "main", copy], ["check", "main", copy, *of(recorded, "c")]):
        assert main(["baseline", *words]) == 2
        assert "named twice" in capsys.readouterr().err
    assert main(["baseline", "record", "main", copy, "--replace"]) == 0
    assert "1 runs" in capsys.readouterr().out


def test_a_set_holds_only_runs_that_are_alike(recorded: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = str(measured_run(place / "other", 1, planned={**PLANNED, "users": 50}))
    assert main(["baseline", "record", "main", *of(recorded, "a"), other]) == 2
    assert "load: users 5 and 50" in capsys.readouterr().err
    assert not (place / "baselines").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["record"], "name a set and runs"),
        (["record", "main"], "name a set and runs"),
        (["check", "none", "A0", "A1"], "There is no set none in baselines (none is recorded yet)"),
        (["record", "../x", "A0"], "is no name for a set"),
        (["record", "main", "A0", "A0"], "named twice"),
        (["list", "none"], "There is no set none"),
        (["list", "broken"], "is damaged, it is no JSON"),
        (["list", "strange"], "is no set of runs ('runs')"),
        (["list", "later"], "is no set of runs (format 9)"),
        (["check", "one", "A1"], "a side with one run has no spread"),
    ],
)
def test_mistakes(
    recorded: Path, place: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    if "none" not in words:
        (place / "baselines").mkdir()
        for name, text in (("broken", "{"), ("strange", '{"format": 1}'), ("later", '{"format": 9, "runs": []}')):
            (place / f"baselines/{name}.json").write_text(text)
        main(["baseline", "record", "one", str(recorded / "a0")])
        capsys.readouterr()
    named = [str(recorded / f"a{word[1]}") if word[0] == "A" else word for word in words]
    assert main(["baseline", *named]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
