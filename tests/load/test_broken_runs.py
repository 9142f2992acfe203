"""Runs that break down: what was recorded is judged, the verdict says what is missing, nothing is left running."""

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

from earwitness.checks.history.record import Kind
from earwitness.harness.record.history import open_history

pytestmark = pytest.mark.timeout(300)
TALK = "tests/load/stories/talking.py"


def messages(run_dir: Path) -> int:
    return sum(int((view.records["kind"] == Kind.INVOKE).sum()) for view in open_history(run_dir).journals)


def wait_for(done: Callable[[], bool], timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.05)


def verdict_of(runs: Path) -> dict[str, Any]:
    return json.loads((runs / "latest" / "verdict.json").read_text())


def check(verdict: dict[str, Any], id: str) -> dict[str, Any]:
    return next(c for c in verdict["checks"] + verdict["harness"] if c["id"] == id)


class Started:
    """A run that goes on, its output in a file; `family`: all of its descendants."""

    def __init__(self, args: list[str], environment: dict[str, str], family_of: Any, log: Path) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = tied(args, stdout=output, stderr=output, env=environment)
        self.family = family_of(self.process.pid)

    def end(self, timeout_s: float = 120) -> int:
        try:
            return self.process.wait(timeout_s)
        finally:
            self.process.kill()
            self.family.close()


def test_a_load_process_is_killed(
    command: Callable[..., list[str]],
    runs: Path,
    environment: Callable[..., dict[str, str]],
    family_of: Callable[[int], Any],
    platform: Any,
    tmp_path: Path,
) -> None:
    """One of two load processes dies: the other one goes on, the verdict is UNKNOWN and names the torn journal."""
    args = command("--headless", "-u", "10", "-r", "10", "-t", "15s", "--processes", "2", story=TALK)
    run = Started(args, environment(platform), family_of, tmp_path / "locust.log")
    try:
        wait_for(lambda: any(runs.glob("latest/journals/load-1.names.jsonl")), 60)
        wait_for(lambda: messages(runs / "latest") > 20, 60)
        with (runs / "latest" / "journals" / "load-1.names.jsonl").open() as sidecar:
            os.kill(json.loads(sidecar.readline())["meta"]["pid"], signal.SIGKILL)
    finally:
        code = run.end()
    assert code == 3, run.log.read_text()
    verdict = verdict_of(runs)
    assert "journal load-1 was never closed" in check(verdict, "H1")["why"]
    assert check(verdict, "I12")["examined"] > 0
    wait_for(lambda: run.family.alive() == [], 5)


def test_the_disk_becomes_full(
    command: Callable[..., list[str]],
    environment: Callable[..., dict[str, str]],
    family_of: Callable[[int], Any],
    platform: Any,
    tmp_path: Path,
) -> None:
    """In mid-run nothing more can be written: the run ends in order, says why, and what there is was judged."""
    place = tmp_path / "small"
    place.mkdir()
    args = command("--headless", "-u", "10", "-r", "10", "-t", "15s", story=TALK)
    args[args.index("--runs") + 1] = str(place / "runs")
    journal = f"{place}/runs/latest/journals/load-0.ewj"
    fill = f"while ! ls {journal}; do sleep 0.2; done; sleep 4; cat /dev/zero > {place}/filler"
    keep = f"mkdir {tmp_path}/kept && cp -rL {place}/runs/latest {tmp_path}/kept/"
    script = (
        f'mount -t tmpfs -o size=80m tmpfs {place} || exit 9; ({fill}) 2>/dev/null & "$@"; code=$?; {keep}; exit $code'
    )
    unshared = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *args]
    run = Started(unshared, environment(platform), family_of, tmp_path / "locust.log")
    code = run.end()
    said = run.log.read_text()
    assert code == 3, said
    assert "No space left on device" in said
    assert "Traceback" not in said
    verdict = verdict_of(tmp_path / "kept")
    assert verdict["outcome"] == "UNKNOWN"
    assert check(verdict, "I12")["examined"] > 0
    wait_for(lambda: run.family.alive() == [], 5)


@pytest.mark.campaign  # as one of `make campaign kills`
def test_the_supervisor_is_killed(
    command: Callable[..., list[str]],
    runs: Path,
    environment: Callable[..., dict[str, str]],
    family_of: Callable[[int], Any],
    tmp_path: Path,
) -> None:
    """Its platform is gone with it: the run ends, its verdict is no PASS and says that the final state is missing."""
    args = command("--headless", "-u", "10", "-r", "10", "-t", "15s", "--drain-s", "3", story=TALK)
    run = Started(args, environment(), family_of, tmp_path / "locust.log")
    try:
        wait_for(lambda: any(runs.glob("latest/journals/load-0.ewj")), 90)
        wait_for(lambda: messages(runs / "latest") > 20, 60)
        run.family.look()
        (supervisor,) = [p for p in run.family.members() if "earwitness.harness.cli up" in " ".join(p.cmdline())]
        supervisor.kill()
    finally:
        code = run.end()
    said = run.log.read_text()
    assert code == 3, said
    assert "Traceback" not in said
    verdict = verdict_of(runs)
    assert verdict["outcome"] == "UNKNOWN"
    assert check(verdict, "I5a")["outcome"] == "UNKNOWN"
    assert check(verdict, "I12")["examined"] > 0
    wait_for(lambda: run.family.alive() == [], 10)


def test_ctrl_c_while_the_platform_starts(
    command: Callable[..., list[str]],
    environment: Callable[..., dict[str, str]],
    family_of: Callable[[int], Any],
    tmp_path: Path,
) -> None:
    """One sentence, the exit code that shells know, and nothing is left."""
    run = Started(command("--headless", "-u", "10", story=TALK), environment(), family_of, tmp_path / "locust.log")
    try:
        wait_for(lambda: any("earwitness.harness.platform.fork_server" in line for line in run.family.alive()), 90)
        run.process.send_signal(signal.SIGINT)
    finally:
        code = run.end()
    said = run.log.read_text()
    assert code == 130, said
    assert "earwitness: interrupted before the run began." in said
    assert "Traceback" not in said
    wait_for(lambda: run.family.alive() == [], 10)
