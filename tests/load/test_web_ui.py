"""Locust's web UI: start, stop, a second run; each run has its own verdict."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from checks.record import Kind
from harness.record.history import open_history


def test_two_runs_from_the_web_ui(
    command: Callable[..., list[str]],
    runs: Path,
    platform: Any,
    environment: Callable[..., dict[str, str]],
    tmp_path: Path,
) -> None:
    """Each run gets its own directory, tag and verdict; the process exits with its worst run."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    log = tmp_path / "locust.log"
    with log.open("w") as out:
        process = subprocess.Popen(command("--web-port", str(port)), stdout=out, stderr=out, env=environment(platform))
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=90) as ui:
            _until(lambda: _answers(ui), 30)
            seen: set[Path] = set()
            for _ in range(2):
                started = ui.post("/swarm", data={"user_count": 10, "spawn_rate": 10})
                assert started.json()["success"] is True, started.text
                _until(lambda: len(_runs(runs)) == len(seen) + 1, 10)
                (newest,) = _runs(runs) - seen
                seen.add(newest)
                _until(lambda run=newest: _sent(run) > 1010, 30)
                assert ui.post("/stop").json()["success"] is True
                _until(lambda run=newest: (run / "verdict.json").exists(), 30)
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    finally:
        process.kill()
        process.wait()
    assert code == 0, log.read_text()
    described = [json.loads((run / "run.json").read_text()) for run in seen]
    assert len({run["tag"] for run in described}) == 2
    assert [json.loads((run / "verdict.json").read_text())["outcome"] for run in seen] == ["PASS", "PASS"]


def _answers(ui: httpx.Client) -> bool:
    try:
        return ui.get("/").status_code == 200
    except httpx.TransportError:
        return False


def _runs(root: Path) -> set[Path]:
    return {path for path in root.glob("2*") if (path / "run.json").exists()}


def _sent(run: Path) -> int:
    if not any(run.glob("journals/load-0.ewj")):
        return 0
    return sum(int((view.records["kind"] == Kind.INVOKE).sum()) for view in open_history(run).journals)


def _until(done: Callable[[], bool], timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.1)
