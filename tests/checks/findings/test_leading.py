"""Which broken check leads, and which show the same defect."""

from __future__ import annotations

from dataclasses import replace

from earwitness.checks import ALL, Finding, Outcome, Verdict
from earwitness.checks.findings.leading import ORDER, explained


def broken(id: str, *about: dict[str, int], promised: bool = True) -> Verdict:
    findings = tuple(Finding(what="x", facts=facts) for facts in about)
    return Verdict(
        id=id, name="n", outcome=Outcome.FAIL, examined=9, violations=len(about), findings=findings, promised=promised
    )


HERE, THERE = {"client": 1, "conv": 0}, {"client": 2, "conv": 0}


def test_the_order_is_from_specific_to_general() -> None:
    """Resuming before gaps, gaps before what never came; each check stands in one line, and exists."""
    assert ORDER[0] == ("I19", "I20", "I4", "I5b", "I25", "I47")
    named = [id for line in ORDER for id in line]
    assert len(named) == len(set(named))
    assert set(named) <= {check.id for check in ALL}


def test_a_resume_explains_gaps_and_losses() -> None:
    """All of them name the one that leads, whatever their order in the verdict."""
    verdicts = [broken("I4", HERE), broken("I5b", HERE), broken("I20", HERE), broken("I47", HERE)]
    assert explained(verdicts) == {"I4": "I20", "I5b": "I20", "I47": "I20"}


def test_other_devices_are_another_defect() -> None:
    """Half of the findings must be about the same; what is about others leads itself."""
    assert explained([broken("I4", HERE), broken("I5b", THERE)]) == {}
    assert explained([broken("I4", HERE), broken("I5b", HERE, THERE)]) == {"I5b": "I4"}
    assert explained([broken("I4", HERE), broken("I5b", HERE, THERE, THERE)]) == {}


def test_the_same_message_is_the_same_defect() -> None:
    """Edits of a message are not about a conversation."""
    edit = {"author": 3, "counter": 5}
    assert explained([broken("I22", {**edit, "client": 1}), broken("I18", edit)]) == {"I22": "I18"}


def test_what_was_not_promised_or_held_explains_nothing() -> None:
    """Only a broken promise leads."""
    assert explained([broken("I4", HERE, promised=False), broken("I5b", HERE)]) == {}
    assert explained([replace(broken("I4", HERE), outcome=Outcome.PASS), broken("I5b", HERE)]) == {}


def test_every_check_says_what_it_counts() -> None:
    """A unit in the plural, and what users notice; the tester's own checks have no users."""
    for check in ALL:
        assert check.unit, check.id  # type: ignore[attr-defined]
        assert bool(check.symptom) == check.id.startswith("I"), check.id  # type: ignore[attr-defined]
