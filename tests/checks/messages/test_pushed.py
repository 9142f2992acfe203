"""Isolation of what is pushed beside messages: agents' answers, presence, state, accounts (I12, I13, I14, I41)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from presented import MS

from earwitness.checks import Flag, Kind, Outcome
from earwitness.checks.history.record import FOREIGN, NONE, Place, State

ANN, BOB, BOB2, EVE = range(4)
RUN = {"author": FOREIGN + 5, "attempt": 1}


def pushed(history: Any, kind: Kind, client: int, t: int = 30, **slots: int) -> Any:
    return history.add(kind, client, **{"conn": client + 1, "conv": 0, "t": t * MS, **slots})


@pytest.mark.parametrize(("about", "violations"), [(ANN, 0), (BOB2, 0), (EVE, 1), (4, 0), (FOREIGN + 3, 0)])
def test_who_is_shown_as_online(new_history: Callable[..., Any], about: int, violations: int) -> None:
    """In a conversation only its members are; of somebody whom no login explains nothing is said."""
    history = pushed(new_history(), Kind.PRESENCE, BOB, author=about, counter=1)
    verdict = history.judge()["I12"]
    assert (verdict.examined, verdict.violations) == (1, violations)
    if violations:
        assert history.tell(verdict).sentence == (
            "bob on tab 1 was shown in room-1 whether eve is online, who is no member of it"
        )


@pytest.mark.parametrize(("client", "conv"), [(4, 0), (BOB, 2)], ids=["device", "conversation"])
def test_a_push_outside_the_roster(new_history: Callable[..., Any], client: int, conv: int) -> None:
    """Of the first number after all that there are nobody knows who belongs where."""
    verdict = pushed(new_history(), Kind.RUN, client, conv=conv, **RUN).judge()["I12"]
    assert (verdict.examined, verdict.why) == (0, "nothing was examined")


@pytest.mark.parametrize(("client", "violations"), [(BOB, 0), (EVE, 1)])
def test_the_name_of_a_conversation(new_history: Callable[..., Any], client: int, violations: int) -> None:
    """What a conversation is called is told to its members only."""
    history = pushed(new_history(), Kind.SEEN, client, proc=int(State.TITLE), digest=7, seq=NONE)
    verdict = history.judge()["I12"]
    assert (verdict.examined, verdict.violations) == (1, violations)
    if violations:
        assert history.tell(verdict).sentence == (
            "eve was shown an edit, a read mark or the name of room-1 without being a member"
        )


def kicked(new_history: Callable[..., Any], **promises: Any) -> Any:
    """Bob's membership is lost at 10 ms."""
    return new_history(**{"delivery_bound_s": 0.005, **promises}).join(BOB, t=MS).add(Kind.KICK, BOB, conv=0, t=10 * MS)


@pytest.mark.parametrize(
    "what",
    [
        (Kind.RUN, RUN),
        (Kind.PRESENCE, {"author": ANN, "counter": 1}),
        (Kind.SEEN, {"author": ANN, "counter": 1, "proc": int(State.EDIT), "seq": NONE}),
        (Kind.SEEN, {"proc": int(State.TITLE), "digest": 7, "seq": NONE}),
    ],
    ids=["agent", "presence", "edit", "name"],
)
@pytest.mark.parametrize(("t", "violations"), [(15, 0), (16, 1)])
def test_told_after_a_removal(
    new_history: Callable[..., Any], what: tuple[Kind, dict[str, int]], t: int, violations: int
) -> None:
    """What comes later than the promised bound after it was sent after it."""
    kind, slots = what
    history = pushed(kicked(new_history), kind, BOB, t, **slots)
    verdict = history.judge()["I13"]
    assert verdict.violations == violations
    if violations:
        assert history.tell(verdict).sentence == (
            "bob on tab 1 had lost the membership of room-1, and was then sent other events of it"
        )


@pytest.mark.parametrize(
    ("more", "promises"),
    [
        (lambda h: h.join(BOB, t=12 * MS), {}),
        (lambda h: h.add(Kind.FAULT, flags=int(Flag.OWN), t=12 * MS), {}),
        (lambda h: h, {"delivery_bound_s": None}),
        (lambda h: setattr(h, "torn", {0}) or h, {}),
    ],
    ids=["taken in again", "fault", "no bound", "torn"],
)
def test_what_may_still_be_told(
    new_history: Callable[..., Any], more: Callable[[Any], Any], promises: dict[str, Any]
) -> None:
    """Without a bound nobody knows when it was sent."""
    assert pushed(more(kicked(new_history, **promises)), Kind.RUN, BOB, **RUN).judge()["I13"].violations == 0


