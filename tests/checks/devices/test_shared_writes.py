"""I18 monotonic writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from presented import MS, now
from shared import edit, read_up_to, shown_mark, shown_text

from earwitness.checks import Batch, Outcome
from earwitness.checks.history.record import NONE
from earwitness.checks.judge import Judge

ANN, BOB, BOB2, EVE = range(4)
OLD, NEW, NEWER = 5, 6, 7


@pytest.fixture
def history(new_history: Callable[..., Any]) -> Any:
    """What is changed shows on all devices within 4 ms."""
    return new_history(shared_state_s=0.004)


def test_an_edit_is_shown_to_who_asks(history: Any) -> None:
    """The last text of one device, whoever asks for it."""
    edit(history, BOB, OLD)
    edit(history, BOB, NEW)
    shown_text(history, BOB, NEW, asked_ms=0)
    shown_text(history, ANN, NEW, asked_ms=0)
    verdict = history.judge()["I18"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 2)


@pytest.mark.parametrize(("first", "second"), [(BOB, BOB), (BOB, BOB2)])
def test_an_edit_is_undone(history: Any, first: int, second: int) -> None:
    """The text of before is shown after the later one had been accepted: of the same device, or of another."""
    edit(history, first, OLD)
    edit(history, second, NEW)
    shown_text(history, ANN, OLD, asked_ms=0)
    verdict = history.judge()["I18"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    told = history.tell(verdict)
    assert told.sentence == ("the backend showed ann an old text of #1 of bob, after a later one had been accepted")
    assert len(told.lines) == 2


def test_the_first_text_again(history: Any) -> None:
    """A text that was never written by an edit cannot be shown after one."""
    edit(history, BOB, NEW)
    shown_text(history, ANN, OLD, asked_ms=0)
    assert history.judge()["I18"].outcome == Outcome.FAIL


@pytest.mark.parametrize("shown", [OLD, NEW])
def test_of_two_edits_at_once_either_may_be_the_last(history: Any, shown: int) -> None:
    """The second was sent before the first was answered."""
    edit(history, BOB, OLD)
    edit(history, BOB2, NEW, took_ms=2)
    shown_text(history, ANN, shown, asked_ms=0)
    assert history.judge()["I18"].outcome == Outcome.PASS


@pytest.mark.parametrize(("status", "outcome"), [(0, Outcome.PASS), (503, Outcome.PASS), (403, Outcome.FAIL)])
def test_an_edit_of_unknown_outcome(history: Any, status: int, outcome: Outcome) -> None:
    """Without answer it may show, at any time; a refused one never."""
    edit(history, BOB2, OLD, status)
    edit(history, BOB, NEW)
    shown_text(history, ANN, OLD, asked_ms=0)
    assert history.judge()["I18"].outcome == outcome


@pytest.mark.parametrize(("later_ns", "violations"), [(0, 1), (1, 0)])
def test_a_text_at_the_moment_in_which_its_edit_is_sent(history: Any, later_ns: int, violations: int) -> None:
    """Shown when its edit is only being sent, it is another one's; shown a nanosecond later it may be this one's."""
    edit(history, BOB, NEW)
    shown_text(history, ANN, OLD, asked_ms=0, t=now(history) + MS + later_ns)
    edit(history, BOB2, OLD)
    assert history.judge()["I18"].violations == violations


@pytest.mark.parametrize(("whose", "examined"), [(EVE, 1), (EVE + 1, 0)])
def test_marks_of_the_roster_alone(history: Any, whose: int, examined: int) -> None:
    """The last device of the roster has a user; one with the number above it has none, and is not judged."""
    read_up_to(history, whose, 9)
    shown_mark(history, whose, 9, asked_ms=0)
    verdict = history.judge()["I18"]
    assert (verdict.examined, verdict.why) == (examined, "" if examined else "nothing was examined")


def test_the_asking_counts_not_the_answer(history: Any) -> None:
    """Asked before the edit was accepted: the answer may have been made before it."""
    edit(history, BOB, NEW)
    shown_text(history, ANN, OLD, asked_ms=2)
    assert history.judge()["I18"].examined == 0


def test_asked_at_the_moment_of_the_answer(history: Any) -> None:
    """Whoever asks at the nanosecond at which a change was accepted may have asked before it."""
    read_up_to(history, BOB, 9)
    shown_mark(history, BOB, 4, asked_ms=1)
    assert history.judge()["I18"].examined == 0


def test_a_mark_that_went_back(history: Any) -> None:
    """A read mark is shown lower than one that was accepted before."""
    read_up_to(history, BOB, 9)
    read_up_to(history, BOB2, 4)
    shown_mark(history, BOB, 9, asked_ms=0)
    shown_mark(history, BOB, 12, asked_ms=0)
    shown_mark(history, BOB2, 4, asked_ms=0)
    verdict = history.judge()["I18"]
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.FAIL, 3, 1)
    assert history.tell(verdict).sentence == (
        "the backend showed bob on tab 2 that room-1 is read up to number 4, after number 9 had been accepted from bob"
    )


def test_a_mark_in_another_conversation_is_another(history: Any) -> None:
    """Each conversation and each user has a mark of its own."""
    read_up_to(history, BOB, 9)
    shown_mark(history, BOB, 4, asked_ms=0, conv=1)
    shown_mark(history, ANN, 4, asked_ms=0)
    assert history.judge()["I18"].examined == 0


def test_what_is_pushed_is_not_judged_as_an_answer(history: Any) -> None:
    """News may come later than the next change."""
    read_up_to(history, BOB, 9)
    shown_mark(history, BOB, 4)
    assert history.judge()["I18"].examined == 0


def test_an_edit_that_is_not_answered_yet(history: Any) -> None:
    """A text that others are shown before its edit is answered is no violation so far."""
    edit(history, BOB, OLD)
    shown_text(history, ANN, NEW, asked_ms=0)
    judge = Judge(history.roster, history.contract)
    judge.step(Batch(0, history.arrays()[0]))
    assert {verdict.id: verdict for verdict in judge.peek()}["I18"].violations == 0
    edit(history, BOB2, NEW, took_ms=2)
    assert history.judge()["I18"].outcome == Outcome.PASS


@pytest.mark.parametrize("how", ["torn", "missing"])
def test_an_edit_whose_answer_nobody_could_write_down(history: Any, how: str) -> None:
    """The process of the device that made it has died; a text that is on record and was replaced is wrong all the
    same."""
    edit(history, BOB, OLD, journal=1)
    edit(history, BOB, NEW, journal=1)
    shown_text(history, ANN, NEWER, asked_ms=0)
    if how == "torn":
        history.torn = {1}
    else:
        history.facts["journals_expected"] = 3
    assert history.judge()["I18"].examined == 0
    shown_text(history, ANN, OLD, asked_ms=0)
    assert history.judge()["I18"].violations == 1


def test_without_a_promise_it_is_an_observation(new_history: Callable[..., Any]) -> None:
    """A platform that promises nothing about it does not fail."""
    history = new_history()
    read_up_to(history, BOB, 9)
    shown_mark(history, BOB, 4, asked_ms=0)
    verdicts = history.judge()
    assert not verdicts["I18"].promised
    assert not verdicts["I22"].promised
    assert verdicts["I22"].examined == 0


@pytest.mark.parametrize(
    ("texts", "versions", "statuses", "violations"),
    [
        ((5, 6), (2, 3), (200, 200), 0),
        ((5, 6), (2, 2), (200, 200), 1),
        ((5, 5), (2, 2), (200, 200), 0),
        ((5, 6), (2, 2), (200, 409), 0),
        ((5, 6), (NONE, NONE), (200, 200), 0),
    ],
    ids=["one after the other", "the same", "the same text", "refused", "no versions"],
)
def test_no_two_edits_are_one_version(
    new_history: Callable[..., Any], texts: Any, versions: Any, statuses: Any, violations: int
) -> None:
    """An edit that was accepted in spite of another one has undone it."""
    history = new_history(shared_state_s=0.0)
    for client, text, version, status in zip((BOB, BOB2), texts, versions, statuses, strict=True):
        edit(history, client, text, status, version=version)
    verdict = history.judge()["I18"]
    assert verdict.violations == violations
    if violations:
        assert history.tell(verdict).sentence == (
            "bob on tab 2 had an edit of #1 of bob accepted as version 2, which an edit of bob on tab 1 had been before"
        )


@pytest.mark.parametrize(
    ("base", "version", "status", "violations"),
    [(1, 2, 200, 0), (2, 4, 200, 1), (3, 4, 200, 0), (2, 4, 409, 0), (2, 4, 0, 0), (0, 4, 200, 0), (2, NONE, 200, 0)],
    ids="the-first overwrites of-the-newest refused no-answer of-any no-version".split(),
)
def test_an_edit_of_a_version_that_was_replaced(
    new_history: Callable[..., Any], base: int, version: int, status: int, violations: int
) -> None:
    """Who edits a version and no other is refused once another edit of it was accepted, wherever it was recorded."""
    history = new_history(shared_state_s=0.0)
    edit(history, BOB, 7, version=3, took_ms=1)
    edit(history, BOB2, 8, status, version=version, conn=base)
    verdict = history.judge()["I18"]
    assert verdict.violations == violations
    if violations:
        told = history.tell(verdict)
        assert told.sentence == (
            "bob on tab 2 had an edit of version 2 of #1 of bob accepted, although version 3 had replaced it"
        )
