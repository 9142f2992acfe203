"""Processes that a test starts and that would go on for ever: they end when the test's process does."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def end_with_parent() -> None:
    """Let the kernel send this process SIGTERM when its parent ends; no-op outside Linux. For `preexec_fn`.

    A test's `finally` does not run when pytest is killed. SIGTERM, since a platform has services to end.
    """
    if sys.platform == "linux":
        _LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def tied(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a process that gets SIGTERM when this one ends. `options`: those of `subprocess.Popen`."""
    return subprocess.Popen(command, preexec_fn=end_with_parent, **options)
