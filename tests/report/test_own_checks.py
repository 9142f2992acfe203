"""Files of own checks: how they are loaded, and a run directory that is judged with and without them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from journaled import Journaled
from literal import Told

from earwitness.checks.history.record import RECORD_BYTES
from earwitness.harness.cli import main
from earwitness.harness.errors import SettingsError
from earwitness.harness.platform.children import module_environment
from earwitness.harness.record.importer import import_history
from earwitness.harness.record.journal import BLOCK_RECORDS
from earwitness.harness.report.own_checks import load, stated
from earwitness.harness.run.judge import own_asked

CHECK = """
from pathlib import Path

from earwitness import check

Path(__file__).with_suffix(".ran").touch()


@check("short-messages", promise="Nobody receives a message that is too long.", needs_all=NEEDS_ALL)
def short_messages(history):
    received = history.of("deliver")
    return len(received), (("too long", one) for one in received[received["size"] > LIMIT])
"""
DEADLINE_S = 60.0


def file_of(folder: Path, limit: int = 29, name: str = "mine.py", needs_all: bool = True) -> Path:
    """A check that fails in `run_of` if the limit is below 30 bytes."""
    path = folder / name
    path.write_text(CHECK.replace("LIMIT", str(limit)).replace("NEEDS_ALL", str(needs_all)))
    return path


def told() -> Told:
    history = Told(sequence="contiguous", idempotent=True)
    history.join(0, 1)
    history.join(1, 2)
    for n in range(1, 4):
        history.invoke(0, 1, n)
        history.deliver(1, 2, 0, n, seq=n)
    history.drained()
    return history


def run_of(folder: Path, **described: Any) -> Path:
    run = Journaled(folder / "run", told().run(), judged_by=["I1"], **described)
    run.write(0, 10**6)
    run.close()
    return run.directory.path


def verdict_in(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "verdict.json").read_text())
    return found


def row_of(run: Path, id: str = "U1") -> dict[str, Any]:
    return next(row for row in verdict_in(run)["checks"] if row["id"] == id)


# -- files ------------------------------------------------------------------------------------------------------------

HEAD = "from earwitness import check\n"
FUNCTION = "def f(history):\n    return 1, []\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f(:\n", "bad.py:1: invalid syntax; correct it and run it again."),
        ("import not_here\n", "it cannot be imported: ModuleNotFoundError: No module named 'not_here' (bad.py:1)."),
        ("\nraise ValueError('one\\ntwo')\n", "it cannot be imported: ValueError: one (bad.py:2)."),
        ("import sys\nsys.exit(0)\n", "it cannot be imported: SystemExit: 0 (bad.py:2)."),
        (
            "def f(history):\n    return 1, []\n",
            'it has no check; put @check("a-name", promise="what must hold") above',
        ),
        (HEAD, "it has no check; put"),
        (HEAD + '@check("Bad", promise="x")\n' + FUNCTION, "'Bad' is no name of a check; use lower-case words"),
        (HEAD + '@check("integrity", promise="x")\n' + FUNCTION, "'integrity' is the name of a check of earwitness"),
        (HEAD + ('@check("twice", promise="x")\n' + FUNCTION) + '@check("twice", promise="y")\ndef g(h): ...\n', "too"),
    ],
)
def test_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    """It is one sentence that names the file, and exit code 2; nothing is judged."""
    bad, run = tmp_path / "bad.py", run_of(tmp_path)
    bad.write_text(text)
    assert main(["check", str(run), "--check", str(bad)]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert str(bad) in err
    assert words in err
    assert not (run / "verdict.json").exists()


@pytest.mark.parametrize("name", ["gone.py", "."])
def test_a_file_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["check", str(run_of(tmp_path)), "--check", str(tmp_path / name)]) == 2
    assert f"--check: there is no file {tmp_path / name}" in capsys.readouterr().err


def test_files_beside_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A check can import them; what they print goes to stderr, and one that is imported twice is one check."""
    (tmp_path / "helper_of_mine.py").write_text(
        "print('imported')\nfrom mine_too import short_messages\nNAME = 'two'\n"
    )
    file_of(tmp_path, name="mine_too.py")
    both = tmp_path / "both.py"
    both.write_text(HEAD + "from helper_of_mine import *\n@check(NAME, promise='x')\n" + FUNCTION)
    assert [one.name for one in load([(str(both), None), (str(both), ["two"])])] == ["short-messages", "two"]
    assert capsys.readouterr() == ("", "imported\n")


def test_a_name_that_the_file_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no check 'short-message' in it"):
        load([(str(file_of(tmp_path)), ["short-message"])])


def test_the_checks_of_a_story(tmp_path: Path) -> None:
    """Of their file only those that the story names; then all of `--check`."""
    (one,) = load([(str(file_of(tmp_path)), None)])
    asked = own_asked("tale", [one], [str(tmp_path / "more.py")])
    assert asked == [(str(tmp_path / "mine.py"), ["short-messages"]), (str(tmp_path / "more.py"), None)]
    with pytest.raises(SettingsError, match=r"checks of the story tale: <function .*> is no check; put @check"):
        own_asked("tale", [one.function], [])  # type: ignore[list-item]


