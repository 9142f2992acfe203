"""`earwitness check RUN`: the same verdict tomorrow, on another machine, with newer checks."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from harness.report.follow import follow_by_hand
from harness.report.judging import judge_run, write_verdict
from harness.report.terminal import verdict_text
from harness.report.warm import warm_up

HELP = "judge a run directory again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory, e.g. runs/latest")
    parser.add_argument("--json", action="store_true", help="print verdict.json instead of text")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="judge while the run goes on: say at once what breaks, and give the verdict when it has ended",
    )


def run(args: argparse.Namespace) -> int:
    """Judge, write verdict.json, verdict.txt and junit.xml, print; the exit code is the verdict's."""
    run_dir = args.run.resolve()
    if args.follow:
        warm_up(lambda line: print(f"earwitness: {line}", file=sys.stderr, flush=True))
        verdict = follow_by_hand(run_dir)
    else:
        verdict = judge_run(run_dir)
        write_verdict(run_dir, verdict, verdict_text(verdict))
    print(json.dumps(verdict, indent=1, ensure_ascii=False) if args.json else verdict_text(verdict), flush=True)
    return int(verdict["exit_code"])
