"""The witness's words for what no other test tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from checks import Finding, Outcome, Roster, Verdict, tell
from checks.witness import _SENTENCES, device, sentence

ROSTER = Roster(user_of=(0, 1, 1), conversations=((0, 1),), user_names=("ann",))
FACTS = {
    "client": 2, "conv": 0, "author": 0, "counter": 16, "other_author": 1, "other_counter": 3, "seq": 5, "other_seq": 7,
    "low": 2, "high": 4, "left": 1, "rows": 2, "stated": -2,
}  # fmt: skip


def verdict(id: str) -> Verdict:
    return Verdict(id=id, name="some-check", outcome=Outcome.FAIL, examined=1, violations=1)


@pytest.mark.parametrize(("id", "what"), list(_SENTENCES))
def test_every_kind_of_finding_has_words(id: str, what: str) -> None:
    """No sentence lacks a fact, none shows a placeholder."""
    words = sentence(Finding(what=what, facts=FACTS), verdict(id), ROSTER)
    assert "{" not in words


def test_devices() -> None:
    """A tab is named only where a user has several; strangers and numbers without names have words too."""
    assert [device(ROSTER, c) for c in (0, 1, 2, 9)] == [
        "ann",
        "user 1 on tab 1",
        "user 1 on tab 2",
        "somebody unknown",
    ]


def test_a_check_of_somebodys_own() -> None:
    """A finding of an unknown check is told generally."""
    words = sentence(Finding(what="late", facts={"client": 2}), verdict("X1"), ROSTER)
    assert words == "some-check: late (client 2)"


def test_missing_records_are_said(new_history: Callable[..., Any]) -> None:
    """A record that is no longer there is said to be missing."""
    telling = tell(Finding(what="late", records=((3, 7),)), verdict("X1"), ROSTER, lambda journal, index: None)
    assert telling.lines == ["3:7  (this record is not in the journal)"]


def test_lines_show_flags_attempts_and_heads(new_history: Callable[..., Any]) -> None:
    """Flags, attempts and heads of joining are shown; the run's tag is left out."""
    history = new_history().join(0, head=4).send(0, 1, attempt=2, flags=1)
    records = history.arrays()[0]
    finding = Finding(what="late", records=((0, 1), (0, 2)), facts={"client": 0})
    telling = tell(finding, verdict("X1"), history.roster, lambda journal, index: records[index - 1], tag="room")
    assert telling.lines == [
        "0:1  +0.000 ms  ann (connection 1) joins in -1 at 4",
        "0:2  +1.000 ms  ann (connection 1) sends #1 of ann (attempt 2) in -1 [corrupt]",
    ]
