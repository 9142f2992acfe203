"""H6: the roster is the tester's own word, and nobody changed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from earwitness.checks import Batch, Judge, Outcome, Roster, Verdict
from earwitness.checks.roster import Origin
from earwitness.checks.tester.truth import difference

ANN, BOB, BOB2, EVE = range(4)


def told(
    history: Any, origin: str | None = Origin.PLAN, planned: Roster | None = None, meta: Any = None, **facts: Any
) -> Verdict:
    """H6 of a history whose roster the plan gives again, and whose journals were recorded by it."""
    roster: Roster = history.roster
    stated = {"roster": roster.digest()} if meta is None else meta
    infos = [replace(info, meta={**info.meta, **stated}) for info in history.infos()]
    judge = Judge(roster, history.contract)
    for journal, records in history.arrays().items():
        judge.step(Batch(journal, records))
    known = {"roster_origin": origin, "roster_planned": planned or roster}
    return next(v for v in judge.finish(infos, {**known, **facts}) if v.id == "H6")


@pytest.fixture
def h6(healthy_history: Callable[..., Any]) -> Callable[..., Verdict]:
    """H6 of the healthy history, with what differs from a good run."""
    return lambda **change: told(healthy_history(), **change)


def test_a_roster_that_the_plan_gives_again(h6: Callable[..., Verdict]) -> None:
    """Made from the plan, or by the target's owner, or stated before the first record: that is the tester's word."""
    for origin in (Origin.PLAN, Origin.TARGET, Origin.STATED):
        verdict = h6(origin=origin, identities=[(ANN, "id-a"), (BOB, "id-b"), (BOB2, "id-b")])
        assert (verdict.outcome, verdict.why) == (Outcome.PASS, "")
        assert verdict.examined == 4 + 4 + 3  # devices, memberships, identities
        assert verdict.facts["origin"] == origin
    assert h6(origin=Origin.STATED, meta={}).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"origin": None}, "does not state where"),
        ({"origin": Origin.JOINED}, "those who joined"),
        ({"origin": Origin.LATE}, "after records had been written"),
        ({"origin": "the server"}, "no origin of a roster"),
        ({"roster_planned": None}, "cannot be made again"),
        ({"meta": {}}, "no journal states by which roster"),
        ({"meta": {"roster": "0" * 64}}, "journal j0 was recorded by another roster"),
        ({"origin": Origin.STATED, "meta": {"roster": "0" * 64}}, "recorded by another roster"),
        ({"identities": [(ANN, "one"), (BOB2, "one")]}, "given to more than one user (ann and bob)"),
    ],
)
def test_a_roster_that_is_nobodys_word(h6: Callable[..., Verdict], change: dict[str, Any], words: str) -> None:
    """Each doubt alone makes H6 UNKNOWN, in words; it is never FAIL, because the tester is at fault."""
    verdict = h6(**change)
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)
    assert words in verdict.why


def test_a_member_that_only_the_server_knows(h6: Callable[..., Verdict], healthy_history: Callable[..., Any]) -> None:
    """A roster read from the server hides a leak: the first difference from the plan is named."""
    roster: Roster = healthy_history().roster
    planned = replace(roster, conversations=((0, 1), (2,)))
    assert "ann was not to be a member of room-2" in h6(planned=planned).why
    assert "eve was to be a member of room-1" in h6(planned=replace(roster, conversations=((0, 1, 2), (0, 2)))).why


def test_every_difference_has_words(healthy_history: Callable[..., Any]) -> None:
    """Devices, conversations, members and names: whatever decides who belongs where is compared and digested."""
    roster: Roster = healthy_history().roster
    others = [
        (replace(roster, user_of=(0, 1, 0, 2)), "4 devices were planned"),
        (replace(roster, conversations=((0, 1),)), "2 conversations were planned, it has 1"),
        (replace(roster, conversation_names=("room-2", "room-1")), "'room-1' is called 'room-2'"),
        (replace(roster, user_names=("ann", "bob")), "'eve' is called ''"),
    ]
    assert difference(roster, roster) == ""
    for other, words in others:
        assert words in difference(roster, other)
        assert other.digest() != roster.digest()
    assert replace(roster, extra={"people": []}).digest() == roster.digest()
    assert Roster.from_dict(roster.to_dict()).digest() == roster.digest()
