"""Judge process as the coordinator of a run uses it: warmed up first, then running during the load."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gevent
from gevent import subprocess

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.parent_death import module_environment
from earwitness.harness.record.rundir import read_json

WARM_DEADLINE_S = 300.0
"""Seconds for the warm-up: on a new machine all checks are compiled, half a minute on an idle core."""
JUDGE_DEADLINE_S = 600.0


class JudgeBeside:
    """Judge process of one run, see `harness.run.judge_process`.

    It ends with us, when its standard input is closed.
    """

    def __init__(self) -> None:
        self.used = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "earwitness.harness.run.judge_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, **module_environment(), "PYTHONUNBUFFERED": "1"},
        )

    def await_warm(self) -> tuple[str, ...]:
        """Wait until all checks are loaded; return their ids and names.

        Raises PlatformError.
        """
        with gevent.Timeout(WARM_DEADLINE_S, False):
            first, *names = self._process.stdout.readline().decode().split() or [""]
            if first == "warm":
                return tuple(names)
        self.close()
        raise PlatformError("The judge process did not start; its output is above.")

    def follow(self, run_dir: Path) -> None:
        """Let it judge what is recorded in `run_dir`, as soon as it is warm.

        Never waits, as Locust's run time is already counting. Raises PlatformError if it has ended.
        """
        self.used = True
        try:
            self._say(f"follow {run_dir.resolve()}")
        except OSError as error:
            raise PlatformError(f"The judge's process has ended: {error}. Its output is above.") from error

    def verdict(self, run_dir: Path) -> int:
        """Wait for the verdict's files, once the journals are closed, and return its exit code.

        Raises PlatformError.
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
        """End the process, if it has not ended."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def _say(self, order: str) -> None:
        self._process.stdin.write(f"{order}\n".encode())
        self._process.stdin.flush()
