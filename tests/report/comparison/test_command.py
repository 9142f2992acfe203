"""`earwitness compare` from the command line: recorded runs, exit codes, and mistakes in one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from measured import PLANNED, measured_run

from earwitness.harness.cli import main
from earwitness.harness.record.rundir import write_json

RUNS = 8


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Eight runs of one state, eight more of it, eight that are 20 % slower, and one with another load."""
    root = tmp_path_factory.mktemp("runs")
    return {
        "a": [str(measured_run(root / f"a{n}", n)) for n in range(RUNS)],
        "same": [str(measured_run(root / f"b{n}", 100 + n)) for n in range(RUNS)],
        "slow": [str(measured_run(root / f"c{n}", 200 + n, 1.2)) for n in range(RUNS)],
        "other": [str(measured_run(root / "d", 300, planned={**PLANNED, "users": 50}))],
    }


def test_the_same_state(recorded: dict[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *recorded["a"], "--", *recorded["same"]]) == 0
    shown = capsys.readouterr().out
    assert "8 runs before, 8 after" in shown
    assert "no difference seen; with these runs so much would have been:" in shown
    assert re.search(r"(?m)^fan-out of 5 p50 .* ≥ [\d.]+ %$", shown)
    assert shown.rstrip().endswith("no regression beyond 5 %")


def test_twenty_per_cent_slower(recorded: dict[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *recorded["a"], "--", *recorded["slow"]]) == 4
    shown = capsys.readouterr().out
    assert "worse, by more than 5 % (errors, streams: 0.1 points):" in shown
    assert "REGRESSION by more than 5 %: " in shown
    assert main(["compare", "--margin", "40", *recorded["a"], "--", *recorded["slow"]]) == 0
    assert main(["compare", *recorded["slow"], "--", *recorded["a"]]) == 0


def test_json(recorded: dict[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--json", *recorded["a"], "--", *recorded["slow"]]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["regression"] is True
    assert found["before"] == recorded["a"]
    row = next(row for row in found["rows"] if row["name"] == "fan-out of 5 p50")
    assert row["low"] < 1.2 < row["high"]
    assert row["p_ranks"] < 0.02


def test_one_run_a_side(recorded: dict[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Only the interval within the runs, and no claim; UNKNOWN where it is beyond the margin."""
    assert main(["compare", recorded["a"][0], recorded["slow"][0]]) == 3
    shown = capsys.readouterr().out
    assert shown.startswith("spread between runs unknown")
    assert "No regression can be claimed" in shown
    assert main(["compare", "--tolerance", "80", recorded["a"][0], "--", recorded["slow"][0]]) == 0
    assert main(["compare", "--json", recorded["slow"][0], recorded["a"][0]]) == 0
    capsys.readouterr()


def test_few_runs_are_decided_by_the_interval(
    recorded: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *recorded["a"][:3], "--", *recorded["same"][:3]]) == 0
    assert "No claim by ranks: fewer than 7 runs a side" in capsys.readouterr().out


def test_runs_that_are_not_alike(recorded: dict[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    sides = [*recorded["a"][:2], "--", recorded["same"][0], *recorded["other"]]
    assert main(["compare", *sides]) == 2
    assert "load: users 5 and 50" in capsys.readouterr().err
    assert main(["compare", "--despite", "load", *sides]) == 0
    assert "not alike: load: users 5 and 50" in capsys.readouterr().out


def test_runs_too_short_for_latencies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes a comparison without them for one that found nothing."""
    monkeypatch.setattr("measured.SECONDS", 8)
    runs = [str(measured_run(tmp_path / f"{n}", n)) for n in range(4)]
    assert main(["compare", *runs[:2], "--", *runs[2:]]) == 0
    assert "latencies are not compared: they need samples in 10 different seconds" in capsys.readouterr().out


def test_a_run_that_was_not_pass_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(measured_run(tmp_path / f"{n}", n)) for n in range(4)]
    write_json(tmp_path / "3/verdict.json", {"outcome": "FAIL"})
    (tmp_path / "2/verdict.json").unlink()
    assert main(["compare", *runs[:2], "--", *runs[2:]]) == 0
    shown = capsys.readouterr().out
    assert f"{runs[3]} was FAIL" in shown
    assert f"{runs[2]} was never judged" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["A0"], "write -- between the sides"),
        (["A0", "A1", "A2"], "write -- between the sides"),
        (["A0", "A1", "--"], "no run after the --"),
        (["--", "A0"], "no run before the --"),
        ([], "write -- between the sides"),
        (["A0", "--", "A0"], "the run is named twice"),
        (["A0", "A1", "--", "A2"], "a side with one run has no spread"),
        (["A0", "--", "A1", "--json"], "options come before the runs"),
        (["--margin", "-3", "A0", "A1"], "--margin: -3 is no per cent"),
        (["--margin", "nan", "A0", "A1"], "--margin: nan is no per cent"),
        (["nowhere", "A1"], "no run directory"),
        (["--rerun", "true", "true", "A0"], "makes the runs itself"),
    ],
)
def test_mistakes(
    recorded: dict[str, list[str]], capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    """One sentence, and exit code 2."""
    named = [recorded["a"][int(word[1])] if word[0] == "A" else word for word in words]
    assert main(["compare", *named]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
