"""A run that ends before its planned time says so in its first line and is never PASS; its end is in order."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tied import tied

from earwitness.checks.history.record import Kind, Phase
from earwitness.harness.record.history import open_history

TALK = "tests/load/stories/talking.py"
INT, TERM = signal.SIGINT, signal.SIGTERM


class Goes:
    """A run of 60 s that goes on; `end` waits for its exit code."""

    def __init__(self, args: list[str], environment: dict[str, str], runs: Path, log: Path, family_of: Any) -> None:
        self.runs, self.log = runs, log
        with log.open("w") as output:
            self.process = tied(args, stdout=output, stderr=output, env=environment, start_new_session=True)
        self.family = family_of(self.process.pid)

    def until(self, done: Callable[[], bool], timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def talks(self) -> bool:
        """Messages have been delivered, as the judge beside the run has read."""
        return any(json.loads(path.read_text())["messages"]["heard"] for path in self.runs.glob("latest/live.json"))

    def pid_of(self, journal: str) -> int:
        with (self.runs / "latest" / "journals" / f"{journal}.names.jsonl").open() as sidecar:
            return int(json.loads(sidecar.readline())["meta"]["pid"])

    def end(self) -> int:
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.family.close()

    @property
    def verdict(self) -> dict[str, Any]:
        return dict(json.loads((self.runs / "latest" / "verdict.json").read_text()))


@pytest.fixture
def going(
    command: Callable[..., list[str]],
    runs: Path,
    environment: Callable[..., dict[str, str]],
    family_of: Callable[[int], Any],
    platform: Any,
    tmp_path: Path,
) -> Callable[..., Goes]:
    """`going("--processes", "2")`: a run of 60 s on the shared platform, which talks already."""

    def start(*args: str) -> Goes:
        line = command("--headless", "-u", "6", "-r", "6", "-t", "60s", *args, story=TALK)
        run = Goes(line, environment(platform), runs, tmp_path / "locust.log", family_of)
        run.until(run.talks)
        return run

    return start


@pytest.mark.parametrize(
    ("signals", "group", "args", "code"),
    [
        pytest.param((INT,), False, (), 130, id="SIGINT"),
        pytest.param((TERM,), False, (), 143, id="SIGTERM"),
        pytest.param((INT, INT), True, ("--processes", "2"), 130, id="SIGINT twice to all"),
        pytest.param(
            (TERM, TERM), True, ("--processes", "2"), 143, id="SIGTERM twice to all", marks=pytest.mark.campaign
        ),
        pytest.param((TERM,), False, ("--shape", "ramp"), 143, id="SIGTERM during a shape", marks=pytest.mark.campaign),
    ],
)
def test_a_signal_before_the_planned_end(
    going: Callable[..., Goes], signals: tuple[int, ...], group: bool, args: tuple[str, ...], code: int
) -> None:
    """The first line says after how long, the rest is judged, the exit code is the signal's, nothing is left."""
    run = going(*args)
    for number in signals:
        (os.killpg if group else os.kill)(run.process.pid, number)
        run.until(lambda: "waiting for answers and deliveries in flight" in run.log.read_text())
    assert run.end() == code, run.log.read_text()
    verdict, name = run.verdict, signal.Signals(signals[0]).name
    assert verdict["headline"].startswith(f"UNKNOWN (interrupted by {name} after ")
    assert verdict["headline"].endswith(" of 60 s)")
    assert verdict["exit_code"] == code
    checks = {check["id"]: check for check in verdict["checks"] + verdict["harness"]}
    assert checks["H1"]["outcome"] == "PASS", checks["H1"]["why"]
    assert checks["H4"]["outcome"] == "UNKNOWN"
    assert checks["I12"]["outcome"] == "PASS"
    said = run.log.read_text()
    assert "Traceback" not in said
    if len(signals) > 1:
        assert "the run is ending already" in said
    run.until(lambda: run.family.alive() == [], 5)


def test_a_worker_that_leaves(going: Callable[..., Goes]) -> None:
    """A worker that alone gets SIGTERM ends in order, and the run does not pass without its users."""
    run = going("--processes", "2")
    os.kill(run.pid_of("load-1"), TERM)
    run.until(lambda: '"footer"' in (run.runs / "latest/journals/load-1.names.jsonl").read_text())
    os.kill(run.process.pid, INT)
    assert run.end() == 130, run.log.read_text()
    checks = {check["id"]: check for check in run.verdict["harness"]}
    assert checks["H1"]["outcome"] == "PASS", checks["H1"]["why"]
    assert "load process load-1 left the run after " in checks["H4"]["why"]
    (left,) = [view for view in open_history(run.runs / "latest").journals if view.name == "load-1"]
    phases = left.records[left.records["kind"] == Kind.PHASE]
    assert phases["counter"].tolist() == [int(Phase.LOAD)]


def test_the_generator_stands_still(going: Callable[..., Goes]) -> None:
    """A load process that was stopped for three seconds is no load: UNKNOWN, with the time."""
    run = going()
    os.kill(run.process.pid, signal.SIGSTOP)
    time.sleep(3.0)  # the standstill itself
    os.kill(run.process.pid, signal.SIGCONT)
    os.kill(run.process.pid, INT)
    assert run.end() == 130, run.log.read_text()
    why = next(check["why"] for check in run.verdict["harness"] if check["id"] == "H4")
    assert "load process load-0 stalled for 3." in why
