"""Metadata of a journal about the process that records: host, process, and the clock, which journals may share."""

from __future__ import annotations

import os
import platform
import socket
import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TIME_NAMESPACE = Path("/proc/self/ns/time")


def clock_id() -> str:
    """Return a name of this process's monotonic clock: the host's boot id, and the time namespace if there is one.

    Processes with the same name share one clock. A container may have a time namespace, and thereby another clock.
    """
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else socket.gethostname()
    try:
        return f"{boot} {TIME_NAMESPACE.readlink()}"
    except OSError:
        return boot


def process_meta(**more: object) -> dict[str, object]:
    """Return `meta` for `Journal.create`: host, process and clock of this process, and the items of `more`.

    Processes with the same `clock` share one monotonic clock (see `clock_id`). `wall_minus_monotonic_ns`: the
    difference of the wall clock and the monotonic clock.
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