# -- a run directory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "outcome"), [(30, "PASS"), (29, "FAIL")])
def test_a_run_is_judged_by_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: int, outcome: str) -> None:
    """It stands in verdict.json, the terminal, junit.xml and, if it fails, among the counterexamples."""
    run, file = run_of(tmp_path), file_of(tmp_path, limit)
    code = main(["check", str(run), "--check", str(file)])
    row = row_of(run)
    assert (row["name"], row["outcome"], row["examined"], row["counts"]) == ("short-messages", outcome, 3, True)
    assert row["file"] == str(file)
    out = capsys.readouterr().out
    (group,) = [part for part in out.split("\n\n") if "  U1   short-messages" in part]
    assert group.startswith({"PASS": "Held (", "FAIL": "Broken ("}[outcome])
    assert f"--check {file}" in out.splitlines()[-2]
    assert b'name="U1 short-messages"' in (run / "junit.xml").read_bytes()
    if outcome == "FAIL":
        assert code == 1
        assert [witness["sentence"] for witness in row["witnesses"]] == ["too long"] * 3
        assert (run / "witnesses" / "U1-1.svg").exists()
        assert f"--check {file} --only U1 --witness 1" in row["witnesses"][0]["command"]
        words = ["check", str(run), "--check", str(file), "--only", "short-messages", "--witness", "3"]
        assert main(words) == 1
        assert "Nobody receives a message that is too long." in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--only", "U1"], ["--only", "short-messages"], ["--json"]])
def test_code_of_a_run_is_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """What run.json names is not run unless the user names it too: UNKNOWN, and the run with it."""
    file = file_of(tmp_path)
    run = run_of(tmp_path, own_checks=stated(load([(str(file), None)])))
    ran = file.with_suffix(".ran")
    ran.unlink()
    assert main(["check", str(run), *words]) == 3
    assert not ran.exists()
    out = capsys.readouterr().out
    assert "not run: a run's directory does not execute code by itself" in out
    assert "--check" not in out.splitlines()[-2]
    assert main(["check", str(run), *words, "--check", str(file)]) == 1
    assert ran.exists()


def test_an_own_check_that_is_no_own_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(tmp_path, own_checks=[{"name": "x"}])
    assert main(["check", str(run)]) == 2
    assert "'own_checks.promise' is missing" in capsys.readouterr().err


@pytest.mark.parametrize(("needs_all", "outcome"), [(True, "UNKNOWN"), (False, "FAIL")])
def test_behind_damage(tmp_path: Path, needs_all: bool, outcome: str) -> None:
    """A message in a sound block behind a damaged one breaks a check only if its records alone prove it."""
    rows: list[dict[str, Any]] = [{"kind": "connect", "client": "ann"}]
    rows += [{"kind": "probe", "client": "ann", "name": "x", "status": 200, "duration_us": 1}] * (2 * BLOCK_RECORDS)
    said = {"client": "ann", "conversation": "g", "message": "m1", "text": "x" * 40}
    rows += [{"kind": "invoke", **said}, {"kind": "deliver", **said}]
    head = json.dumps({"roster": {"members": {"g": ["ann"]}}})
    body = [json.dumps({"time_ns": n * 1000, **row}) for n, row in enumerate(rows)]
    (tmp_path / "h.jsonl").write_text("\n".join([head, *body]) + "\n")
    run = tmp_path / "run"
    import_history(tmp_path / "h.jsonl", run)
    data = run / "journals" / "import.ewj"
    content = bytearray(data.read_bytes())
    content[RECORD_BYTES * 10] ^= 1
    data.write_bytes(content)
    main(["check", str(run), "--check", str(file_of(tmp_path, needs_all=needs_all))])
    row = row_of(run)
    assert row["outcome"] == outcome
    assert [record["index"] for witness in row["witnesses"] for record in witness["records"]] == (
        [2 * BLOCK_RECORDS + 3] if outcome == "FAIL" else []
    )


# -- the judge beside a run -------------------------------------------------------------------------------------------


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """The judge's process with the files that `request.param` makes."""
    folder: Path = request.getfixturevalue("tmp_path")
    asked = [[str(request.param(folder)), None]]
    process = subprocess.Popen(
        [sys.executable, "-m", "earwitness.harness.run.judge_process", json.dumps(asked)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=module_environment(),
    )
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("judge", [file_of], indirect=True)
def test_the_judge_process_loads_it(judge: subprocess.Popen[str], tmp_path: Path) -> None:
    """It says what it loaded, then that it is warm with it, and judges the run by it."""
    assert judge.stdin is not None
    assert judge.stdout is not None
    own = json.loads(judge.stdout.readline())["own"]
    assert [(one["name"], one["file"]) for one in own] == [("short-messages", str(tmp_path / "mine.py"))]
    assert judge.stdout.readline().endswith(" U1 short-messages\n")
    run = Journaled(tmp_path / "run", told().run(), judged_by=["I1"], own_checks=own)
    run.write(0, 5)
    judge.stdin.write(f"follow {run.directory.path}\n")
    judge.stdin.flush()
    run.write(0, 10**6)
    run.close()
    judge.stdin.write("judge\n")
    judge.stdin.flush()
    assert judge.wait(DEADLINE_S) == 1
    assert (row_of(run.directory.path)["outcome"], row_of(run.directory.path)["violations"]) == ("FAIL", 3)
    live = json.loads((run.directory.path / "live.json").read_text())
    assert next(row["title"] for row in live["checks"] if row["id"] == "U1").startswith("Nobody receives")


@pytest.mark.parametrize("judge", [lambda folder: folder / "gone.py"], indirect=True)
def test_the_judge_process_refuses_it(judge: subprocess.Popen[str]) -> None:
    """It says the sentence to the load process, before any check is loaded, and ends."""
    assert judge.stdout is not None
    assert "there is no file" in json.loads(judge.stdout.readline())["refused"]
    assert judge.wait(DEADLINE_S) == 2
