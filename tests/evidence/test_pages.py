"""The generated pages of docs/ say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from earwitness.checks import ALL
from earwitness.harness.evidence.pages_checks import documented, keys_read, promise


def test_the_pages_are_current() -> None:
    """In a process of its own, because it imports Locust and all stories."""
    command = [sys.executable, "-m", "earwitness.harness.evidence.pages", "--check"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_check_is_described_by_its_code() -> None:
    assert [check.id for check in ALL if len(documented(check).split()) < 8] == []


@pytest.mark.parametrize(
    ("id", "condition", "keys"),
    [
        ("H1", "always", set()),
        ("I1", "`ordered`", {"ordered", "sequence"}),
        ("I35", "`outage_answer_s is not None`", {"outage_notice_s", "outage_session_s", "recovery_s"}),
        ("I36", "`rate_burst is not None and", {"rate_burst", "rate_per_s", "rate_window_s"}),
        ("I38", "`retry_after and", {"retry_after", "rate_burst"}),
    ],
)
def test_what_a_check_reads_of_the_contract(id: str, condition: str, keys: set[str]) -> None:
    check = next(check for check in ALL if check.id == id)
    assert promise(check).startswith(condition)
    assert keys <= keys_read(check)


def test_what_a_promise_names_is_among_the_keys() -> None:
    for check in ALL:
        named = set(re.findall(r"[a-z]\w*_\w+", promise(check)))
        assert named <= keys_read(check), check.id
