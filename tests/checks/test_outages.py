"""I35: no false rejection, and how an outage of auth must look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from checks import Flag, Kind, Outcome, Place
from checks.record import CONTROL, Artefact, FaultKind, State, Way

ANN, BOB = 0, 1
S = 1_000_000_000
ON = int(Flag.OWN)
FLAGS = {2: int(Flag.ACCEPTED), 3: int(Flag.ACCEPTED), 4: int(Flag.REFUSED)}
AUTH, BACKEND, FRONTEND = int(Place.AUTH), int(Place.BACKEND), int(Place.FRONTEND)


@pytest.fixture
def outage(new_history: Callable[..., Any]) -> Callable[..., Any]:
    """Auth is away from 10 s to 30 s; noticed in 5 s, refusals within 1 s, sessions for 15 s, recovery in 4 s. Ann has
    a token until 100 s."""

    def make(place: int = AUTH, **promises: Any) -> Any:
        promised = {
            "outage_answer_s": 1.0,
            "outage_session_s": 15.0,
            "recovery_s": 4.0,
            "token_leeway_s": 1.0,
            **promises,
        }
        history = new_history(**promised)
        history.add(Kind.TOKEN, ANN, attempt=int(Artefact.ACCESS), counter=1, seq=100 * S, t=S)
        fault(history, 10, ON, place)
        return fault(history, 30, 0, place)

    return make


def fault(history: Any, at: float, flags: int, place: int, author: int = 1 << 31) -> Any:
    slots = {"counter": int(FaultKind.KILL), "attempt": place, "author": author}
    return history.add(Kind.FAULT, journal=1, flags=flags, t=int(at * S), **slots)


def ask(history: Any, at: float, status: int, place: int = BACKEND, took: float = 0.1, **slots: int) -> Any:
    """With Ann's token."""
    known = {"author": ANN, "counter": 1, "proc": int(Way.HEADER), "size": status, "attempt": place, "seq": int(at * S)}
    flags = FLAGS.get(status // 100 if status < 1000 else (status - 4000) // 100, 0)
    return history.add(Kind.REQUEST, ANN, flags=flags, t=int((at + took) * S), **{**known, **slots})


def login(history: Any, at: float, status: int, took: float = 0.1, wait_ms: int = 1000) -> Any:
    """The beginning of a login, at the frontend."""
    retry = wait_ms if status == 503 and wait_ms else -1
    nothing = {"author": 0xFFFF_FFFF, "counter": 0, "proc": 0, "aux": retry}
    return ask(history, at, status, FRONTEND, took, **nothing)


def verdict(history: Any) -> Any:
    return history.judge()["I35"]


def findings(history: Any) -> list[str]:
    return [found.what for found in verdict(history).findings]


def test_an_outage_as_it_should_be(outage: Callable[..., Any]) -> None:
    """Sessions go on, logins are refused quickly with 503 and Retry-After, afterwards all is served."""
    history = ask(ask(outage(), 5, 200), 12, 200)
    login(login(login(history, 5, 302), 16, 503), 35, 302)
    said = verdict(ask(history, 40, 200))
    assert (said.outcome, said.examined, said.violations) == (Outcome.PASS, 6, 0)
    assert said.facts == {"valid_tokens": 3, "in_outages": 1, "logins_in_outages": 1}


@pytest.mark.parametrize(
    ("status", "at", "found"),
    [
        (401, 5, ["rejected"]),
        (4401, 5, ["rejected"]),
        (403, 5, []),
        (429, 5, []),
        (503, 5, ["failing"]),
        (0, 5, []),
        (401, 12, ["shut-out"]),
        (503, 12, ["shut-out"]),
        (0, 12, []),
        (401, 26, []),  # sessions are promised for 15 s
        (503, 32, []),  # it may still be felt
        (503, 35, ["failing"]),
        (401, 35, ["rejected"]),
    ],
)
def test_a_valid_token(outage: Callable[..., Any], status: int, at: float, found: list[str]) -> None:
    """It is refused never, and not served only while an outage explains it."""
    assert findings(ask(outage(), at, status)) == found


def test_auth_itself_may_be_away(outage: Callable[..., Any]) -> None:
    """What is asked of auth during its outage is not promised, and an outage of something else explains everything."""
    assert findings(ask(outage(), 12, 503, AUTH)) == []
    assert findings(ask(outage(place=0), 12, 503)) == []
    assert findings(login(outage(place=0), 16, 500)) == []
    both = fault(fault(outage(), 11, ON, BACKEND, 1 << 31 | 1), 13, 0, BACKEND, 1 << 31 | 1)
    assert findings(ask(both, 12, 503)) == []


def test_tokens_that_do_not_hold(outage: Callable[..., Any]) -> None:
    """Ended, unknown, forged, revoked, or of somebody who was deactivated: a refusal is no fault."""
    assert findings(ask(outage(), 98.95, 401)) == []
    assert findings(ask(outage(), 98.8, 401)) == ["rejected"]
    assert findings(ask(outage(), 5, 401, counter=7)) == []
    forged = outage().add(Kind.TOKEN, ANN, attempt=int(Artefact.ACCESS), counter=2, proc=3, seq=100 * S)
    assert findings(ask(forged, 5, 401, counter=2)) == []
    for number in (1, 0):
        revoked = outage().add(Kind.REVOKE, ANN, author=ANN, counter=number, seq=4 * S, t=4 * S, size=200)
        assert findings(ask(revoked, 5, 401)) == []
    later = outage().add(Kind.REVOKE, ANN, author=ANN, counter=1, seq=9 * S, t=9 * S, size=200)
    assert findings(ask(later, 5, 401)) == ["rejected"]
    inactive = outage().add(Kind.WRITE, ANN, author=ANN, proc=int(State.ACTIVE), seq=S, aux=0)
    assert findings(ask(inactive, 5, 401)) == []


@pytest.mark.parametrize(
    ("at", "status", "found"), [(12, 200, ["believed"]), (12, 401, []), (12, 503, []), (5, 200, [])]
)
def test_a_forgery_is_not_believed(outage: Callable[..., Any], at: float, status: int, found: list[str]) -> None:
    """While auth cannot be asked either; at other times it is another check's (I31)."""
    forged = outage().add(Kind.TOKEN, ANN, attempt=int(Artefact.ACCESS), counter=2, proc=3)
    assert findings(ask(forged, at, status, counter=2)) == found
    assert verdict(ask(forged, 13, 401, counter=2)).examined >= 1


def test_a_control_is_valid(outage: Callable[..., Any]) -> None:
    """Beside a forgery a token is presented that must be taken, whoever issued it."""
    assert findings(ask(outage(), 5, 401, author=BOB, counter=9, proc=int(Way.HEADER) | CONTROL)) == ["rejected"]


@pytest.mark.parametrize(
    ("at", "status", "took", "wait_ms", "found"),
    [
        (16, 503, 0.9, 1000, []),
        (16, 503, 1.1, 1000, ["slow"]),
        (16, 503, 0.1, 0, ["unclear"]),
        (16, 500, 0.1, 0, ["unclear"]),
        (16, 504, 0.1, 0, ["unclear"]),
        (16, 302, 5.0, 0, []),
        (16, 0, 0.1, 0, []),
        (12, 504, 5.0, 0, []),  # it was not noticed yet
        (29.9, 500, 0.2, 0, []),  # its end came meanwhile
        (33, 503, 0.1, 1000, []),
        (35, 503, 0.1, 1000, ["failing"]),
        (5, 500, 0.1, 0, ["failing"]),
    ],
)
def test_new_logins(
    outage: Callable[..., Any], at: float, status: int, took: float, wait_ms: int, found: list[str]
) -> None:
    """While auth is away and that is known: 503, Retry-After, at once. Otherwise: no error."""
    assert findings(login(outage(), at, status, took, wait_ms)) == found


@pytest.mark.parametrize(("code", "found"), [(1011, ["cut"]), (1006, ["cut"]), (1000, []), (4401, [])])
def test_connections_during_an_outage(outage: Callable[..., Any], code: int, found: list[str]) -> None:
    """They go on. A token that ends closes its socket, outage or not; so may the tester."""
    assert findings(outage().cut(BOB, counter=code, t=12 * S)) == found
    assert findings(outage().cut(BOB, own=True, counter=code, t=12 * S)) == []
    assert findings(outage().cut(BOB, counter=code, t=5 * S)) == []


def test_what_a_finding_says(outage: Callable[..., Any]) -> None:
    """Who, what they were told, and the record."""
    history = ask(outage(), 35, 503)
    assert history.tell(verdict(history)).sentence == "ann was answered 503, and nothing was wrong (any more)"


def test_nothing_to_judge(outage: Callable[..., Any]) -> None:
    """Without a request nothing is examined; without a promise there is none; lag makes slowness doubtful."""
    assert verdict(outage()).outcome is Outcome.UNKNOWN
    assert not verdict(outage(outage_answer_s=None)).promised
    slow = login(outage(), 16, 503, 1.5)
    slow.facts = {"lag_bound_ms": 0.5}
    assert (verdict(slow).outcome, verdict(slow).violations) == (Outcome.UNKNOWN, 0)
