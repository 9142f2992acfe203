"""That each test can fail is declared for every test, and told as it was found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from earwitness.harness.evidence.defect import Defect
from pytest_suite.ledger import said
from pytest_suite.orders import Order, faults
from pytest_suite.proof_table import HEALTHY, Findings, Row, split, table

LOSS = Defect(
    id="Z5", name="drop-push", breaks="One is missing.", opportunity="one message", caught_by=("I4",), high=0.5,
    one=0.1, service="backend", needs="",
)  # fmt: skip
FILE, NAME = "test_it.py", "test_nothing_is_lost"
ROW = Row(FILE, NAME, Order("backend", "Z5", 1.0))


def end(outcome: str, *, name: str = NAME, case: str = "", said: str = "") -> dict[str, object]:
    nodeid = f"{FILE}::TestIt::{name}" + (f"[{case}]" if case else "")
    return {"test": nodeid, "outcome": outcome, "said": said, "seconds": 0.1}


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    return Findings(tmp_path / "findings.jsonl")


def test_every_critical_test_names_its_defect() -> None:
    """No test without a defect of the catalogue that turns it red."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from pytest_suite.orders import *; "
         "from earwitness.harness.evidence.catalogue import *; "
         "sys.exit('\\n'.join(faults(collect(), {one.id: one for one in all_defects()})) or 0)"],
        capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_test_without_a_defect_is_named() -> None:
    """Neither the one that names none nor the one whose defect does not exist is let through."""

    class Item:
        def __init__(self, *marks: pytest.Mark) -> None:
            self._marks = marks

        def iter_markers(self, name: str) -> list[pytest.Mark]:
            return [mark for mark in self._marks if mark.name == name]

        def get_closest_marker(self, name: str) -> pytest.Mark | None:
            return next(iter(self.iter_markers(name)), None)

    critical = pytest.mark.critical.mark
    tests = {
        (FILE, "test_a"): [Item(critical, pytest.mark.fails_with("Z5").mark)],
        (FILE, "test_b"): [Item(critical)],
        (FILE, "test_c"): [Item(critical, pytest.mark.fails_with("Z99").mark)],
        (FILE, "test_d"): [Item()],
    }
    told = faults(tests, {"Z5": LOSS})  # type: ignore[arg-type]
    assert [one.split("::")[1][:6] for one in told] == ["test_b", "test_c"]
    assert "'Z99' is no defect" in told[1]


def test_orders() -> None:
    """Service and probability come from the marker, or from the catalogue and 1."""
    catalogue = {"Z5": LOSS}
    assert str(Order.of("Z5", catalogue)) == "backend=Z5:1"
    assert str(Order.of("backend-2=Z5:0.25", catalogue)) == "backend-2=Z5:0.25"


def test_red_needs_a_firing_and_the_test_itself(findings: Findings) -> None:
    """A failure without a firing, an error of the set-up and a pass are not red; nothing at all is not run."""
    assert findings.state(ROW) == "not run"
    for outcome, fired, state in (
        ("failed", 0, "not red"), ("error", 3, "not red"), ("passed", 3, "not red"), ("failed", 3, "red"),
    ):  # fmt: skip
        findings.forget([ROW])
        findings.fired.clear()
        findings.add(str(ROW.order), [end(outcome)], fired)
        assert findings.state(ROW) == state, outcome


def test_findings_are_kept(findings: Findings, tmp_path: Path) -> None:
    """Another process goes on where this one was; what was not red can be forgotten."""
    other = Row(FILE, "test_other", ROW.order)
    findings.add(
        str(ROW.order), [end("failed", case="a"), end("passed", case="b"), end("passed", name="test_other")], 2
    )
    again = Findings(tmp_path / "findings.jsonl")
    assert [again.state(row) for row in (ROW, other)] == ["red", "not red"]
    again.forget([ROW, other])
    once_more = Findings(tmp_path / "findings.jsonl")
    assert [once_more.state(row) for row in (ROW, other)] == ["red", "not run"]


def test_the_table(findings: Findings) -> None:
    """One line a row, with what the test said first; others that noticed; what is green without the defect."""
    findings.add(
        str(ROW.order),
        [
            end("failed", case="a", said="assert [1, 3] == [1, 2]"),
            end("passed", case="b"),
            end("failed", name="test_x"),
        ],
        7,
    )
    findings.add(HEALTHY, [end("passed", case="a"), end("passed", case="b")], 0)
    text = table([ROW], findings, {"Z5": LOSS})
    assert "1 tests, 1 rows: 1 red, 0 not red, 0 not run." in text
    assert "without a defect: 2 passed." in text
    line = f"| `{NAME}` | `backend=Z5:1` drop-push | 7 | red, 1 of 2 cases | `assert [1, 3] == [1, 2]` |"
    assert line in text
    assert "| `backend=Z5:1` | `test_x` |" in text


def test_what_is_said_holds_no_secret() -> None:
    """The first line of an assertion, without tokens and ports."""

    class Report:
        passed, longrepr = False, None
        longreprtext = "\nFailed: http://127.0.0.1:4711/x took eyJhbGciOi.eyJzdWIi.c2ln for an answer\nmore"

    assert said(Report()) == "http://…/x took TOKEN for an answer"  # type: ignore[arg-type]


def test_names_of_cases() -> None:
    """A nodeid is file, function and case."""
    assert split("test_it.py::TestIt::test_b[a-[x]]") == (("test_it.py", "test_b"), "a-[x]")
    assert split("test_it.py::test_b") == (("test_it.py", "test_b"), "")
