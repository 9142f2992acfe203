"""Runs of a story against a server, as a user starts them: target file, command, and verdict."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inherited import inherited
from server_processes import ROOT

EXAMPLES = ROOT / "examples" / "dialects"
CHAT = "examples/tiny_chat/story.py"
CUTS = "locustfiles/ws_reconnect.py"
ORDERING = "locustfiles/ws_ordering.py"
RUN_S = 150
PROBE_S = 60


@dataclass(frozen=True)
class Judged:
    """Run with its verdict: exit code, output, and rows of the checks by id."""

    code: int
    out: str
    checks: dict[str, Any]

    @property
    def broken(self) -> set[str]:
        """Return the ids of the checks whose promise was broken."""
        return {name for name, one in self.checks.items() if one["outcome"] == "FAIL" and one["promised"]}

    @property
    def held(self) -> set[str]:
        """Return the ids of the checks that passed and examined something."""
        return {name for name, one in self.checks.items() if one["outcome"] == "PASS" and one["examined"]}

    def examined(self, name: str) -> int:
        return int(self.checks[name]["examined"])


def example_file(folder: Path, name: str, *replaced: tuple[str, str], port: int = 0, **keys: str) -> Path:
    """Write a copy of `examples/dialects/NAME.toml` with changes into `folder`; return its path.

    port      port for all its addresses, 0: unchanged
    replaced  pairs of old and new text
    keys      values in TOML for keys that the example has, also for keys that are commented out
    """
    text = (EXAMPLES / f"{name}.toml").read_text("utf-8")
    text = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", text) if port else text
    for old, new in replaced:
        assert old in text, old
        text = text.replace(old, new)
    lines = []
    for line in text.splitlines():
        key = line.removeprefix("# ").partition(" ")[0]
        lines.append(f"{key} = {keys.pop(key)}" if key in keys else line)
    assert not keys, f"the example has no {sorted(keys)}"
    file = folder / f"{name}.toml"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


def run_story(story: str, file: Path, seconds: int, *more: str, users: int = 10, seed: int = 1) -> Judged:
    """Run `story` against the target file; return the run. Its run directory is below the file's folder."""
    runs = file.parent / "runs"
    done = _earwitness(
        "run", str(ROOT / story), "--headless", "-u", str(users), "-r", str(users), "-t", f"{seconds}s",
        "--target", str(file), "--seed", str(seed), "--runs", str(runs), *more, within_s=RUN_S,
    )  # fmt: skip
    verdict = runs / "latest" / "verdict.json"
    checks = json.loads(verdict.read_text("utf-8"))["checks"] if verdict.exists() else []
    return Judged(done.returncode, done.stdout, {one["id"]: one for one in checks})


def probe(file: Path) -> tuple[int, str]:
    """Run `earwitness probe` with the target file; return (exit code, output)."""
    done = _earwitness("probe", str(file), within_s=PROBE_S)
    return done.returncode, done.stdout


def _earwitness(*words: str, within_s: float) -> subprocess.CompletedProcess[str]:
    kept = inherited()
    return subprocess.run(
        [sys.executable, "-m", "earwitness.harness.cli", *words], cwd=ROOT, env={**kept, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=within_s, check=False,
    )  # fmt: skip
