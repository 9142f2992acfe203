"""I40: circuit breakers do as their state machine promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Flag, Kind, Outcome

S = 1_000_000_000
OK, FAILED = int(Flag.ACCEPTED), 0
FRONTEND, BACKEND = 1 << 31, (1 << 31) + 1


@pytest.fixture
def calls(new_history: Callable[..., Any]) -> Callable[..., Any]:
    """`calls((begin, end, ok), (begin, None), …)`: calls that were made, and fast refusals; times in seconds. Three
    failures open the breaker for two seconds, one call at a time tries, one success closes."""

    def make(*told: Any, author: int = FRONTEND, said: int = 0, history: Any = None, **promises: Any) -> Any:
        promised = {"breaker_failures": 3, "breaker_open_s": 2.0, **promises}
        history = new_history(**promised) if history is None else history
        for begin, *rest in sorted(told, key=lambda call: call[1] if call[1] is not None else call[0]):
            end = begin if rest[0] is None else rest[0]
            flags = 0 if rest[0] is None or not rest[1] else OK
            slots = {"author": author, "counter": said, "aux": int(rest[0] is not None), "seq": int(begin * S)}
            history.add(Kind.CALL, flags=flags, t=int(end * S), **slots)
        return history

    return make


def verdict(history: Any) -> Any:
    return history.judge()["I40"]


def findings(history: Any) -> list[str]:
    return [found.what for found in verdict(history).findings]


OPENED = ((1.0, 1.1, False), (1.2, 1.3, False), (1.4, 1.5, False))
"""Opened at 1.5."""


def test_the_whole_way(calls: Callable[..., Any]) -> None:
    """Three failures, refusals for two seconds, a probe that fails, two seconds, one that succeeds, service."""
    probing = (3.6, 3.7, False), (3.65, None), (3.8, None), (5.8, 5.9, True)
    history = calls(*OPENED, (1.6, None), (3.4, None), *probing, (6.0, 6.1, True), said=1)
    said = verdict(history)
    assert (said.outcome, said.examined, said.violations) == (Outcome.PASS, 12, 0)


def test_failures_that_are_not_in_a_row(calls: Callable[..., Any]) -> None:
    """A success in between begins the count anew; the third in a row opens."""
    mixed = ((1.0, 1.1, False), (1.2, 1.3, False), (1.4, 1.5, True), (1.6, 1.7, False), (1.8, 1.9, False))
    assert findings(calls(*mixed, (2.0, 2.1, True))) == []
    assert findings(calls((0.5, 0.6, True), *mixed, (2.0, None))) == ["refused"]
    assert findings(calls(*mixed, (2.0, 2.1, False), (2.2, 2.3, True))) == ["called"]


def test_a_breaker_that_does_not_open(calls: Callable[..., Any]) -> None:
    """A fourth call after three failures."""
    history = calls(*OPENED, (1.6, 1.7, False))
    assert findings(history) == ["called"]
    telling = history.tell(verdict(history))
    assert telling.sentence == "a dependency was called although its breaker was open"
    assert len(telling.lines) == 4


def test_a_breaker_that_is_stuck(calls: Callable[..., Any]) -> None:
    """When it is time to try again the next call must be let through."""
    assert findings(calls(*OPENED, (3.45, None))) == []
    assert findings(calls(*OPENED, (3.7, None))) == ["stuck"]


def test_a_half_open_breaker_that_lets_all_through(calls: Callable[..., Any]) -> None:
    """One probe at a time, or as many as the contract says."""
    two = (*OPENED, (3.6, 3.9, True), (3.7, 4.0, True))
    assert findings(calls(*two)) == ["probes"]
    assert findings(calls(*two, breaker_probes=2)) == []
    assert findings(calls(*OPENED, (3.6, 3.7, True), (3.8, 4.0, True), (3.9, 4.0, True))) == []


def test_several_successes_close(calls: Callable[..., Any]) -> None:
    """With two needed, after the first it still lets one through at a time."""
    two = (*OPENED, (3.6, 3.7, True), (3.8, 4.0, True), (3.9, 4.0, True))
    assert findings(calls(*two, breaker_successes=2)) == ["probes"]


def test_calls_under_way_while_it_opens(calls: Callable[..., Any]) -> None:
    """Whether their failure counts is not said: both states stay possible."""
    late = (0.9, 2.5, False)
    assert findings(calls(late, *OPENED, (3.6, 3.7, True), (3.8, 3.9, True))) == []
    assert findings(calls(late, *OPENED, (3.6, None))) == []
    assert findings(calls(late, *OPENED, (4.7, None))) == ["stuck"]
    assert findings(calls((0.9, 2.5, True), *OPENED, (3.6, None), (3.7, None))) == ["stuck"]


def test_an_answer_is_no_failure(calls: Callable[..., Any], new_history: Callable[..., Any]) -> None:
    """A dependency that refuses has answered."""
    history = new_history(breaker_failures=1)
    for at in (1, 2, 3):
        history.add(Kind.CALL, flags=int(Flag.REFUSED), author=FRONTEND, counter=1, aux=1, seq=at * S, t=at * S + 5)
    assert (verdict(history).violations, verdict(history).examined) == (0, 0)


def test_breakers_are_judged_apart(calls: Callable[..., Any]) -> None:
    """The frontend's failures do not open the backend's breaker."""
    both = calls(*OPENED, (1.6, None))
    assert findings(calls((1.6, 1.7, True), author=BACKEND, said=1, history=both)) == []
    assert findings(calls((1.8, None), author=BACKEND, said=1, history=both)) == ["refused"]


def test_a_breaker_that_was_open_before(calls: Callable[..., Any]) -> None:
    """If its first record says so, or says nothing, that is possible; then it is followed as any other."""
    assert findings(calls((1.0, None), said=2)) == ["stuck"]
    assert findings(calls((1.0, 1.1, True), said=2)) == []
    assert findings(calls((1.0, None), said=3)) == []
    assert findings(calls((1.0, None), said=1)) == ["refused"]
    assert findings(calls((1.0, None))) == []


def test_what_was_seen(calls: Callable[..., Any], new_history: Callable[..., Any]) -> None:
    """How often each state was named; without calls, or only good ones, nothing is examined."""
    assert verdict(calls((1.0, 1.1, True), said=1)).facts == {"breakers": 1, "closed": 1, "open": 0, "half_open": 0}
    assert verdict(calls((1.0, 1.1, True), said=1)).outcome is Outcome.UNKNOWN
    assert verdict(new_history(breaker_failures=3)).outcome is Outcome.UNKNOWN
    assert not verdict(calls(*OPENED, breaker_failures=None)).promised


# -- exactly at a limit -----------------------------------------------------------------------------------------------


def test_as_many_successes_as_are_needed(calls: Callable[..., Any]) -> None:
    """After the second of two it is closed: calls may overlap."""
    probes = (3.6, 3.7, True), (3.8, 3.9, True)
    assert findings(calls(*OPENED, *probes, (4.0, 4.3, True), (4.1, 4.2, True), breaker_successes=2)) == []


def test_a_call_that_takes_no_time(calls: Callable[..., Any]) -> None:
    """It begins before it ends."""
    assert findings(calls(*OPENED, (3.6, 3.6, True), (3.7, 4.0, True), (3.8, 3.9, True))) == []


def test_open_for_two_seconds(calls: Callable[..., Any]) -> None:
    """Opened at 1.5 s; clocks may differ by 100 ms, which both limits include, to the nanosecond."""
    ns = 1e-9
    assert findings(calls(*OPENED, (3.4, 3.5, True))) == []
    assert findings(calls(*OPENED, (3.4 - 2 * ns, 3.5, True))) == ["called"]
    assert findings(calls(*OPENED, (3.6, None))) == []
    assert findings(calls(*OPENED, (3.6 + 2 * ns, None))) == ["stuck"]
