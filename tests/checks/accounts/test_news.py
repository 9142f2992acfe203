"""I41 sync: what open sockets are told of a changed account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from presented import change, pause, see

from earwitness.checks import Flag, Kind, Outcome, Place
from earwitness.checks.history.record import FOREIGN, State

ANN, BOB, BOB2, EVE = range(4)
OLD, NEW, NEWER = 5, 6, 7
FAULT = FOREIGN + 1


def open_socket(history: Any, conn: int, client: int = ANN, kind: Kind = Kind.CONNECT) -> None:
    history.add(kind, client, conn=conn)


def told(history: Any, digest: int, conn: int = 1, of: int = ANN) -> None:
    see(history, of, digest, Place.SOCKET, pushed=True, client=of, conn=conn)


@pytest.fixture
def news(new_history: Callable[..., Any]) -> Any:
    """Changes are told on open sockets within 3 ms."""
    return new_history(sync_bound_s=0.003, account_news_s=0.003)


def test_an_open_socket_is_told(news: Any) -> None:
    """Each socket that was open from before the change until it was due is one opportunity."""
    for conn in (1, 2):
        open_socket(news, conn)
    change(news, ANN, NEW)
    told(news, NEW, 2)
    pause(news, 4)
    for conn in (1, 2):
        open_socket(news, conn, kind=Kind.DISCONNECT)
    verdict = news.judge()["I41"]
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.FAIL, 2, 1)
    assert verdict.facts == {"news": 2}
    assert verdict.findings[0].records == ((0, 1), (0, 3))
    assert news.tell(verdict).sentence == (
        "ann changed the profile, and an open connection of theirs did not receive it within 3 ms"
    )


@pytest.mark.parametrize(
    ("shown", "before_ms", "violations"), [(NEW, 0, 0), (NEWER, 0, 0), (OLD, 0, 1), (NEW, 2, 0), (NEW, 3, 1)]
)
def test_what_a_socket_is_told(news: Any, shown: int, before_ms: int, violations: int) -> None:
    """This value or a later one, in time; not the one that was replaced."""
    change(news, ANN, OLD)
    open_socket(news, 1)
    change(news, ANN, NEW)
    pause(news, before_ms)
    told(news, shown)
    change(news, ANN, NEWER)
    pause(news, 2)
    open_socket(news, 1, kind=Kind.DISCONNECT)
    verdict = news.judge()["I41"]
    assert (verdict.examined, verdict.violations) == (1, violations)


def test_news_are_counted_apart_from_what_else_is_looked_at(news: Any) -> None:
    """A verdict says whether it looked at any."""
    change(news, ANN, NEW)
    pause(news, 4)
    see(news, ANN, NEW)
    verdict = news.judge()["I41"]
    assert (verdict.examined, verdict.facts) == (1, {"news": 0})


def test_news_before_the_answer(news: Any) -> None:
    """What is told before the change is answered, but not before it is sent, is told."""
    open_socket(news, 1)
    told(news, NEW)
    told(news, NEW)
    change(news, ANN, NEW, took_ms=1)
    pause(news, 4)
    open_socket(news, 1, kind=Kind.DISCONNECT)
    assert news.judge()["I41"].violations == 0


@pytest.mark.parametrize(("took_ms", "examined"), [(1, 1), (2, 0)])
def test_a_socket_that_opened_when_the_change_was_sent(news: Any, took_ms: int, examined: int) -> None:
    """At the same moment it is owed the news; a moment later it may have been opened with them."""
    open_socket(news, 1)
    change(news, ANN, NEW, took_ms=took_ms)
    pause(news, 4)
    open_socket(news, 1, kind=Kind.DISCONNECT)
    assert news.judge()["I41"].examined == examined


def test_news_of_before_are_none_of_it(news: Any) -> None:
    """The same value, told before the change was sent, is another change's."""
    open_socket(news, 1)
    told(news, NEW)
    change(news, ANN, NEW)
    pause(news, 4)
    open_socket(news, 1, kind=Kind.DISCONNECT)
    assert news.judge()["I41"].violations == 1


def test_sockets_that_are_owed_nothing(news: Any) -> None:
    """Opened after the change was sent, ended before it was due, still open, somebody else's; told of another state."""
    change(news, ANN, NEW)
    open_socket(news, 1)
    pause(news, 4)
    change(news, ANN, NEWER)
    pause(news, 2)
    for client, conn in ((ANN, 1), (EVE, 2)):
        open_socket(news, conn, client, Kind.DISCONNECT if conn == 1 else Kind.CONNECT)
    change(news, ANN, NEW, status=403)
    change(news, ANN, NEW, status=0)
    change(news, ANN, 0, state=State.ACTIVE, value=0)
    pause(news, 4)
    open_socket(news, 2, EVE, Kind.DISCONNECT)
    open_socket(news, 3)
    change(news, ANN, NEW)
    pause(news, 4)
    assert news.judge()["I41"].examined == 0


def test_a_change_of_unknown_outcome_may_be_told_at_any_time(news: Any) -> None:
    """It came first, nobody knows whether it took effect: it may well have been the last."""
    change(news, ANN, NEWER, status=0)
    open_socket(news, 1)
    change(news, ANN, NEW)
    told(news, NEWER)
    pause(news, 4)
    open_socket(news, 1, kind=Kind.DISCONNECT)
    assert news.judge()["I41"].violations == 0


def test_news_wait_for_a_fault(news: Any) -> None:
    """What was away when the change was made gives the news their time again."""
    open_socket(news, 1)
    news.add(Kind.FAULT, author=FAULT, flags=int(Flag.OWN))
    change(news, ANN, NEW)
    pause(news, 5)
    news.add(Kind.FAULT, author=FAULT)
    pause(news, 2)
    told(news, NEW)
    pause(news, 4)
    open_socket(news, 1, kind=Kind.DISCONNECT)
    assert (news.judge()["I41"].examined, news.judge()["I41"].violations) == (1, 0)


@pytest.mark.parametrize("promised", [{"sync_bound_s": 0.003}, {"account_news_s": 0.003}])
def test_news_are_not_promised(new_history: Callable[..., Any], promised: dict[str, float]) -> None:
    """Without either bound nobody is owed any."""
    history = new_history(**promised)
    open_socket(history, 1)
    change(history, ANN, NEW)
    pause(history, 4)
    open_socket(history, 1, kind=Kind.DISCONNECT)
    assert history.judge()["I41"].examined == 0
