"""Option `--ledger FILE`: one JSON line with the outcome of every test, written as soon as the test has ended."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

SAID_MAX = 160
_SECRET = re.compile(r"eyJ[\w-]+(\.[\w-]*){1,2}")
_ADDRESS = re.compile(r"127\.0\.0\.1:\d+")


class Ledger:
    """Plugin of pytest that writes the ledger.

    `outcome` is passed, failed, error (in the set-up or clean-up of a test) or skipped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Append the line of a test, from its call, or from a set-up or clean-up that did not pass."""
        if report.when != "call" and report.passed:
            return
        outcome = "error" if report.failed and report.when != "call" else report.outcome
        line = {"test": report.nodeid.partition("/")[2] or report.nodeid, "outcome": outcome, "said": said(report)}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "seconds": round(report.duration, 1)}) + "\n")


def said(report: pytest.TestReport) -> str:
    """Return the first line of the message of a test that did not pass, without addresses and tokens; else ""."""
    if report.passed:
        return ""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else report.longreprtext
    first = next((line for line in text.splitlines() if line.strip()), "")
    return _ADDRESS.sub("…", _SECRET.sub("TOKEN", first.removeprefix("Failed: ")))[:SAID_MAX]
