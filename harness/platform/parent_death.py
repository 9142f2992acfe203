"""Parent death: make child processes end with their parent, even when it is killed with SIGKILL."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_LIBC = ctypes.CDLL(None)
PACKAGE_ROOT = str(Path(__file__).absolute().parents[3])
"""Folder from which `earwitness` is imported. Not resolved: in a checkout `earwitness/harness` is a link."""


def dies_with_parent() -> Callable[[], None] | None:
    """Return a function that ties a child's life to this process; None if that is impossible.

    Call it in the child before exec. Only Linux can do it. The kernel ties the child to the *thread* that forked it:
    fork from the main thread only.
    """
    if sys.platform != "linux":
        return None
    parent = os.getpid()

    def tie() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # the parent died in between
            os._exit(1)

    return tie


def name_process(name: str) -> None:
    """Set the name that `ps -o comm` and `top` show for this process; no-op except on Linux."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def module_environment() -> dict[str, str]:
    """Return our environment, changed so that `python -m earwitness.harness…` works from any folder."""
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": PACKAGE_ROOT + (os.pathsep + inherited if inherited else "")}


class Warden:
    """Reaper process: it waits for the supervisor's end, then kills remaining processes and removes the directory."""

    def __init__(self, directory: Path) -> None:
        """Start the reaper. It cleans up `directory` when its standard input is closed, however this process ends."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "earwitness.harness.platform.reaper", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=module_environment(),
            cwd="/",
            start_new_session=True,  # a signal to our group must not reach it
        )

    @property
    def pid(self) -> int:
        """Return the process id of the reaper."""
        return self._process.pid

    def dismiss(self) -> None:
        """End the reaper after the directory was cleaned up, and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
