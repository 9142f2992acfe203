"""`--rerun A B`: two commands in turns, their runs compared; what ends badly is named with its output."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from earwitness.harness.cli import main

ROOT = Path(__file__).parents[3]
PYTHON = shlex.quote(sys.executable)  # a path may hold blanks


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What makes a run; a ratio is to be appended."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EARWITNESS_RUNS", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path[1:]]))
    return shlex.join([sys.executable, str(ROOT / "tests/support/measured.py")])


def test_two_states_in_turns(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A B A B; the runs and what the commands printed are kept."""
    rerun = ["--rerun", f"{command} 1", f"{command} 1.5", "--rounds", "2"]
    assert main(["compare", *rerun]) in (0, 4)
    shown = capsys.readouterr()
    assert re.findall(r"(?m)^earwitness: ([AB] \d) of 2: run-\d, exit code 0", shown.err) == [
        "A 1",
        "B 1",
        "A 2",
        "B 2",
    ]
    assert "2 runs before, 2 after" in shown.out
    folder = next(Path("runs").glob("rerun-*"))
    assert sorted(str(path.relative_to(folder)) for path in folder.glob("*/run-*")) == [
        f"{side}/run-{n}" for side in "AB" for n in range(2)
    ]
    assert (folder / "A/A-1.log").read_text().strip().endswith("run-0")


def test_a_command_that_makes_no_run(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--rerun", f"{command} 1", "true"]) == 2
    assert "true made 0 runs in" in (error := capsys.readouterr().err)
    assert "B-1.log" in error


def test_a_command_that_fails(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--rerun", f"{command} nothing", "true"]) == 2
    assert "made 0 runs" in capsys.readouterr().err
    assert main(["compare", "--rerun", f"{PYTHON} -c 'raise SystemExit(9)'", "true"]) == 2
    error = capsys.readouterr().err
    assert "ended with exit code 9; its output is in" in error


def test_runs_that_are_not_alike_end_it_after_one_round(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = f"{PYTHON} -c \"import measured, os, pathlib; measured.measured_run(pathlib.Path(os.environ['EARWITNESS_RUNS'], 'run-0'), 1, story='soak')\""  # noqa: E501
    os.environ["PYTHONPATH"] += os.pathsep + str(ROOT / "tests/support")
    assert main(["compare", "--rerun", f"{command} 1", other, "--rounds", "3"]) == 2
    error = capsys.readouterr().err
    assert "story: name baseline and soak" in error
    assert "A 2" not in error


def test_an_interrupted_comparison_ends_its_command(command: str, tmp_path: Path) -> None:
    """SIGTERM to the comparison alone: the command ends before it, and the exit code says that it was interrupted."""
    os.mkfifo(tmp_path / "fifo")
    waits = f"{PYTHON} -c \"import signal; f = open('{tmp_path / 'fifo'}', 'w'); print(1, file=f, flush=True); signal.pause()\""  # noqa: E501
    program = [sys.executable, "-m", "earwitness.harness.cli", "compare", "--rerun", waits, waits]
    with subprocess.Popen(program, stderr=subprocess.PIPE) as comparison, (tmp_path / "fifo").open() as begun:
        assert begun.readline() == "1\n"
        comparison.terminate()
        assert begun.read() == ""  # the other end is closed: the command is dead
        assert comparison.wait(30) == 143


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rerun", "", "true"], "A is empty; write a command"),
        (["--rerun", "true", "'"], "B is no command: No closing quotation"),
        (["--rerun", "/nowhere/at-all", "true"], "/nowhere/at-all cannot be run"),
        (["--rounds", "0", "--rerun", "true", "true"], "0 rounds make no run"),
    ],
)
def test_mistakes(command: str, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str) -> None:
    assert main(["compare", *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