def test_taken_in_again_at_the_moment_of_the_push(new_history: Callable[..., Any]) -> None:
    """The device was a member again; a nanosecond later it was not yet."""
    for later_ns, violations in ((0, 0), (1, 1)):
        history = kicked(new_history).join(BOB, t=30 * MS + later_ns)
        assert pushed(history, Kind.RUN, BOB, 30, **RUN).judge()["I13"].violations == violations


def test_what_the_device_itself_reads(new_history: Callable[..., Any]) -> None:
    """Without a connection it was no push: the device had asked by HTTP."""
    read = {"proc": int(State.TITLE), "digest": 7, "seq": 20 * MS, "conn": 0}
    verdict = pushed(kicked(new_history), Kind.SEEN, BOB, **read).judge()["I13"]
    assert (verdict.examined, verdict.violations) == (0, 0)


def profile(history: Any, client: int, of: int, digest: int = 7, **slots: int) -> Any:
    about = {"author": of, "proc": int(State.PROFILE), "attempt": int(Place.SOCKET), "digest": digest, "seq": NONE}
    return history.add(Kind.SEEN, client, **{"conn": client + 1, **about, **slots})


@pytest.mark.parametrize(
    ("client", "of", "slots", "examined", "violations"),
    [
        (BOB, BOB, {}, 1, 0),
        (BOB2, BOB, {}, 1, 0),
        (BOB, ANN, {}, 1, 1),
        (BOB, ANN, {"conn": 0, "seq": 5}, 0, 0),
        (BOB, ANN, {"proc": int(State.EDIT), "counter": 1}, 0, 0),
        (BOB, FOREIGN + 1, {}, 0, 0),
        (BOB, 4, {}, 0, 0),
        (4, BOB, {}, 0, 0),
    ],
    ids=["own", "own on another tab", "another's", "asked for", "an edit", "unknown", "no user", "no device"],
)
def test_news_of_an_account(
    new_history: Callable[..., Any], client: int, of: int, slots: dict[str, int], examined: int, violations: int
) -> None:
    """What is pushed of an account goes to its own person."""
    history = profile(new_history(), client, of, **slots)
    verdict = history.judge()["I14"]
    assert (verdict.examined, verdict.violations) == (examined, violations)
    assert verdict.why == ("" if examined else "nothing was examined")
    if violations:
        assert history.tell(verdict).sentence == "bob on tab 1 was sent what the account of ann shows"


def test_news_are_a_promise_without_acknowledgements(new_history: Callable[..., Any]) -> None:
    """Who tells news of accounts promises to tell them to the right one."""
    for promises, outcome in (({}, False), ({"account_news_s": 1.0}, True)):
        verdict = profile(new_history(acknowledges=False, **promises), BOB, ANN).judge()["I14"]
        assert (verdict.violations, verdict.promised) == (1, outcome)


@pytest.mark.parametrize(
    ("shows", "violations"),
    [([7], 0), ([7, 8], 0), ([6, 8], 0), ([6, 6], 0), ([6, 5], 1), ([7, 6, 5, 5, 8], 2)],
    ids=["asked for", "changed", "its first value", "… twice", "never had", "several"],
)
def test_a_value_that_the_account_never_had(new_history: Callable[..., Any], shows: list[int], violations: int) -> None:
    """What was accepted or seen elsewhere is known; one value may be the first, which nothing else tells."""
    history = new_history(sync_bound_s=1.0, account_news_s=1.0)
    profile(history, BOB, BOB, 7, conn=0, seq=1, attempt=int(Place.BACKEND))
    about = {"author": BOB, "proc": int(State.PROFILE), "attempt": int(Place.AUTH), "seq": MS}
    history.add(Kind.WRITE, BOB, digest=8, flags=int(Flag.ACCEPTED), **about)
    for digest in shows:
        profile(history, BOB, BOB, digest)
    verdict = history.judge()["I41"]
    assert verdict.violations == violations
    assert (verdict.outcome is Outcome.FAIL) == bool(violations)
    if violations:
        assert history.tell(verdict).sentence == "bob on tab 1 received a value of the own account that it never had"
