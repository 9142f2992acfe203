"""Judge process: judges a run during the load, and is warm before the run begins.

    python -m earwitness.harness.run.judge_process

Orders come on standard input: `follow DIR` once, and later `judge`, when all journals are closed. If the input ends
without one, the process ends. On standard output it writes one line when it is warm: `warm`, then the ids and names of
all checks. The exit code is the verdict's.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import time
from pathlib import Path

from earwitness.checks import ALL
from earwitness.harness.errors import EarwitnessError, Exit
from earwitness.harness.progress import say
from earwitness.harness.report.follow import TURN_S, Following
from earwitness.harness.report.warm import warm_up

NICENESS = 10
"""Lower priority than the load's: the judge gets the remaining time, and may be late when there is none."""


def main() -> int:
    """Run the judge process and return the exit code."""
    os.nice(NICENESS)
    try:
        return _work()
    except EarwitnessError as error:
        say(str(error))
        return error.exit_code


def _work() -> int:
    warm_up(say)
    gc.freeze()  # the compiled loops stay: collecting through them once costs as much as ten turns
    print("warm", *(name for check in ALL for name in (check.id, check.name)), flush=True)  # noqa: T201 (for a program)
    order = sys.stdin.readline().split(maxsplit=1)
    if len(order) != 2 or order[0] != "follow":
        return Exit.CANNOT_RUN
    following = Following(Path(order[1].strip()), say, publish=True)
    due = time.monotonic()
    while not _told_within(due - time.monotonic()):
        following.turn()
        due = max(due + TURN_S, time.monotonic())
    if sys.stdin.readline().strip() != "judge":
        return Exit.CANNOT_RUN  # the load process is gone, and needs no verdict
    return int(following.finish()["exit_code"])


def _told_within(seconds: float) -> bool:
    return bool(select.select([sys.stdin], [], [], max(0.0, seconds))[0])


if __name__ == "__main__":
    sys.exit(main())
