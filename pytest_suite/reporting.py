"""Outcome "not run" for tests that this machine cannot run: not passed, and listed at the end of the session."""

from __future__ import annotations

from typing import NoReturn

import pytest

NOT_RUN = "not run: "


def not_run(why: str) -> NoReturn:
    """End the present test as not run. `why`: what is missing, and the command that installs it."""
    pytest.skip(NOT_RUN + why)


def why_not_run(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the reason that `not_run` was given; "" for every other outcome."""
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return ""
    _, mark, why = report.longrepr[2].partition(NOT_RUN)
    return why if mark else ""


def pytest_report_teststatus(
    report: pytest.TestReport | pytest.CollectReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Return category, letter and word of the outcome "not run"; None for every other outcome."""
    return ("not run", "N", ("NOT RUN", {"yellow": True})) if why_not_run(report) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests that were not run, with their reasons."""
    reports = terminalreporter.getreports("not run")
    if reports:
        terminalreporter.section("not run", yellow=True)
    for report in reports:
        terminalreporter.line(f"{report.nodeid} was not run, so it proves nothing. {why_not_run(report)}", yellow=True)
