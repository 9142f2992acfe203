"""I41 sync, I42 unique account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from presented import change, login, pause, see, tables

from earwitness.checks import Flag, Kind, Outcome, Place
from earwitness.checks.history.record import FOREIGN, State

ANN, BOB, BOB2, EVE = range(4)
OLD, NEW, NEWER = 5, 6, 7
FAULT = FOREIGN + 1


@pytest.fixture
def history(new_history: Callable[..., Any]) -> Any:
    """Changes arrive within 3 ms."""
    return new_history(sync_bound_s=0.003)


def test_both_databases_agree(history: Any) -> None:
    """Each user and state that both databases show is one opportunity."""
    tables(history, ANN, (1, OLD), (1, OLD))
    tables(history, BOB, (1, OLD), (1, OLD))
    for place in (Place.AUTH_DATABASE, Place.MAIN_DATABASE):
        see(history, ANN, 1, place, state=State.ACTIVE, value=1)
    verdict = history.judge()["I41"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 3)


@pytest.mark.parametrize(
    ("auth", "main", "sentence"),
    [
        ((1, OLD), (0, 0), "ann has an account, but the main database does not know it"),
        ((0, 0), (1, OLD), "the main database has an account of ann that the auth database does not know"),
        ((1, NEW), (1, OLD), "the two databases differ about ann (profile)"),
    ],
)
def test_the_databases_differ(history: Any, auth: tuple[int, int], main: tuple[int, int], sentence: str) -> None:
    """A missing copy, an orphan, other data."""
    login(history, ANN)
    pause(history, 4)
    tables(history, ANN, auth, main)
    verdict = history.judge()["I41"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert history.tell(verdict).sentence == sentence


def test_a_deactivation_that_did_not_arrive(history: Any) -> None:
    """The databases differ about who is active."""
    change(history, ANN, 0, state=State.ACTIVE, value=0)
    pause(history, 4)
    see(history, ANN, 0, Place.AUTH_DATABASE, state=State.ACTIVE, value=0)
    see(history, ANN, 1, Place.MAIN_DATABASE, state=State.ACTIVE, value=1)
    verdict = history.judge()["I41"]
    assert (verdict.outcome, history.tell(verdict).sentence) == (
        Outcome.FAIL, "the two databases differ about ann (active mark)",
    )  # fmt: skip


@pytest.mark.parametrize("status", [200, 0])
def test_they_may_differ_within_the_bound(history: Any, status: int) -> None:
    """What was changed, or may have been, less than the bound before the look is still on its way."""
    change(history, ANN, NEW, status)
    pause(history, 1)
    tables(history, ANN, (1, NEW), (1, OLD))
    assert history.judge()["I41"].examined == 0


def test_the_last_look_counts(history: Any) -> None:
    """That the databases differed while things were moving is no violation."""
    login(history, ANN)
    pause(history, 4)
    tables(history, ANN, (1, NEW), (1, OLD))
    tables(history, ANN, (1, NEW), (1, NEW))
    assert history.judge()["I41"].outcome == Outcome.PASS


def test_nobody_is_in_no_table(history: Any) -> None:
    """Who never signed up has no account anywhere; that proves nothing."""
    tables(history, ANN, (0, 0), (0, 0))
    assert history.judge()["I41"].examined == 0


def test_a_change_arrives(history: Any) -> None:
    """A copy shows the new value when it is asked after the bound."""
    change(history, ANN, NEW)
    pause(history, 4)
    see(history, ANN, NEW)
    verdict = history.judge()["I41"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)


@pytest.mark.parametrize("shown", [OLD, NEW])
def test_a_stale_copy(history: Any, shown: int) -> None:
    """A copy shows what was replaced more than the bound before it was asked: the first value or a later one."""
    change(history, ANN, NEW)
    change(history, ANN, NEWER)
    pause(history, 4)
    see(history, ANN, shown)
    verdict = history.judge()["I41"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert history.tell(verdict).sentence == "the backend showed an old profile of ann, 5 ms after it had been changed"


def test_the_asking_counts(history: Any) -> None:
    """Asked within the bound and answered later: the copy may have looked in time."""
    change(history, ANN, NEW)
    pause(history, 6)
    see(history, ANN, OLD, took_ms=5)
    assert history.judge()["I41"].examined == 0


def test_auth_is_no_copy(history: Any) -> None:
    """The source is not judged by the bound of the sync, and what was pushed was not asked for."""
    change(history, ANN, NEW)
    pause(history, 4)
    see(history, ANN, OLD, Place.AUTH)
    see(history, ANN, OLD, Place.SOCKET, pushed=True)
    assert history.judge()["I41"].examined == 0


@pytest.mark.parametrize(("status", "violations"), [(0, 0), (503, 0), (403, 1)])
def test_a_change_of_unknown_outcome(history: Any, status: int, violations: int) -> None:
    """It may show, at any time; a refused one never."""
    change(history, ANN, NEWER, status)
    change(history, ANN, NEW)
    pause(history, 4)
    see(history, ANN, NEWER)
    assert history.judge()["I41"].violations == violations


def test_two_changes_at_once(history: Any) -> None:
    """Of two that overlapped either may have come last."""
    change(history, ANN, NEW)
    change(history, ANN, NEWER, took_ms=2)
    pause(history, 4)
    see(history, ANN, NEW)
    see(history, ANN, NEWER)
    see(history, ANN, OLD)
    assert history.judge()["I41"].violations == 1


def test_a_fault_gives_time(history: Any) -> None:
    """Something was down when the change was made: the bound begins when it is back."""
    history.add(Kind.FAULT, author=FAULT, flags=int(Flag.OWN))
    change(history, ANN, NEW)
    pause(history, 6)
    history.add(Kind.FAULT, author=FAULT)
    see(history, ANN, OLD)
    assert history.judge()["I41"].examined == 0
    pause(history, 4)
    see(history, ANN, OLD)
    assert history.judge()["I41"].violations == 1


def test_a_fault_that_is_still_on(history: Any) -> None:
    """Without its end nothing is due."""
    history.add(Kind.FAULT, author=FAULT, flags=int(Flag.OWN))
    change(history, ANN, NEW)
    pause(history, 9)
    see(history, ANN, OLD)
    assert history.judge()["I41"].examined == 0


def test_sync_is_not_promised(new_history: Callable[..., Any]) -> None:
    """Without a bound nothing is judged."""
    history = new_history()
    change(history, ANN, NEW)
    pause(history, 9)
    see(history, ANN, OLD)
    verdict = history.judge()["I41"]
    assert (verdict.promised, verdict.examined) == (False, 0)


def test_racing_logins_make_one_account(history: Any) -> None:
    """Bob's two devices log in at once; one row in the database; the verdict says that there was a race."""
    login(history, BOB, took_ms=3)
    login(history, BOB2, took_ms=3)
    login(history, ANN)
    tables(history, BOB, (1, OLD), (1, OLD))
    tables(history, ANN, (1, OLD), (1, OLD))
    verdict = history.judge()["I42"]
    assert (verdict.outcome, verdict.examined, verdict.facts["raced"]) == (Outcome.PASS, 1, 1)


