"""Verdict for GitHub Actions: the job's summary page, and an annotation for each broken promise.

Source: the workflow command `::error` and the file that `GITHUB_STEP_SUMMARY` names. Texts of a platform are escaped,
so that they neither end a command nor become Markdown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from earwitness.harness.progress import printable, say, show
from earwitness.harness.report.runbooks import runbook_of

Row = Mapping[str, Any]
SUMMARY, ACTIONS = "GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"
SHOWN = 3
"""Most counterexamples of a check that the summary page lists."""
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+|~!-])")


def tell_github(verdict: Row, environ: Mapping[str, str] = os.environ) -> None:
    """Append the verdict to the job's summary page, and print an annotation for each broken promise.

    Outside of a job of GitHub Actions nothing happens. `verdict`: the dictionary of verdict.json.
    """
    if path := environ.get(SUMMARY):
        try:
            with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as page:
                page.write(summary(verdict))
        except OSError as error:
            say(f"{path}: the job's summary cannot be written: {error.strerror}")
    if environ.get(ACTIONS) == "true":
        for line in errors_of(verdict):
            show(line)


def summary(verdict: Row) -> str:
    """Return the verdict as Markdown: outcome, checks that count for it, missed thresholds, first counterexamples."""
    counted = [check for check in (*verdict["harness"], *verdict["checks"]) if check["counts"]]
    rows = [
        (check["outcome"], check["id"], check["name"], f"{check['examined']:,}", f"{check['violations']:,}")
        for check in counted
    ]
    lines = [
        f"## {_text(verdict['headline'])}: {_text(verdict['story'])}, seed {verdict['seed']}",
        "",
        _text(verdict["why"]),
        "",
        *_table(("outcome", "check", "name", "examined", "violations"), rows),
    ]
    for check in broken(verdict):
        lines += ["", f"### {check['id']} {_text(check['name'])}", "", f"Runbook: `{runbook_of(check['id'])}`", ""]
        lines += [f"- {_text(witness['sentence'])}" for witness in check["witnesses"][:SHOWN]]
    missed = [row["name"] for row in verdict["thresholds"] if not row["met"]]
    lines += ["", f"Thresholds missed or not measured: {', '.join(map(_text, missed))}."] if missed else []
    return "\n".join([*lines, "", f"Report: `{printable(str(verdict['run']))}/report.html`", ""]) + "\n"


def errors_of(verdict: Row) -> list[str]:
    """Return one `::error` command for each check whose promise was broken."""
    return [
        f"::error title=earwitness {check['id']} {_value(check['name'])}::"
        + _value(check["witnesses"][0]["sentence"] if check["witnesses"] else f"{check['violations']} violations")
        for check in broken(verdict)
    ]


def broken(verdict: Row) -> list[Row]:
    """Return the failed checks that count for the verdict of the run."""
    return [check for check in verdict["checks"] if check["counts"] and check["outcome"] == "FAIL"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def _text(text: object) -> str:
    return _MARKUP.sub(r"\\\1", printable(str(text)).replace("\n", " "))


def _value(text: object) -> str:
    return printable(str(text)).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
