"""`python -m earwitness.harness.platform.reaper DIRECTORY`: clean up when standard input ends."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for those whom it outlives
    directory = Path(sys.argv[1])
    while os.read(0, 1024):
        pass
    if directory.exists():
        from earwitness.harness.platform.clean_up import (
            clean_up,  # not before it is needed: it stays small while it waits
        )

        clean_up(directory)


if __name__ == "__main__":
    main()
