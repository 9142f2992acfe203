"""The judge beside the load: a process that is warm before the run begins.

python -m earwitness.harness.run.judge_process

Standard input tells it what to do and is its leash (its end, without a word before, ends the process):
`follow DIR` once, and later `judge`, when all journals are closed. Standard output says `warm`, once it is, and the ids
and names of all checks. The exit code is the verdict's.
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
"""The load goes first: the judge takes what time is left, and may be late when there is none."""


def main() -> int:
    os.nice(NICENESS)
    try:
        return _work()
    except EarwitnessError as error:
        say(str(error))
        return error.exit_code


def _work() -> int:
    warm_up(say)
    gc.freeze()  # the compiled loops stay: looking through them once costs as much as ten turns
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
        return Exit.CANNOT_RUN  # the load process is gone: nobody waits for a verdict
    return int(following.finish()["exit_code"])


def _told_within(seconds: float) -> bool:
    return bool(select.select([sys.stdin], [], [], max(0.0, seconds))[0])


if __name__ == "__main__":
    sys.exit(main())
