"""Runbooks: the page of `docs/runbooks/` that says what to do about a check or about the exit code of a run.

Terminal, JUnit, verdict.json, report and alerts all take the path of a runbook from this module. Paths are relative to
the root of the project, so that the same run gives the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from earwitness.checks.verdict import OWN
from earwitness.harness.errors import Exit

FOLDER: Final = "docs/runbooks"
OWN_CHECKS: Final = "docs/your-own-check.md"
"""Page about users' own checks, for which there are no runbooks."""
OF_EXIT: Final[Mapping[int, str]] = {
    Exit.PASS: "pass",
    Exit.FAIL: "fail",
    Exit.CANNOT_RUN: "cannot-run",
    Exit.UNKNOWN: "unknown",
    Exit.THRESHOLD: "threshold",
    Exit.INTERRUPTED: "interrupted",
    Exit.TERMINATED: "interrupted",
}
"""Exit code → name of the page about it."""


def runbook_of(check_id: str) -> str:
    """Return the path of the page about a check, e.g. `docs/runbooks/I4.md`; own checks share one page."""
    return OWN_CHECKS if check_id.startswith(OWN) else f"{FOLDER}/{check_id}.md"


def runbook_of_exit(code: int) -> str:
    """Return the path of the page about an exit code; for an unknown code that of CANNOT_RUN."""
    return f"{FOLDER}/{OF_EXIT.get(code, OF_EXIT[Exit.CANNOT_RUN])}.md"
