"""Trials of a server: runs of stories against it, with their verdicts."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from earwitness.harness.errors import Exit, RecordError
from earwitness.harness.evidence.conformance.course import Course, course_of
from earwitness.harness.evidence.conformance.servers import Server, environment
from earwitness.harness.progress import one_line
from earwitness.harness.report.comparison.rerun import wait_for

RUN_S = 300.0
"""Seconds after which a run that has not ended is stopped."""
LAST_CHARS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load of one trial: number of users, duration in s, and the seed."""

    users: int
    seconds: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Outcome of one run.

    exit_code  of `earwitness run`
    checks     outcome, examined and violations by id of each check that the contract promises
    findings   first counterexample by id of a broken check
    trouble    why there is no verdict, "" if there is one
    command    command that repeats the run, in the root of the project with the server running
    course     heartbeats, cuts and resumes of its connections
    """

    story: str
    seed: int
    exit_code: int
    checks: Mapping[str, Mapping[str, Any]]
    findings: Mapping[str, str]
    trouble: str
    command: str
    course: Course


def try_story(server: Server, story: str, load: Load, *, runs: Path, environ: Mapping[str, str]) -> Trial:
    """Run a story against a server that is running; return the outcome.

    `runs`: folder for the run directory; `environ`: further environment variables of the run. If this process is
    interrupted, the run ends before the exception leaves this function.
    """
    root = Path.cwd()
    options = f"--headless -u {load.users} -t {load.seconds}s --seed {load.seed} --target {server.target}"
    words = ["run", story, *shlex.split(options), *shlex.split(server.options)]
    folder = runs / f"{Path(story).stem}-{load.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "run.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "earwitness.harness.cli", *words], stdin=subprocess.DEVNULL, stdout=output,
            stderr=output,
            env={
                **environment(), **server.environ, **environ, "EARWITNESS_RUNS": str(folder.resolve()),
                "PYTHONPATH": _import_path(root),
            },
        )  # fmt: skip
        code = wait_for(process, RUN_S)
    run_dir = None if code is None else _newest(folder)
    verdict, course = _told(run_dir)
    last = one_line((log.read_text("utf-8", "replace").strip().splitlines() or [""])[-1])[-LAST_CHARS:]
    how = f"exit code {code}: {last}" if code is not None else f"it did not end within {RUN_S:.0f} s: {last}"
    promised = {one["id"]: one for one in verdict.get("checks", ()) if one.get("counts") and one.get("promised", True)}
    return Trial(
        story=Path(story).stem, seed=load.seed, exit_code=Exit.CANNOT_RUN if code is None else code, checks=promised,
        findings={name: _first(one) for name, one in promised.items() if one["outcome"] == "FAIL"},
        trouble="" if verdict else how, course=course,
        command=" ".join([*(f"{name}={value}" for name, value in server.environ.items()), "earwitness", *words]),
    )  # fmt: skip


def _import_path(root: Path) -> str:
    return os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))


def _newest(folder: Path) -> Path | None:
    """Return the directory of the newest run with a verdict in a folder, None if there is none."""
    found = sorted(folder.glob("*/verdict.json"), key=lambda path: path.stat().st_mtime)
    return found[-1].parent if found else None


def _told(run_dir: Path | None) -> tuple[dict[str, Any], Course]:
    """Return (verdict, course) of a run; ({}, an empty course) if there is no verdict or it cannot be read."""
    if run_dir is None:
        return {}, Course()
    try:
        verdict: dict[str, Any] = json.loads((run_dir / "verdict.json").read_text("utf-8"))
        streams = verdict.get("streams") or {}
        return verdict, replace(course_of(run_dir), answers_cut=int(streams.get("cut_short", 0)))
    except (OSError, ValueError, TypeError, RecordError):
        return {}, Course()


def _first(check: Mapping[str, Any]) -> str:
    witnesses = check.get("witnesses") or [{}]
    return one_line(str(witnesses[0].get("sentence") or witnesses[0].get("text") or check.get("why") or ""))
