"""Making of the runs of two states A and B in turns, A B A B …, so that changes of the machine affect both alike."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from earwitness.harness.errors import Exit, RecordError, SettingsError
from earwitness.harness.progress import say
from earwitness.harness.record.rundir import LATEST, RUN_FILE, read_run
from earwitness.harness.report.comparison.alike import require_alike
from earwitness.harness.report.comparison.samples import Sample, described

ROUNDS: Final = 10
RUNS_VARIABLE: Final = "EARWITNESS_RUNS"
"""Environment variable that names the folder in which a command makes its run directory."""
MEASURED: Final = (Exit.PASS, Exit.FAIL, Exit.UNKNOWN, Exit.THRESHOLD)
"""Exit codes of a command that made a complete run. The comparison names each run whose outcome is not PASS."""
END_S: Final = 60.0
"""Seconds that an interrupted command has to close its run."""


def rerun(
    a: str, b: str, rounds: int, despite: Collection[str] = (), root: Path | None = None
) -> tuple[list[Path], list[Path]]:
    """Run the commands `a` and `b` in turns, `rounds` times each, and return the directories of their runs.

    The runs are kept in a new folder below the folder of runs. After the first round this function checks whether the
    runs are alike, so that no time is spent on runs that cannot be compared. `despite`: conditions that may differ;
    `root`: the folder of runs, None: that of EARWITNESS_RUNS, or `runs`. Raises SettingsError for a command that is
    empty or cannot be run, and for runs that are not alike; RecordError for a command that did not make one whole run.
    """
    if rounds < 1:
        raise SettingsError("--rounds", [f"{rounds} rounds make no run; write --rounds {ROUNDS}"])
    commands = {"A": _words("A", a), "B": _words("B", b)}
    folder = (root or Path(os.environ.get(RUNS_VARIABLE, "runs"))) / f"rerun-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    runs: dict[str, list[Path]] = {"A": [], "B": []}
    for number in range(1, rounds + 1):
        for side, words in commands.items():
            begun = time.monotonic()
            run, code = _one(words, (folder / side).resolve(), f"{side}-{number}")
            runs[side].append(run)
            say(f"{side} {number} of {rounds}: {run.name}, exit code {code}, {time.monotonic() - begun:.0f} s")
        if number == 1:
            require_alike([_described(path) for paths in runs.values() for path in paths], despite)
    say(f"the runs are kept; to compare them again: earwitness compare {folder}/A/2* -- {folder}/B/2*")
    return runs["A"], runs["B"]


def _words(side: str, command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SettingsError("--rerun", [f"{side} is no command: {error}"]) from error
    if not words:
        raise SettingsError("--rerun", [f'{side} is empty; write a command, like "earwitness run baseline --headless"'])
    return words


def _one(words: list[str], folder: Path, name: str) -> tuple[Path, int]:
    """Run a command to its end and return (its run directory, its exit code). Its output goes into `folder/NAME.log`.

    Raises SettingsError if the command cannot be started, RecordError if it did not make exactly one complete run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before, log = _runs_in(folder), folder / f"{name}.log"
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                words, env={**os.environ, RUNS_VARIABLE: str(folder)}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except OSError as error:
            raise SettingsError("--rerun", [f"{words[0]} cannot be run: {error.strerror}"]) from error
        code = wait_for(process)
    made = _runs_in(folder) - before
    if code is None or code not in MEASURED or len(made) != 1:
        what = f"ended with exit code {code}" if code not in MEASURED else f"made {len(made)} runs in {folder}, not one"
        raise RecordError(
            f"{shlex.join(words)} {what}; its output is in {log}. The runs before it are kept in {folder.parent}."
        )
    return made.pop(), code


def wait_for(process: subprocess.Popen[bytes], timeout_s: float | None = None) -> int | None:
    """Wait for a run's process; return its exit code, or None if it does not end within `timeout_s` s (None: no limit).

    The process has ended when this function returns or raises. On a time-out or an interrupt it gets SIGTERM, and END_S
    seconds later SIGKILL.
    """
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:  # also when we are interrupted
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _runs_in(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.name != LATEST and (path / RUN_FILE).exists()}


def _described(path: Path) -> Sample:
    return Sample(str(path), str(path), None, described(read_run(path)[0]))
