"""The judge as a process beside the run, and followed by hand: what breaks is told at once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from journaled import Journaled
from literal import Told

from earwitness.harness.platform.children import module_environment
from earwitness.harness.record.rundir import read_json

DEADLINE_S = 60.0


def told_run(spoil: str) -> tuple[Told, int]:
    """Ann says messages that Bob hears; one is heard twice, in the wrong order or by Eve, who is no member. Beside it
    the number of records until then."""
    told = Told(sequence="contiguous", idempotent=True, rooms=((0, 1),))
    told.join(0, 1)
    told.join(1, 2)
    for n in range(1, 21):
        told.invoke(0, 1, n)
        if n < 20 or spoil != "swap":
            told.deliver(1, 2, 0, n, seq=n)
    until = len(told.rows)
    told.invoke(0, 1, 21)
    if spoil == "duplicate":
        told.deliver(1, 2, 0, 20, seq=20)
    elif spoil == "swap":
        told.deliver(1, 2, 0, 21, seq=21)
        told.deliver(1, 2, 0, 20, seq=20)
    elif spoil == "leak":
        told.deliver(2, 3, 0, 20, seq=20)
    return told, until


class Beside:
    """The judge's process, led as the conductor leads it."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with log.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "earwitness.harness.run.judge_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                env=module_environment(),
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("warm H1 record-complete "), log.read_text()

    def order(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    @property
    def said(self) -> str:
        return self._log.read_text()

    def waited_s(self) -> float:
        """How long it was ready to run and had to wait for a processor: other work of this machine."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    judge = Beside(tmp_path / "judge.log")
    yield judge
    judge.process.kill()
    judge.process.wait()
    for pipe in (judge.process.stdin, judge.process.stdout):
        assert pipe is not None
        pipe.close()


def until(found: Callable[[], Any]) -> Any:
    """The first true answer; the pause is that of a reader, not of the judge."""
    end = time.monotonic() + DEADLINE_S
    while not (answer := found()):
        assert time.monotonic() < end, f"not within {DEADLINE_S} s"
        time.sleep(0.02)
    return answer


def live(run: Journaled) -> dict[str, Any]:
    path = run.directory.path / "live.json"
    return read_json(path) if path.exists() else {"records": -1, "state": "", "checks": []}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells how long a process waited for a processor")
@pytest.mark.parametrize(("spoil", "check"), [("duplicate", "I6"), ("swap", "I4"), ("leak", "I12")])
def test_what_breaks_shows_within_two_seconds(tmp_path: Path, beside: Beside, spoil: str, check: str) -> None:
    """A duplicate, a swap or a leak stands in the live verdict, in words, two seconds after its record at the latest,
    and on the console; the run goes on to the same verdict."""
    told, until_then = told_run(spoil)
    run = Journaled(tmp_path / "run", told.run(), judged_by=[check])
    run.write(0, until_then)
    beside.order(f"follow {run.directory.path}")
    clean = until(lambda: live(run)["records"] == until_then and live(run))
    assert (clean["state"], clean["outcome"], clean["findings"]) == ("running", "UNKNOWN", [])
    assert not any(row["violations"] for row in clean["checks"])

    waited, recorded = beside.waited_s(), time.time()
    run.write(0, 10**6)
    found = until(lambda: live(run)["records"] == run.written[0] and live(run))
    waited = beside.waited_s() - waited
    row = next(row for row in found["checks"] if row["id"] == check)
    assert (row["outcome"], found["outcome"]) == ("FAIL", "FAIL")
    assert found["at"] - recorded - waited < 2.0
    assert check in {finding["check"] for finding in found["findings"]}
    assert all(finding["sentence"] and finding["records"] for finding in found["findings"])
    until(lambda: f"{check} {row['name']} is broken" in beside.said)

    run.close()
    beside.order("judge")
    assert beside.process.wait(DEADLINE_S) == 1
    verdict = json.loads((run.directory.path / "verdict.json").read_text())
    last = live(run)
    assert (last["state"], last["outcome"], last["exit_code"]) == ("finished", "FAIL", 1)
    assert last["checks"] == [
        {"title": row["title"], **{key: theirs[key] for key in row if key != "title"}}
        for row, theirs in zip(last["checks"], [*verdict["harness"], *verdict["checks"]], strict=True)
    ]


def test_the_leash(tmp_path: Path, beside: Beside) -> None:
    """When its standard input ends without a word, the load is gone: it ends, and gives no verdict."""
    run = Journaled(tmp_path / "run", told_run("leak")[0].run(), judged_by=[])
    run.write(0, 5)
    beside.order(f"follow {run.directory.path}")
    until(lambda: live(run)["records"] == 5)
    assert beside.process.stdin is not None
    beside.process.stdin.close()
    assert beside.process.wait(DEADLINE_S) == 2
    assert not (run.directory.path / "verdict.json").exists()


def test_what_cannot_be_followed(tmp_path: Path, beside: Beside) -> None:
    """A run directory that is none is one sentence and exit code 2."""
    beside.order(f"follow {tmp_path / 'nowhere'}")
    assert beside.process.wait(DEADLINE_S) == 2
    assert "is no run directory" in beside.said
    assert "Traceback" not in beside.said


def test_it_goes_after_the_load(beside: Beside) -> None:
    """The judge takes the processor time that the load leaves."""
    assert psutil.Process(beside.process.pid).nice() == min(19, os.nice(0) + 10)


# -- by hand ----------------------------------------------------------------------------------------------------------


@contextmanager
def by_hand(run: Journaled, *more: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "earwitness.harness.cli", "check", "--follow", str(run.directory.path), *more]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=module_environment()
    ) as process:
        yield process
        process.kill()


def hear(process: subprocess.Popen[str], words: str) -> None:
    """Read what it says until it says this."""
    assert process.stderr is not None
    said = ""
    while words not in said:
        said = process.stderr.readline()
        assert said, "it ended before"


def test_following_by_hand_to_the_end(tmp_path: Path) -> None:
    """`earwitness check --follow RUN` says what breaks while the run goes on, and gives the verdict at its end."""
    run = Journaled(tmp_path / "run", told_run("duplicate")[0].run(), judged_by=["I6"])
    run.directory.update(process=os.getpid(), process_started=psutil.Process().create_time())
    run.write(0, 10**6)
    with by_hand(run) as process:
        hear(process, "I6 no-duplication is broken")
        run.close()
        out, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert re.search(r"Broken \(\d+\)\n  I6   no-duplication ", out)
    assert "Traceback" not in said
    assert not (run.directory.path / "live.json").exists(), "that is the run's own judge's"


def test_interrupted_by_hand(tmp_path: Path) -> None:
    """Ctrl-C ends it without a word."""
    run = Journaled(tmp_path / "run", told_run("leak")[0].run(), judged_by=[])
    run.directory.update(process=os.getpid(), process_started=psutil.Process().create_time())
    run.write(0, 20)
    with by_hand(run) as process:
        hear(process, "20 records judged")
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in said
    assert not (run.directory.path / "verdict.json").exists()
