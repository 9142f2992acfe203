"""Handle by which the coordinator controls the judge process, which loads all checks first and then judges a run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
from gevent import subprocess

from earwitness.checks.own import EXAMPLE, Asked, OwnCheck
from earwitness.harness.errors import EarwitnessError, PlatformError, SettingsError
from earwitness.harness.platform.children import module_environment
from earwitness.harness.record.rundir import read_json

WARM_DEADLINE_S = 300.0
"""Seconds that the warm-up may take. On a new machine all checks are compiled, half a minute on an idle core."""
JUDGE_DEADLINE_S = 600.0
OWN_DEADLINE_S = 60.0
"""Seconds that loading the files of own checks may take, with all that these files import."""


def own_asked(story: str, checks: Sequence[OwnCheck], files: Sequence[str]) -> list[Asked]:
    """Return the own checks that the judge process must load, as pairs (file, names).

    First come the checks of a story, `checks`, then all checks of `files`. Names are None for all checks of a file.
    `story`: the story's name, for the error. Raises SettingsError if one of `checks` was not made by the decorator.
    """
    plain = [repr(one) for one in checks if not isinstance(one, OwnCheck)]
    if plain:
        raise SettingsError(
            f"checks of the story {story}", [f"{one} is no check; put {EXAMPLE} above it" for one in plain]
        )
    named: dict[str, list[str]] = {}
    for one in checks:
        named.setdefault(one.file, []).append(one.name)
    return [*named.items(), *((str(Path(file).absolute()), None) for file in files)]


class JudgeBeside:
    """Judge process of one run, see `harness.run.judge_process`.

    The judge process ends when this process does, because its standard input is then closed.

    used  `follow` was called, so the process cannot judge another run
    """

    def __init__(self, own: Sequence[Asked] = ()) -> None:
        """Start the process. `own`: files and names of the own checks to run, from `own_asked`."""
        self.used = False
        self._own = bool(own)
        words = [json.dumps(own)] if own else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "earwitness.harness.run.judge_process", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, **module_environment(), "PYTHONUNBUFFERED": "1"},
        )

    def await_own(self) -> list[dict[str, str]]:
        """Wait at most OWN_DEADLINE_S seconds until the own checks are loaded; return the row of each for `run.json`.

        Call it before `await_warm`. Raises EarwitnessError if a file cannot be used, or the process is late.
        """
        if not self._own:
            return []
        line = ""
        with gevent.Timeout(OWN_DEADLINE_S, False):
            line = self._process.stdout.readline().decode() or "{}"
        answer: dict[str, Any] = json.loads(line or "{}")
        if "own" in answer:
            return list(answer["own"])
        self.close()
        ended = "The judge's process ended while it loaded your checks; what it said stands above."
        late = f"Your checks were not loaded within {OWN_DEADLINE_S:g} s; import less in their files."
        raise EarwitnessError(answer.get("refused") or (ended if line else late))

    def await_warm(self) -> tuple[str, ...]:
        """Wait at most WARM_DEADLINE_S seconds until all checks are loaded; return (id, name, id, name, …) of them.

        Raises PlatformError if the process has ended or is late.
        """
        with gevent.Timeout(WARM_DEADLINE_S, False):
            first, *names = self._process.stdout.readline().decode().split() or [""]
            if first == "warm":
                return tuple(names)
        self.close()
        raise PlatformError("The judge process did not start; its output is above.")

    def follow(self, run_dir: Path) -> None:
        """Order the process to judge what is recorded in `run_dir`, as soon as all checks are loaded.

        Never blocks, because Locust's run time is already counting. Raises PlatformError if the process has ended.
        """
        self.used = True
        try:
            self._say(f"follow {run_dir.resolve()}")
        except OSError as error:
            raise PlatformError(f"The judge's process has ended: {error}. Its output is above.") from error

    def verdict(self, run_dir: Path) -> int:
        """Order the final verdict, wait until its files are written, and return its exit code.

        Call it when all journals are closed. It waits at most JUDGE_DEADLINE_S seconds. Raises PlatformError if the
        process is late, or ends without a verdict.
        """
        try:
            self._say("judge")
            self._process.stdin.close()
            status = self._process.wait(timeout=JUDGE_DEADLINE_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.close()
            raise PlatformError(f"The judge did not finish: {error}. Try: earwitness check {run_dir}") from error
        if not (run_dir / "verdict.json").exists():
            raise PlatformError(f"The judge ended with {status} and no verdict. Try: earwitness check {run_dir}")
        return int(read_json(run_dir / "verdict.json")["exit_code"])

    def close(self) -> None:
        """Terminate the process if it has not ended, and wait for it."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def _say(self, order: str) -> None:
        self._process.stdin.write(f"{order}\n".encode())
        self._process.stdin.flush()
