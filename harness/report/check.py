"""`earwitness check RUN`: the same verdict tomorrow, on another machine, with newer checks."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from checks.contract import Contract
from checks.judge import Batch, judge
from checks.record import empty
from checks.roster import Roster
from harness.errors import EXIT_CANNOT_RUN
from harness.report.judging import judge_run, write_verdict
from harness.report.terminal import verdict_text

HELP = "judge a run directory again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory, e.g. runs/latest")
    parser.add_argument("--json", action="store_true", help="print verdict.json instead of text")
    parser.add_argument("--when-told", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Judge, write verdict.json, verdict.txt and junit.xml, print; the exit code is the verdict's."""
    if args.when_told:
        warm_up()
        if sys.stdin.readline().strip() != "judge":
            return EXIT_CANNOT_RUN  # the load process is gone: nobody waits for a verdict
    run_dir = args.run.resolve()
    verdict = judge_run(run_dir)
    text = verdict_text(verdict)
    write_verdict(run_dir, verdict, text)
    if not args.when_told:  # Locust prints it, after its own tables
        print(json.dumps(verdict, indent=1, ensure_ascii=False) if args.json else text, flush=True)
    return int(verdict["exit_code"])


def warm_up() -> None:
    """Load (or, for the first time on a machine, compile) every check by judging a record of nothing."""
    judge(Roster(user_of=(0,), conversations=((0,),)), Contract(), [Batch(0, empty(1))], [])
