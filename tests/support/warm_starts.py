"""Runs that end before they start any process, as forks of a process that has imported everything.

Importing is nearly all of the time of such a run. For tests of mistakes in options only: the child is a separate
process with its own arguments, folder and environment, but it is not started by the command that a user types.

    with WarmStarts() as warm:
        code, out = warm.run("locust", ["-f", "story.py"], environ, folder)
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WITHIN_S = 60.0


class WarmStarts:
    """Client of a helper process, which has imported all modules of a run and forks a child for each run."""

    def __enter__(self) -> Self:
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._read = b""
        assert self._answer(WITHIN_S) == "ready"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()  # the end of its stdin ends it

    def run(self, module: str, args: Sequence[str], environ: Mapping[str, str], folder: Path) -> tuple[int, str]:
        """Run `python -m MODULE ARGS`; return (exit code, output of stdout and stderr in the order of writing).

        Kills the run and raises TimeoutError after `WITHIN_S` seconds.
        """
        assert self._process.stdin is not None
        with tempfile.NamedTemporaryFile() as output:
            order = {"module": module, "args": args, "environ": dict(environ), "folder": str(folder), "to": output.name}
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            pid = self._answer(WITHIN_S)
            try:
                code = self._answer(WITHIN_S)
            except TimeoutError:
                os.killpg(pid, signal.SIGKILL)
                self._answer(WITHIN_S)
                raise
            return code, output.read().decode(errors="replace")

    def _answer(self, within_s: float) -> Any:
        assert self._process.stdout is not None
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._process.stdout], [], [], within_s)
            if not ready:
                raise TimeoutError(f"no answer within {within_s} s")
            more = os.read(self._process.stdout.fileno(), 4096)
            assert more, "the process that forks has ended"
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)


def _become(order: Mapping[str, Any]) -> None:
    """Replace this process's arguments, folder, environment and output; run `python -m MODULE ARGS`; never return."""
    os.setsid()
    code = 1
    try:
        to = os.open(order["to"], os.O_WRONLY | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(to, 1)
        os.dup2(to, 2)
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environ"])
        sys.argv = [order["module"], *order["args"]]
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    """Import the modules of a run; for each line of stdin fork a child, and print its process id and its exit code."""
    # Here, because Locust changes what the process that imports it uses. Its own `fork` and `waitpid` would start an
    # event loop, which each child would have to share.
    fork, wait = os.fork, os.waitpid
    for module in ("locust.main", "earwitness.checks", "earwitness.harness.cli", "earwitness.harness.load"):
        importlib.import_module(module)

    print(json.dumps("ready"), flush=True)
    while line := sys.stdin.readline():
        pid = fork()
        if pid == 0:
            _become(json.loads(line))
        print(json.dumps(pid), flush=True)
        _, status = wait(pid, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    _serve()
