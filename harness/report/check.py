"""`earwitness check RUN`: the same verdict tomorrow, on another machine, with newer checks."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from harness.errors import EXIT_CANNOT_RUN
from harness.report.judging import judge_run, write_verdict
from harness.report.terminal import verdict_text

HELP = "judge a run directory again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory, e.g. runs/latest")
    parser.add_argument("--json", action="store_true", help="print verdict.json instead of text")
    parser.add_argument("--when-told", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Judge, write verdict.json and junit.xml, print; the exit code is the verdict's."""
    if args.when_told:
        from checks.judge import warm_up

        warm_up()
        if sys.stdin.readline().strip() != "judge":
            return EXIT_CANNOT_RUN  # the load process is gone: nobody waits for a verdict
    run_dir = args.run.resolve()
    verdict = judge_run(run_dir)
    write_verdict(run_dir, verdict)
    print(json.dumps(verdict, indent=1, ensure_ascii=False) if args.json else verdict_text(verdict), flush=True)
    return int(verdict["exit_code"])
