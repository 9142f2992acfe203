"""A verdict in GitHub Actions: the job's summary and its annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.report.github import errors_of, summary, tell_github


def check(id: str, outcome: str, sentence: str = "", *, counts: bool = True) -> dict[str, Any]:
    witnesses = [{"sentence": sentence}] if sentence else []
    row = {"id": id, "name": f"name-{id}", "outcome": outcome, "counts": counts}
    return {**row, "examined": 1200, "violations": len(witnesses), "witnesses": witnesses}


@pytest.fixture
def verdict() -> dict[str, Any]:
    sentence = "bob never heard *m1* of <room>, 50 % of it\n::error::forged"
    failed = [check("I4", "FAIL", sentence), check("I7", "FAIL", "an observation", counts=False)]
    return {
        "headline": "FAIL", "story": "ws_ordering", "seed": 7, "why": "broken: I4", "run": "runs/x",
        "harness": [check("H1", "PASS")], "checks": failed, "thresholds": [{"name": "ack p99", "met": False}],
    }  # fmt: skip


def test_the_summary(verdict: dict[str, Any]) -> None:
    """Outcome, checks that count, the first counterexamples as text, the missed threshold, the report."""
    page = summary(verdict)
    assert page.startswith("## FAIL: ws\\_ordering, seed 7\n")
    assert "| FAIL | I4 | name-I4 | 1,200 | 1 |" in page
    assert "I7" not in page
    assert "- bob never heard \\*m1\\* of \\<room\\>" in page
    assert "Thresholds missed or not measured: ack p99." in page
    assert "`runs/x/report.html`" in page


def test_an_annotation_is_one_command(verdict: dict[str, Any]) -> None:
    """What a platform says cannot begin another one."""
    (line,) = errors_of(verdict)
    assert line.startswith("::error title=earwitness I4 name-I4::bob never heard *m1* of <room>, 50 %25 of it")
    assert "\n" not in line


def test_only_where_a_job_runs(verdict: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Elsewhere nothing is written."""
    tell_github(verdict, {})
    assert capsys.readouterr().out == ""
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    tell_github(verdict, {"GITHUB_STEP_SUMMARY": str(page), "GITHUB_ACTIONS": "true"})
    assert page.read_text().startswith("before\n## FAIL")
    assert capsys.readouterr().out.count("::error title=") == 1


def test_a_summary_that_cannot_be_written(
    verdict: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It costs no verdict."""
    tell_github(verdict, {"GITHUB_STEP_SUMMARY": str(tmp_path)})
    assert "the job's summary cannot be written" in capsys.readouterr().err
