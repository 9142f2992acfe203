"""The outcome of a run, as a table."""

from __future__ import annotations

import pytest

from earwitness.checks import Outcome, Verdict, exercised, outcome_of_run
from earwitness.checks.outcome import counts

PASS, UNKNOWN, FAIL = Outcome.PASS, Outcome.UNKNOWN, Outcome.FAIL


def verdict(id: str, outcome: Outcome, examined: int = 1, promised: bool = True) -> Verdict:
    violations = 1 if outcome is FAIL else 0
    why = "" if outcome is PASS else "because"
    return Verdict(
        id=id, name=f"name-{id}", outcome=outcome, examined=examined, violations=violations, promised=promised, why=why
    )


H1 = verdict("H1", PASS)
I1 = verdict("I1", PASS)
ROWS = [
    ("all well", [H1, I1], ["I1"], PASS, "held: I1"),
    ("by name", [H1, I1], ["name-I1"], PASS, "held: I1"),
    ("named fails", [H1, verdict("I1", FAIL)], ["I1"], FAIL, "broken: I1"),
    ("another fails", [H1, I1, verdict("I6", FAIL)], ["I1"], FAIL, "broken: I6"),
    ("fail outranks a bad record", [verdict("H1", UNKNOWN), verdict("I1", FAIL)], ["I1"], FAIL, "broken: I1"),
    ("an observation does not count", [H1, I1, verdict("I6", FAIL, promised=False)], ["I1"], PASS, "held"),
    ("a bad record", [verdict("H1", UNKNOWN), I1], ["I1"], UNKNOWN, "H1 name-H1: because"),
    ("named is unknown", [H1, verdict("I1", UNKNOWN)], ["I1"], UNKNOWN, "I1 name-I1: because"),
    ("another is unknown", [H1, I1, verdict("I6", UNKNOWN)], ["I1"], PASS, "held"),
    ("named was not exercised", [H1, verdict("I1", PASS, 0)], ["I1"], UNKNOWN, "not exercised"),
    ("another was not exercised", [H1, I1, verdict("I6", UNKNOWN, 0)], ["I1"], PASS, "held"),
    (
        "named is not promised",
        [H1, verdict("I1", PASS, promised=False)],
        ["I1"],
        UNKNOWN,
        "promises none of the checks",
    ),
    ("one of two is promised", [H1, I1, verdict("I4", UNKNOWN, 0, promised=False)], ["I1", "I4"], PASS, "held: I1"),
    ("no such check", [H1, I1], ["I1", "I99"], UNKNOWN, "there is no check I99"),
    ("no check of the record", [I1], ["I1"], UNKNOWN, "no check of the record"),
    ("judged by nothing", [H1, I1], [], UNKNOWN, "promises none of the checks"),
    ("nobody named any", [H1, I1, verdict("I6", UNKNOWN, 0)], None, PASS, "held: I1"),
    ("nobody named any: one is unknown", [H1, I1, verdict("I6", UNKNOWN)], None, UNKNOWN, "I6 name-I6: because"),
    ("nobody named any: nothing was seen", [H1, verdict("I1", PASS, 0)], None, UNKNOWN, "promises none of the checks"),
    (
        "nobody named any: none is promised",
        [H1, verdict("I1", PASS, promised=False)],
        None,
        UNKNOWN,
        "promises none of the checks",
    ),
]


@pytest.mark.parametrize(
    ("verdicts", "judged_by", "outcome", "words"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
def test_outcome(verdicts: list[Verdict], judged_by: list[str] | None, outcome: Outcome, words: str) -> None:
    """FAIL of anything promised, then doubt about the record or what the story names, then PASS."""
    found, why = outcome_of_run(verdicts, judged_by)
    assert (found, words in why) == (outcome, True), why


def test_what_counts() -> None:
    """By id or by name, if it is promised; the record's own checks always."""
    assert [counts(I1, judged_by) for judged_by in (["I1"], ["name-I1"], ["I2"], [], None)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert counts(H1, [])
    assert not counts(verdict("I1", PASS, promised=False), ["I1"])


def test_exercised() -> None:
    """Nothing examined is not exercised."""
    assert exercised(I1)
    assert not exercised(verdict("I1", UNKNOWN, 0))
