"""Reaper: `python -m earwitness.harness.platform.reaper DIRECTORY` cleans up when standard input ends."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Wait for the end of standard input, then clean up the directory that the command line names."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the platform, which this process outlives
    directory = Path(sys.argv[1])
    while os.read(0, 1024):
        pass
    if directory.exists():
        from earwitness.harness.platform.clean_up import (
            clean_up,  # imported only when needed: the process stays small while it waits
        )

        clean_up(directory)


if __name__ == "__main__":
    main()
