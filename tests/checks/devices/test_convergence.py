"""I22 convergence of devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from presented import MS, now, pause
from shared import edit, read_up_to, shown_mark, shown_text

from earwitness.checks import Flag, Kind, Outcome
from earwitness.checks.history.record import FOREIGN, NOBODY

ANN, BOB, BOB2, EVE = range(4)
OLD, NEW, NEWER = 5, 6, 7


@pytest.fixture
def history(new_history: Callable[..., Any]) -> Any:
    """What is changed shows on all devices within 4 ms."""
    return new_history(shared_state_s=0.004)


def both_there(history: Any) -> None:
    """Both of Bob's devices follow marks and edits."""
    for client in (BOB, BOB2):
        shown_mark(history, client, 1)
        shown_text(history, client, OLD, of=(ANN, 7))


def test_devices_agree(history: Any) -> None:
    """A mark and two edits, shown by both devices of one person."""
    both_there(history)
    for client in (BOB2, BOB):
        shown_mark(history, client, 4)
        shown_text(history, client, NEW)
    pause(history, 5)
    verdict = history.drained().judge()["I22"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 3)


def test_a_device_missed_a_mark(history: Any) -> None:
    """One device shows a lower mark than the other."""
    both_there(history)
    read_up_to(history, BOB, 4)
    shown_mark(history, BOB, 4)
    pause(history, 5)
    verdict = history.drained().judge()["I22"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert history.tell(verdict).sentence == (
        "bob on tab 2 shows room-1 as read up to number 1, bob on tab 1 up to number 4"
    )


def test_a_device_missed_an_edit(history: Any) -> None:
    """One device was never told of it."""
    both_there(history)
    edit(history, BOB, NEW)
    shown_text(history, BOB2, NEW)
    pause(history, 5)
    verdict = history.drained().judge()["I22"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert history.tell(verdict).sentence == (
        "bob on tab 1 was never shown an edit of #1 of bob that bob on tab 2 shows"
    )


def test_no_device_was_told_of_a_mark(history: Any) -> None:
    """They agree about a mark that is lower than an accepted one."""
    both_there(history)
    read_up_to(history, BOB2, 4)
    pause(history, 5)
    verdict = history.drained().judge()["I22"]
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.FAIL, 2, 1)
    assert history.tell(verdict).sentence == (
        "all devices of bob show room-1 as read up to number 1, after number 4 had been accepted from bob on tab 2"
    )


@pytest.mark.parametrize(("status", "took_ms", "violations"), [(200, 0, 1), (0, 0, 0), (403, 0, 0), (200, 30, 0)])
def test_no_device_was_told_of_an_edit(history: Any, status: int, took_ms: int, violations: int) -> None:
    """They agree about a text that an accepted one has replaced; not if that may have come before it."""
    both_there(history)
    edit(history, BOB, NEW)
    for client in (BOB, BOB2):
        shown_text(history, client, NEW)
    edit(history, BOB, NEWER, status, took_ms=took_ms)
    pause(history, 5)
    verdict = history.drained().judge()["I22"]
    assert (verdict.examined, verdict.violations) == (3, violations)
    if violations:
        assert history.tell(verdict).sentence == (
            "all devices of bob show an old text of #1 of bob, after a later one had been accepted"
        )


def test_two_texts_under_one_version(history: Any) -> None:
    """Devices show two texts as the same version of a message."""
    both_there(history)
    shown_text(history, BOB, NEW, 3)
    shown_text(history, BOB2, NEWER, 3)
    pause(history, 5)
    assert history.drained().judge()["I22"].violations == 1


def test_the_highest_counts_not_the_last(history: Any) -> None:
    """An answer that was overtaken by news does not take a device back."""
    both_there(history)
    for client, texts in ((BOB, ((NEW, 2), (NEWER, 3))), (BOB2, ((NEWER, 3), (NEW, 2)))):
        for text, version in texts:
            shown_text(history, client, text, version)
    pause(history, 5)
    assert history.drained().judge()["I22"].outcome == Outcome.PASS


@pytest.mark.parametrize("status", [200, 0])
def test_a_change_just_before_the_end_is_on_its_way(history: Any, status: int) -> None:
    """Accepted, or perhaps done, less than the bound before all was waited for."""
    both_there(history)
    pause(history, 5)
    read_up_to(history, BOB, 4, status)
    shown_mark(history, BOB, 4)
    verdict = history.drained().judge()["I22"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)


@pytest.mark.parametrize(("ms", "outcome"), [(0, Outcome.PASS), (1, Outcome.FAIL)])
def test_a_change_as_old_as_the_bound_has_arrived(history: Any, ms: int, outcome: Outcome) -> None:
    """Exactly 4 ms before the end it must show, 3 ms before it need not."""
    both_there(history)
    pause(history, 5)
    read_up_to(history, BOB, 4)
    shown_mark(history, BOB, 4)
    pause(history, ms)
    assert history.drained().judge()["I22"].outcome == outcome


@pytest.mark.parametrize(("ms", "examined"), [(0, 0), (1, 2)])
def test_a_device_takes_part_from_the_bound_on(history: Any, ms: int, examined: int) -> None:
    """Shown something for the first time exactly 4 ms before the end it counts, 3 ms before it does not."""
    both_there(history)
    pause(history, ms)
    assert history.drained().judge()["I22"].examined == examined


def test_a_fault_gives_time(history: Any) -> None:
    """Something was down less than the bound before the end."""
    both_there(history)
    history.add(Kind.FAULT, author=FOREIGN, flags=int(Flag.OWN))
    read_up_to(history, BOB, 4)
    shown_mark(history, BOB, 4)
    pause(history, 5)
    history.add(Kind.FAULT, author=FOREIGN)
    assert history.drained().judge()["I22"].examined == 1


def test_each_journal_has_its_own_names_of_faults(history: Any) -> None:
    """Two faults with one number in two journals: the end of one is not the other's."""
    both_there(history)
    history.add(Kind.FAULT, journal=1, author=FOREIGN, flags=int(Flag.OWN))
    history.add(Kind.FAULT, author=FOREIGN, flags=int(Flag.OWN))
    read_up_to(history, BOB, 4)
    shown_mark(history, BOB, 4)
    history.add(Kind.FAULT, journal=1, author=FOREIGN)
    pause(history, 5)
    history.add(Kind.FAULT, author=FOREIGN)
    assert history.drained().judge()["I22"].violations == 0


def test_what_nobody_is_known_to_have_changed_counts_from_when_it_was_shown(history: Any) -> None:
    """A platform may move read marks by itself: less than the bound before the end that is on its way too."""
    both_there(history)
    pause(history, 5)
    shown_mark(history, BOB, 4)
    early = len(history.told)
    verdict = history.drained().judge()["I22"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)
    del history.told[early:]
    pause(history, 5)
    assert history.drained().judge()["I22"].violations == 1


@pytest.mark.parametrize("kind", [Kind.KICK, Kind.LEAVE])
def test_who_is_no_member_any_more_is_not_compared(history: Any, kind: Kind) -> None:
    """A device that was away until its person was put out never learns what was edited there before."""
    both_there(history)
    history.cut(BOB2)
    edit(history, ANN, NEW)
    shown_text(history, BOB, NEW)
    history.add(kind, BOB, conv=0)
    for client, conn in ((BOB, BOB + 1), (BOB2, 9)):
        shown_text(history, client, OLD, of=(EVE, 2), conv=1, conn=conn)
    pause(history, 5)
    verdict = history.drained().judge()["I22"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)


def test_a_stranger_who_is_no_member_any_more(history: Any) -> None:
    """Someone with the number above the roster's last was put out: the devices of the others are compared as ever."""
    both_there(history)
    history.add(Kind.KICK, len(history.roster.user_of), conv=0)
    pause(history, 5)
    verdict = history.drained().judge()["I22"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 2)


@pytest.mark.parametrize("way", ["lost", "late", "no end"])
def test_who_is_not_there_at_the_end_is_not_compared(history: Any, way: str) -> None:
    """A device that lost its connection, or came just before the end; a run whose end is not on record."""
    both_there(history)
    shown_mark(history, BOB, 4)
    pause(history, 5)
    if way != "no end":
        history.cut(BOB2)
    if way == "late":
        shown_mark(history, BOB2, 1, conn=9)
    if way != "no end":
        history.drained()
    verdict = history.judge()["I22"]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0)


