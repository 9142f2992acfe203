"""`earwitness report RUN`: write `report.html` of a run again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from earwitness.harness.errors import Exit, RecordError
from earwitness.harness.progress import say, show
from earwitness.harness.record.history import History, open_history
from earwitness.harness.record.rundir import write_whole
from earwitness.harness.report.page.html import report_html

FILE = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `earwitness report`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory that was judged, e.g. runs/latest")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=f"where to write it (default RUN/{FILE})")


def run(args: argparse.Namespace) -> int:
    """Write the page, print its path and return PASS.

    Raises RecordError if the run was not judged or cannot be read.
    """
    run_dir = args.run.resolve()
    history = open_history(run_dir)
    path = write_report(history, _verdict_of(run_dir), args.output)
    show(f"{path}")
    say(f"open it in a browser: {path.resolve().as_uri()}")
    return Exit.PASS


def write_report(history: History, verdict: Mapping[str, Any], path: Path | None = None) -> Path:
    """Write the page of a run atomically and return its path. Raises RecordError if it cannot be written.

    `path`: None for report.html in the run directory.
    """
    path = path or history.path / FILE
    try:
        write_whole(path, report_html(history, verdict))
    except OSError as error:
        raise RecordError(f"{path}: the report cannot be written: {error.strerror}.") from error
    return path


def _verdict_of(run_dir: Path) -> Mapping[str, Any]:
    path = run_dir / "verdict.json"
    try:
        verdict = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{path}: there is no verdict to show; judge the run first: earwitness check {run_dir}."
        ) from error
    if not isinstance(verdict, dict) or not isinstance(verdict.get("checks"), list):
        raise RecordError(f"{path}: this is no verdict; judge the run again: earwitness check {run_dir}.")
    return verdict
