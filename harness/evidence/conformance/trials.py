"""Trials of a server: runs of stories against it, with their verdicts."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earwitness.harness.evidence.conformance.servers import Server, environment
from earwitness.harness.progress import one_line

RUN_S = 300.0
LAST_CHARS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load of one trial: users, duration as Locust writes it, and the seed."""

    users: int
    duration: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Outcome of one run.

    exit_code  of `earwitness run`
    checks     outcome, examined and violations by id of each check that the contract promises
    findings   first counterexample by id of a broken check
    trouble    why there is no verdict, "" if there is one
    command    the command that repeats it, in the root of the project with the server running
    """

    story: str
    seed: int
    exit_code: int
    checks: Mapping[str, Mapping[str, Any]]
    findings: Mapping[str, str]
    trouble: str
    command: str


def try_story(server: Server, story: str, load: Load, *, root: Path, runs: Path, target: str = "") -> Trial:
    """Run a story against a server that is running; return its verdict.

    `runs`: folder for the run directory; `target`: another target file than the server's.
    """
    options = f"--headless -u {load.users} -t {load.duration} --seed {load.seed} --target {target or server.target}"
    words = ["run", story, *shlex.split(options)]
    folder = runs / f"{Path(story).stem}-{load.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "earwitness.harness.cli", *words], cwd=root, capture_output=True, text=True,
        env={
            **environment(), **server.environ, "EARWITNESS_RUNS": str(folder.resolve()),
            "PYTHONPATH": _import_path(root),
        },
        timeout=RUN_S, check=False,
    )  # fmt: skip
    verdict = _verdict(folder)
    last = one_line((done.stderr or done.stdout).strip().splitlines()[-1]) if done.stderr or done.stdout else ""
    promised = {one["id"]: one for one in verdict.get("checks", ()) if one.get("counts") and one.get("promised", True)}
    return Trial(
        story=Path(story).stem, seed=load.seed, exit_code=done.returncode, checks=promised,
        findings={name: _first(one) for name, one in promised.items() if one["outcome"] == "FAIL"},
        trouble="" if verdict else f"exit code {done.returncode}: {last[-LAST_CHARS:]}",
        command=" ".join([*(f"{name}={value}" for name, value in server.environ.items()), "earwitness", *words]),
    )  # fmt: skip


def _import_path(root: Path) -> str:
    return os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))


def _verdict(folder: Path) -> dict[str, Any]:
    """Return the verdict of the newest run in a folder, {} if there is none."""
    found = sorted(folder.glob("*/verdict.json"), key=lambda path: path.stat().st_mtime)
    try:
        verdict: dict[str, Any] = json.loads(found[-1].read_text("utf-8")) if found else {}
    except (OSError, ValueError):
        return {}
    return verdict


def _first(check: Mapping[str, Any]) -> str:
    witnesses = check.get("witnesses") or [{}]
    return one_line(str(witnesses[0].get("sentence") or witnesses[0].get("text") or check.get("why") or ""))