def test_two_accounts(history: Any) -> None:
    """Two rows of one person, however the logins were."""
    login(history, ANN)
    tables(history, ANN, (2, OLD), (2, OLD))
    verdict = history.judge()["I42"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert history.tell(verdict).sentence == "ann has 2 accounts"


def test_two_names(history: Any) -> None:
    """Where nobody can count rows: two logins of one person give two ids."""
    for client, stated in ((BOB, BOB), (BOB2, -2)):
        login(history, client)
        history.add(Kind.IDENTITY, client, counter=int(Place.AUTH), aux=stated)
    verdict = history.judge()["I42"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert history.tell(verdict).sentence == "bob logged in twice and was two different people"


@pytest.mark.parametrize("stated", [BOB, BOB2, ANN])
def test_other_mistakes_about_identity(history: Any, stated: int) -> None:
    """The same user by another device is the same one; taken for somebody else of the run is I15's matter."""
    for client, who in ((BOB, BOB), (BOB2, stated)):
        login(history, client)
        history.add(Kind.IDENTITY, client, counter=int(Place.AUTH), aux=who)
    assert history.judge()["I42"].violations == 0


def test_nothing_was_counted(history: Any) -> None:
    """Two logins whose accounts nobody counted or named prove nothing; nor does a single login."""
    login(history, BOB)
    login(history, BOB2)
    login(history, ANN)
    tables(history, ANN, (1, OLD), (1, OLD))
    assert history.judge()["I42"].examined == 0


def test_failed_logins_do_not_count(history: Any) -> None:
    """A login that was not accepted is none."""
    login(history, BOB)
    login(history, BOB2, status=503)
    tables(history, BOB, (1, OLD), (1, OLD))
    assert history.judge()["I42"].examined == 0


# -- at the same moment -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("looked", ["copy", "databases"])
def test_asked_when_it_was_due(history: Any, looked: str) -> None:
    """Exactly the bound after the change it may still be on its way, to copies and between the databases."""
    change(history, ANN, NEW)
    pause(history, 2)
    if looked == "copy":
        see(history, ANN, OLD)
    else:
        tables(history, ANN, (1, NEW), (1, OLD))
    assert history.judge()["I41"].examined == 0


def test_one_login_after_the_other_is_no_race(history: Any) -> None:
    """The second begins when the first has ended."""
    login(history, BOB)
    login(history, BOB2, took_ms=1)
    tables(history, BOB, (1, OLD), (1, OLD))
    assert history.judge()["I42"].facts["raced"] == 0


def test_named_once_is_not_enough(history: Any) -> None:
    """Of two logins one was named; the first client after all that there are is nobody."""
    login(history, BOB)
    login(history, BOB2)
    for client in (BOB, 4):
        history.add(Kind.IDENTITY, client, counter=int(Place.AUTH), aux=BOB)
    verdict = history.judge()["I42"]
    assert (verdict.examined, "failed" in verdict.why) == (0, False)


def test_quiet_begins_with_drain(history: Any) -> None:
    """Nobody signs up after DRAIN: the bound begins there, not when all was waited for, 1 ms later."""
    history.drained()
    pause(history, 2)
    tables(history, ANN, (1, NEW), (1, OLD))
    assert history.judge()["I41"].violations == 1
