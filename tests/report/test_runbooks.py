"""Runbooks: each check and each exit code has a page with causes and next steps, and everything links to it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from earwitness.checks.catalogue import ALL
from earwitness.harness.errors import Exit
from earwitness.harness.record.importer import import_history
from earwitness.harness.report.judging import judge_run
from earwitness.harness.report.junit import junit_xml
from earwitness.harness.report.runbooks import FOLDER, OF_EXIT, OWN_CHECKS, runbook_of, runbook_of_exit
from earwitness.harness.report.terminal import verdict_text

ROOT = Path(__file__).parents[2]
HISTORY = ROOT / "docs" / "pictures" / "counterexample.jsonl"
CAUSES, NEXT = "## Likely causes", "## What to examine next"


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.id)
def test_each_check_has_a_page_of_its_own(check: object) -> None:
    """With at least three causes, each with what shows it, and what to examine next."""
    page = (ROOT / runbook_of(check.id)).read_text("utf-8")  # type: ignore[attr-defined]
    assert page.startswith(f"# {check.id} {check.name}\n")  # type: ignore[attr-defined]
    causes = page[page.index(CAUSES) : page.index(NEXT)]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", causes, re.MULTILINE)[2:]
    assert len(rows) >= 3
    assert all(len(cause) > 15 and len(sign) > 15 for cause, sign in rows)
    assert re.search(r"^1\. \S", page[page.index(NEXT) :], re.MULTILINE)


def test_no_page_is_left_over() -> None:
    """Each page is of a check, of an exit code, or the overview."""
    names = {check.id for check in ALL} | set(OF_EXIT.values()) | {"index"}
    assert {path.stem for path in (ROOT / FOLDER).glob("*.md")} == names


def test_each_exit_code_has_a_page() -> None:
    """Also a code that nobody knows."""
    assert all((ROOT / runbook_of_exit(code)).is_file() for code in (*Exit, 77))
    assert runbook_of_exit(77) == runbook_of_exit(Exit.CANNOT_RUN)
    assert (ROOT / OWN_CHECKS).is_file()
    assert runbook_of("U1") == OWN_CHECKS


def test_verdict_terminal_and_junit_name_it(tmp_path: Path) -> None:
    """Once for each check that failed, behind its counterexamples."""
    import_history(HISTORY, tmp_path / "run")
    verdict = judge_run(tmp_path / "run")
    failed = [check for check in verdict["checks"] if check["outcome"] == "FAIL" and check["witnesses"]]
    assert failed
    text = verdict_text(verdict)
    for check in failed:
        assert check["runbook"] == f"docs/runbooks/{check['id']}.md"
        assert text.count(f"look at next: {check['runbook']}") == 1
    assert text.count("look at next: ") == len(failed)
    failures = ET.fromstring(junit_xml(verdict)).iter("failure")
    assert all(f"runbook: {FOLDER}/" in str(failure.text) for failure in failures)


def test_the_alert_of_a_check_leads_to_its_page() -> None:
    """Its annotation holds the path with the check in place."""
    rules = yaml.safe_load((ROOT / "dashboards" / "alerts.yml").read_text("utf-8"))["groups"]
    pages = {rule["alert"]: rule["annotations"]["page"] for group in rules for rule in group["rules"]}
    assert pages["EarwitnessPromiseBroken"] == runbook_of("{{ $labels.check }}")
    assert all((ROOT / page).is_file() for page in pages.values() if "{{" not in page)
