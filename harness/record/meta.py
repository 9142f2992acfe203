"""Origin of a journal: what the judge needs to decide whether two journals share one clock."""

from __future__ import annotations

import os
import platform
import socket
import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TIME_NAMESPACE = Path("/proc/self/ns/time")


def clock_id() -> str:
    """Return a name of the monotonic clock of this process: its host's boot id, and its time namespace if it has one.

    Processes with the same name share one clock. A container may have a time namespace, with a clock of its own.
    """
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else socket.gethostname()
    try:
        return f"{boot} {TIME_NAMESPACE.readlink()}"
    except OSError:
        return boot


def process_meta(**more: object) -> dict[str, object]:
    """Return `meta` for `Journal.create`: where and by which clock a process records, and `more`.

    Processes with the same `clock` share one monotonic clock (see `clock_id`).
    """
    return {
        "host": socket.gethostname(),
        "boot_id": BOOT_ID.read_text().strip() if BOOT_ID.exists() else "",
        "clock": clock_id(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "wall_minus_monotonic_ns": time.time_ns() - time.monotonic_ns(),
        **more,
    }
