"""I35: no false rejection, and how an outage of auth must look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Flag, Kind, Outcome, Place
from earwitness.checks.history.record import CONTROL, Artefact, FaultKind, State, Way

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
        (500, 5, ["failing"]),
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
    assert history.tell(verdict(history)).sentence == "ann was answered 503 while no fault was on (any more)"


def test_nothing_to_judge(outage: Callable[..., Any]) -> None:
    """Without a request nothing is examined; without a promise there is none; lag makes slowness doubtful."""
    assert verdict(outage()).outcome is Outcome.UNKNOWN
    assert not verdict(outage(outage_answer_s=None)).promised
    slow = login(outage(), 16, 503, 1.5)
    slow.facts = {"lag_bound_ms": 0.5}
    assert (verdict(slow).outcome, verdict(slow).violations) == (Outcome.UNKNOWN, 0)


# -- to the last nanosecond -------------------------------------------------------------------------------------------


def between(history: Any, start_ns: int, end_ns: int, status: int = 503, **slots: int) -> Any:
    """With Ann's token, sent and answered exactly then."""
    history = ask(history, 0, status, seq=start_ns, **slots)
    history.told[-1][1]["t"] = end_ns
    return history


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "found"),
    [
        (9 * S, 10 * S - 1, ["failing"]),
        (9 * S, 10 * S, []),
        (10 * S - 1, 11 * S, []),
        (10 * S, 11 * S, ["shut-out"]),
        (20 * S, 30 * S, ["shut-out"]),
        (20 * S, 30 * S + 1, []),
        (25 * S - 1, 26 * S, ["shut-out"]),
        (25 * S, 26 * S, []),
        (34 * S, 35 * S, []),
        (34 * S + 1, 35 * S, ["failing"]),
    ],
)
def test_when_an_outage_begins_and_ends(
    outage: Callable[..., Any], start_ns: int, end_ns: int, found: list[str]
) -> None:
    """It is on from 10 to 30 s, shelters sessions before 25 s and is felt until 34 s."""
    assert findings(between(outage(), start_ns, end_ns)) == found


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "found"),
    [
        (11 * S, 12 * S - 1, ["shut-out"]),
        (11 * S, 12 * S, []),
        (17 * S, 18 * S, []),
        (17 * S + 1, 18 * S, ["shut-out"]),
    ],
)
def test_another_fault_beside_it(outage: Callable[..., Any], start_ns: int, end_ns: int, found: list[str]) -> None:
    """From 12 to 13 s a backend is away too, which is felt until 17 s."""
    both = fault(fault(outage(), 12, ON, BACKEND, 1 << 31 | 1), 13, 0, BACKEND, 1 << 31 | 1)
    assert findings(between(both, start_ns, end_ns)) == found


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "found"),
    [(10 * S - 1, 11 * S, []), (10 * S, 30 * S, ["believed"]), (11 * S, 30 * S + 1, [])],
)
def test_a_forgery_from_the_first_moment_to_the_last(
    outage: Callable[..., Any], start_ns: int, end_ns: int, found: list[str]
) -> None:
    """Auth must have been away all the time."""
    forged = outage().add(Kind.TOKEN, ANN, attempt=int(Artefact.ACCESS), counter=2, proc=3)
    assert findings(between(forged, start_ns, end_ns, 200, counter=2)) == found


def test_a_token_that_has_ended_is_no_forgery(outage: Callable[..., Any]) -> None:
    """Taken after its deadline: that is I29's."""
    ended = outage().add(Kind.TOKEN, ANN, attempt=int(Artefact.ACCESS), counter=2, seq=11 * S)
    assert findings(ask(ended, 12, 200, counter=2)) == []


@pytest.mark.parametrize(("end_ns", "found"), [(99 * S - 1, ["rejected"]), (99 * S, [])])
def test_a_token_to_its_last_moment(outage: Callable[..., Any], end_ns: int, found: list[str]) -> None:
    """Until 100 s, by a clock that may be a second ahead."""
    assert findings(between(outage(), 98 * S, end_ns, 401)) == found


@pytest.mark.parametrize(("later_ns", "found"), [(0, []), (1, ["rejected"])])
def test_revoked_at_the_moment_of_the_answer(outage: Callable[..., Any], later_ns: int, found: list[str]) -> None:
    """A revocation that was sent then may have been first; one that was sent after it was not."""
    revoked = outage().add(Kind.REVOKE, ANN, author=ANN, counter=1, seq=6 * S + later_ns, t=7 * S, size=200)
    assert findings(between(revoked, 5 * S, 6 * S, 401)) == found


@pytest.mark.parametrize(
    ("start_ns", "took_ns", "status", "found"),
    [
        (15 * S - 1, 5, 504, []),
        (15 * S, 5, 504, ["unclear"]),
        (16 * S, S, 503, []),
        (16 * S, S + 1, 503, ["slow"]),
    ],
)
def test_when_logins_must_be_refused(
    outage: Callable[..., Any], start_ns: int, took_ns: int, status: int, found: list[str]
) -> None:
    """From 15 s on, within a second."""
    history = login(outage(), 0, status)
    history.told[-1][1].update(seq=start_ns, t=start_ns + took_ns)
    assert findings(history) == found


def test_no_time_to_come_back_is_no_word(outage: Callable[..., Any]) -> None:
    """Retry-After: 0 says nothing. An error of a login outside of outages begins at 500."""
    history = login(outage(), 16, 503)
    history.told[-1][1]["aux"] = 0
    assert findings(history) == ["unclear"]


@pytest.mark.parametrize(("t", "found"), [(25 * S - 1, ["cut"]), (25 * S, [])])
def test_how_long_connections_go_on(outage: Callable[..., Any], t: int, found: list[str]) -> None:
    """Sessions are promised for 15 s of an outage."""
    assert findings(outage().cut(BOB, counter=1006, t=t)) == found


def test_as_much_lag_as_is_allowed(outage: Callable[..., Any]) -> None:
    """A p99 of exactly the bound leaves no doubt."""
    slow = login(outage(), 16, 503, 1.5)
    slow.facts = {"lag_bound_ms": 1.0}
    assert findings(slow) == ["slow"]


def test_what_a_torn_journal_leaves_proven(outage: Callable[..., Any]) -> None:
    """A fault that is not on record may explain a refusal; no fault explains a forgery that was believed."""
    history = ask(outage(), 5, 401)
    history.add(Kind.TOKEN, ANN, attempt=int(Artefact.ACCESS), counter=2, proc=3)
    history.add(Kind.PROBE, journal=2)
    history.torn = {2}
    said = verdict(history)
    assert (said.outcome, said.violations) == (Outcome.UNKNOWN, 0)
    assert "the faults that explain 1 refusals and errors" in said.why
    assert findings(ask(history, 16, 200, counter=2)) == ["believed"]
