"""Origin of a journal: what the judge needs to decide whether two journals share one clock."""

from __future__ import annotations

import os
import platform
import socket
import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def process_meta(**more: object) -> dict[str, object]:
    """Return `meta` for `Journal.create`: host, boot_id, pid, python, wall_minus_monotonic_ns and the keys of `more`.

    Processes with the same host and boot_id share one monotonic clock.
    """
    return {
        "host": socket.gethostname(),
        "boot_id": BOOT_ID.read_text().strip() if BOOT_ID.exists() else "",
        "pid": os.getpid(),
        "python": platform.python_version(),
        "wall_minus_monotonic_ns": time.time_ns() - time.monotonic_ns(),
        **more,
    }
