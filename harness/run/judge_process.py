"""Judge process: loads all checks before the run begins, then judges the run during the load.

    python -m earwitness.harness.run.judge_process [OWN]

OWN is a JSON list of own checks to run: [file, names, or null for all]. If it is given, the first line of standard
output is a JSON object: {"own": rows for run.json}, or {"refused": SENTENCE}.

Orders come on standard input: `follow DIR` once, and later `judge`, when all journals are closed. If the input ends
without an order, the process ends. When all checks are loaded, it writes one line to standard output: `warm`, then the
ids and names of all checks. The exit code is the verdict's.
"""

from __future__ import annotations

import gc
import json
import os
import select
import sys
import time
from pathlib import Path

from earwitness.checks import ALL
from earwitness.checks.own import OwnCheck
from earwitness.harness.errors import EarwitnessError, Exit
from earwitness.harness.progress import say
from earwitness.harness.report.follow import TURN_S, Following
from earwitness.harness.report.own_checks import load, own_checks, stated
from earwitness.harness.report.warm import warm_up

NICENESS = 10
"""Niceness of the process, lower in priority than the load: the judge may be late when the load needs the processor."""


def main() -> int:
    """Run the judge process; return the exit code of the verdict, or of the error that ended it."""
    os.nice(NICENESS)
    try:
        return _work()
    except EarwitnessError as error:
        say(str(error))
        return error.exit_code


def _own() -> list[OwnCheck]:
    """Load the own checks of the command line; write to standard output what they are, or the error.

    Raises SystemExit after an error.
    """
    if len(sys.argv) < 2:
        return []
    try:
        own = load(json.loads(sys.argv[1]))
    except EarwitnessError as error:
        _answer(json.dumps({"refused": str(error)}))
        raise SystemExit(error.exit_code) from None  # the load process prints the sentence
    _answer(json.dumps({"own": stated(own)}))
    return own


def _answer(line: str) -> None:
    try:
        print(line, flush=True)  # noqa: T201 (for a program)
    except BrokenPipeError:
        raise SystemExit(Exit.CANNOT_RUN) from None  # the load process has ended and needs no verdict


def _work() -> int:
    own = _own()
    warm_up(say)
    gc.freeze()  # the compiled loops stay: one garbage collection of them costs as much as ten reads
    checks = (*ALL, *own_checks({}, own))
    _answer(" ".join(["warm", *(name for check in checks for name in (check.id, check.name))]))
    order = sys.stdin.readline().split(maxsplit=1)
    if len(order) != 2 or order[0] != "follow":
        return Exit.CANNOT_RUN
    following = Following(Path(order[1].strip()), say, publish=True, own=own)
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
