"""Nothing outlives its owner: ties between processes that hold even when one is killed with SIGKILL."""

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
"""The folder from which `earwitness` is imported. Unresolved: in a checkout `earwitness/harness` is a link."""


def dies_with_parent() -> Callable[[], None] | None:
    """What a child runs before exec so that the kernel kills it when we die; None where the kernel cannot.

    The kernel ties the child to the *thread* that forked it: fork from the main thread only.
    """
    if sys.platform != "linux":
        return None
    parent = os.getpid()

    def tie() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return tie


def name_process(name: str) -> None:
    """What `ps -o comm` and `top` call this process; only where the kernel can."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def module_environment() -> dict[str, str]:
    """Our environment, in which `python -m harness…` works from any folder."""
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": PACKAGE_ROOT + (os.pathsep + inherited if inherited else "")}


class Warden:
    """A small process that only waits for the supervisor's end, then kills what is left and removes the directory."""

    def __init__(self, directory: Path) -> None:
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
        return self._process.pid

    def dismiss(self) -> None:
        """All is cleaned up: let it go, and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