def test_who_closes_after_the_end_was_there(history: Any) -> None:
    """The tester closes its connections when all has been waited for."""
    both_there(history)
    shown_mark(history, BOB, 4)
    pause(history, 5)
    history.drained().cut(BOB2, own=True)
    assert history.judge()["I22"].outcome == Outcome.FAIL


def test_a_device_that_is_shown_no_marks_at_all_has_none(history: Any) -> None:
    """A client that does not show read marks need not agree about them."""
    for client in (BOB, BOB2):
        shown_text(history, client, OLD)
    shown_mark(history, BOB, 4)
    pause(history, 5)
    verdict = history.drained().judge()["I22"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)


@pytest.mark.parametrize(("before_ns", "outcome"), [(0, Outcome.FAIL), (1, Outcome.UNKNOWN)])
def test_who_closes_at_the_end_was_there(history: Any, before_ns: int, outcome: Outcome) -> None:
    """Disconnected at the very nanosecond at which all has been waited for, or one before it."""
    both_there(history)
    shown_mark(history, BOB, 4)
    pause(history, 5)
    history.cut(BOB2, t=now(history) + 2 * MS - before_ns).drained()
    assert history.judge()["I22"].outcome == outcome


def test_all_show_the_mark_that_was_accepted(history: Any) -> None:
    """It is not older than itself."""
    both_there(history)
    read_up_to(history, BOB, 4)
    for client in (BOB, BOB2):
        shown_mark(history, client, 4)
    pause(history, 5)
    verdict = history.drained().judge()["I22"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 2)


def test_the_first_person_too(history: Any) -> None:
    """Ann has two devices here, which differ."""
    history.roster = replace(history.roster, user_of=(0, 0, 1, 2))
    for client, seq in ((0, 4), (1, 5)):
        shown_mark(history, client, seq)
    pause(history, 5)
    assert history.drained().judge()["I22"].violations == 1


def test_people_need_not_agree_about_their_marks(history: Any) -> None:
    """Marks are each person's own; what the collector sees is no device's."""
    both_there(history)
    shown_mark(history, ANN, 9)
    shown_mark(history, NOBODY, 9, author=BOB)
    pause(history, 5)
    assert history.drained().judge()["I22"].outcome == Outcome.PASS
