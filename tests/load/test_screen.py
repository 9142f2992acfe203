"""What a run shows while it lasts."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LIVE = {
    "messages": {"sent": 1234, "heard": 5678},
    "checks": [
        {"id": "I1", "promised": True, "outcome": "PASS"},
        {"id": "I44", "promised": False, "outcome": "FAIL"},
    ],
}
BROKEN = {**LIVE, "checks": [{"id": "I6", "promised": True, "outcome": "FAIL"}, *LIVE["checks"]]}


def printed(code: str) -> list[str]:
    """Lines that a process prints; Locust must be imported before everything else, so not here."""
    head = "from earwitness.harness.load.screen import *\n"
    done = subprocess.run([sys.executable, "-c", head + code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


TABLES = """
import logging
from argparse import Namespace
for print_stats, only_summary in ((False, False), (False, True), (True, False)):
    logger = logging.getLogger("locust.stats_logger")
    logger.disabled = False
    options = Namespace(print_stats=print_stats, only_summary=only_summary)
    tables_on_request(options)
    print("periodic" * (not options.only_summary), "last" * (not logger.disabled))
"""


def test_tables_only_on_request() -> None:
    """None by default, the last ones with --only-summary, all with --print-stats."""
    assert printed(TABLES) == [" ", " last", "periodic last"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((0.4, 30, 7, {}), "0 of 30 s · 7 users · nothing judged yet"),
        ((12.4, 30.0, 100, LIVE), "12 of 30 s · 100 users · 1,234 sent, 5,678 received · nothing broken so far"),
        ((12.4, None, 1, BROKEN), "12 s · 1 users · 1,234 sent, 5,678 received · broken: I6"),
    ],
)
def test_a_line_of_progress(arguments: tuple[Any, ...], line: str) -> None:
    """Time, users, messages, and the broken promises; observations are none."""
    assert printed(f"print(ascii(progress_line(*{arguments!r})))") == [ascii(line)]


def test_a_run_stops_at_the_first_broken_promise(locust: Callable[..., Any], tmp_path: Path) -> None:
    """With --stop-on-fail it ends long before its time, is judged, and says why; its tables are not printed.

    In Locust's own files the violations are failures of their check. The defect needs nobody in a certain place: a leak
    needs a stranger on a member's replica, and once in 126 runs they are all elsewhere.
    """
    files = ("--csv", str(tmp_path / "it"))
    defect = ("--defect", "backend=duplicate-push:0.02")
    run = locust("-u", "10", "-r", "10", "-t", "60s", *files, "--stop-on-fail", *defect)
    assert run.code == 1, run.out
    assert run.verdict["headline"].startswith("FAIL (stopped after ")
    assert run.described["interrupted"]["after_s"] < 30
    assert run.out.count("stopped at the first broken promise (--stop-on-fail)") == 2
    assert "Aggregated" not in run.out
    rows = csv.DictReader((tmp_path / "it_stats.csv").read_text().splitlines())
    failures = {row["Name"]: int(row["Failure Count"]) for row in rows if row["Type"] == "CHECK"}
    broken = {check["id"]: check["violations"] for check in run.verdict["checks"] if check["promised"]}
    assert failures["I6 no-duplication"] == broken["I6"] > 0
    assert run.out.index("FAIL (stopped after ") < run.out.index("report: ")
    assert run.left_behind == []
