"""Runs of a story against a foreign server, as a user starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RUN_S = 150


@dataclass(frozen=True)
class Judged:
    """Exit code, output and verdict of a run."""

    code: int
    out: str
    verdict: dict[str, Any]

    @property
    def broken(self) -> set[str]:
        """Ids of the checks whose promise was broken."""
        return {one["id"] for one in self.verdict["checks"] if one["outcome"] == "FAIL" and one["promised"]}

    @property
    def examined(self) -> set[str]:
        """Ids of the checks that hold and had something to examine."""
        return {one["id"] for one in self.verdict["checks"] if one["outcome"] == "PASS" and one["examined"]}


def run_story(story: str, file: Path, seconds: int, *more: str, users: int = 10) -> Judged:
    """Run `story` against the target file; its run directory lies beside the file."""
    runs = file.parent / "runs"
    command = [sys.executable, "-m", "earwitness.harness.cli", "run", str(ROOT / story), "--headless", "-u", str(users)]
    command += ["-r", str(users), "-t", f"{seconds}s", "--target", str(file), "--runs", str(runs), *more]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LOCUST_", "EARWITNESS_"))}
    done = subprocess.run(
        command, cwd=ROOT, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=RUN_S,
        check=False,
    )  # fmt: skip
    verdict = runs / "latest" / "verdict.json"
    return Judged(done.returncode, done.stdout, json.loads(verdict.read_text()) if verdict.exists() else {"checks": []})


def probe(file: Path) -> subprocess.CompletedProcess[str]:
    """Try the target file out with two users."""
    command = [sys.executable, "-m", "earwitness.harness.cli", "probe", str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
