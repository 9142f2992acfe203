"""I9 failed has no effect, I11 single completion, I14 connection scope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Kind, Outcome

ANN, BOB, BOB2, EVE = range(4)
NOWHERE = 0xFFFF_FFFF


def refuse(history: Any, client: int, n: int, attempt: int = 1, **slots: int) -> Any:
    return history.add(
        Kind.FAIL,
        client,
        **{"author": client, "counter": n, "conv": 0, "attempt": attempt, "conn": client + 1, **slots},
    )


def unanswered(history: Any, client: int, n: int, attempt: int = 1) -> Any:
    return history.add(Kind.INFO, client, author=client, counter=n, conv=0, attempt=attempt, conn=client + 1)


def stray(history: Any, client: int, author: int, n: int, kind: Kind = Kind.OK, **slots: int) -> Any:
    """An answer that the client does not wait for (any more): no attempt, no conversation."""
    known = {"author": author, "counter": n, "conv": NOWHERE, "attempt": 0, "conn": client + 1}
    return history.add(kind, client, **{**known, **slots})


@pytest.mark.parametrize("effect", ["hear", "replay", "stored", None])
def test_refused_and_yet(new_history: Callable[..., Any], effect: str | None) -> None:
    """A refused message must not be heard, replayed or stored."""
    history = refuse(new_history().join(BOB).send(ANN, 1), ANN, 1)
    if effect == "stored":
        history.stored(ANN, 1, 1)
    elif effect:
        getattr(history, effect)(BOB, ANN, 1, 1)
    verdict = history.judge()["I9"]
    assert (verdict.examined, verdict.violations) == (1, 1 if effect else 0)
    assert verdict.outcome is (Outcome.FAIL if effect else Outcome.PASS)
    if effect == "hear":
        telling = history.tell(verdict)
        assert telling.sentence == "#1 of ann was refused, but was delivered in room-1"
        assert len(telling.lines) == 3


def test_not_definitely_refused(new_history: Callable[..., Any]) -> None:
    """One attempt without answer, one accepted, one still open, or an acknowledgement without attempt: no duty."""
    for last in (unanswered, lambda h, c, n, a: h.ack(c, n, 1, attempt=a), lambda h, c, n, a: h):
        history = refuse(new_history().join(BOB).send(ANN, 1), ANN, 1).send(ANN, 1, attempt=2)
        assert last(history, ANN, 1, 2).hear(BOB, ANN, 1, 1).judge()["I9"].examined == 0
    history = stray(refuse(new_history().send(ANN, 1), ANN, 1), ANN, ANN, 1)
    assert history.hear(BOB, ANN, 1, 1).judge()["I9"].examined == 0


def test_all_attempts_refused(new_history: Callable[..., Any]) -> None:
    """A retry does not end the duty if it was refused too."""
    history = new_history().send(ANN, 1)
    refuse(refuse(history, ANN, 1).send(ANN, 1, attempt=2), ANN, 1, 2).hear(BOB, ANN, 1, 1)
    assert history.judge()["I9"].violations == 1


@pytest.mark.parametrize("attempts", [15, 16, 17])
def test_many_attempts(new_history: Callable[..., Any], attempts: int) -> None:
    """As many attempts as are told apart are judged, with more nothing is certain."""
    history = new_history()
    for attempt in range(1, attempts + 1):
        refuse(history.send(ANN, 1, attempt=attempt), ANN, 1, attempt)
    verdicts = history.judge()
    assert verdicts["I9"].examined == (1 if attempts == 15 else 0)
    assert (verdicts["I11"].examined, verdicts["I11"].violations) == (attempts, 0)


def test_refused_in_a_torn_journal(new_history: Callable[..., Any]) -> None:
    """Another attempt may be in the lost end: UNKNOWN, and it says what was seen. Other journals may be torn."""
    history = refuse(new_history().send(ANN, 1), ANN, 1).hear(BOB, ANN, 1, 1).join(EVE, journal=1)
    history.torn = {1}
    assert history.judge()["I9"].outcome is Outcome.FAIL
    history.torn = {0}
    verdict = history.judge()["I9"]
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)
    assert "1 refused messages took effect" in verdict.why


@pytest.mark.parametrize(
    ("answers", "violations"),
    [
        ("A", 0),
        ("AA", 1),
        ("NA", 1),
        ("AN", 1),
        ("AAA", 2),
        ("?A", 0),
        ("?N", 0),
        ("?AA", 1),
        ("As", 1),
        ("?s", 0),
        ("?ss", 1),
    ],
)
def test_answers_to_one_sending(new_history: Callable[..., Any], answers: str, violations: int) -> None:
    """At most one of A(ccepted) and N(ot accepted), also without attempt (s); late ones after none at all (?) are
    fine."""
    history = new_history().send(ANN, 1)
    for answer in answers:
        if answer == "A":
            history.ack(ANN, 1, 1)
        elif answer == "N":
            refuse(history, ANN, 1)
        elif answer == "s":
            stray(history, ANN, ANN, 1)
        else:
            unanswered(history, ANN, 1)
    verdict = history.judge()["I11"]
    assert (verdict.examined, verdict.violations) == (len(answers.replace("?", "")), violations)


def test_both_attempts_answered(new_history: Callable[..., Any]) -> None:
    """Given up, sent again on the same connection, then both are acknowledged: nothing wrong. A third one is."""
    history = unanswered(new_history().send(ANN, 1), ANN, 1).send(ANN, 1, attempt=2).ack(ANN, 1, 1, attempt=2)
    assert stray(history, ANN, ANN, 1).judge()["I11"].outcome is Outcome.PASS
    verdict = stray(history, ANN, ANN, 1).judge()["I11"]
    assert verdict.violations == 1
    assert history.tell(verdict).sentence == "ann got one answer more to #1 of ann than it was sent"


def test_unasked(new_history: Callable[..., Any]) -> None:
    """An answer to what another device may have sent, and one to what nobody sent."""
    history = stray(new_history().send(ANN, 1).ack(ANN, 1, 1), BOB, ANN, 7)
    verdict = history.judge()["I11"]
    assert (verdict.violations, verdict.findings[0].what) == (1, "others")
    history = stray(new_history().send(ANN, 1).ack(ANN, 1, 1), ANN, ANN, 7)
    verdict = history.judge()["I11"]
    assert (verdict.violations, verdict.findings[0].what) == (1, "unasked")


def test_answers_are_not_promised(new_history: Callable[..., Any]) -> None:
    """Where nothing is acknowledged a second answer is an observation."""
    verdict = new_history(acknowledges=False).send(ANN, 1).ack(ANN, 1).ack(ANN, 1).judge()["I11"]
    assert (verdict.violations, verdict.promised) == (1, False)


@pytest.mark.parametrize(("scope", "violations"), [("connection", 1), ("no", 1), ("device", 0)])
@pytest.mark.parametrize("attempt", [1, 2])
def test_answer_on_a_later_connection(
    new_history: Callable[..., Any], scope: str, violations: int, attempt: int
) -> None:
    """Only a platform whose sessions outlive a connection may answer on the device's next one."""
    history = new_history(at_most_once=scope).send(ANN, 1, attempt=attempt).ack(ANN, 1, 1, attempt=attempt, conn=9)
    verdict = history.judge()["I14"]
    assert (verdict.examined, verdict.violations) == (1, violations)


def test_each_attempt_has_its_own_connection(new_history: Callable[..., Any]) -> None:
    """The retry on the next connection is answered there."""
    history = unanswered(new_history().send(ANN, 1), ANN, 1).send(ANN, 1, attempt=2, conn=9)
    assert history.ack(ANN, 1, 1, attempt=2, conn=9).judge()["I14"].outcome is Outcome.PASS
    assert history.ack(ANN, 1, 1, attempt=2).judge()["I14"].violations == 1


@pytest.mark.parametrize("kind", [Kind.OK, Kind.FAIL])
@pytest.mark.parametrize("journal", [0, 1])
def test_answer_to_another_device(new_history: Callable[..., Any], kind: Kind, journal: int) -> None:
    """Bob's second tab hears the answer to what his first tab sent."""
    history = stray(new_history(at_most_once="device").send(BOB, 1, journal=journal), BOB2, BOB, 1, kind)
    verdict = history.judge()["I14"]
    assert (verdict.examined, verdict.violations) == (1, 1)
    assert history.tell(verdict).sentence == (
        "bob on tab 2 got the answer to #1 of bob in room-1, which another device had sent"
    )


def test_answer_on_the_first_connection_of_all(new_history: Callable[..., Any]) -> None:
    """Ann has two; what she sends on the second is answered on the first, without saying which attempt it is for."""
    history = new_history().join(ANN, conn=9).join(ANN).send(ANN, 1)
    verdict = stray(history, ANN, ANN, 1, conn=9).judge()["I14"]
    assert (verdict.examined, [finding.what for finding in verdict.findings]) == (1, ["elsewhere"])


def test_answers_by_request(new_history: Callable[..., Any]) -> None:
    """On no connection: in scope at the device that asked, whatever its socket did in the meantime."""
    history = new_history().send(ANN, 1).ack(ANN, 1, 1, conn=0).send(BOB, 1)
    verdict = refuse(history, BOB, 1, conn=0).judge()["I14"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 2)


@pytest.mark.parametrize(("attempt", "conv"), [(0, NOWHERE), (1, 0), (1, NOWHERE)])
def test_an_answer_by_request_to_another_device(new_history: Callable[..., Any], attempt: int, conv: int) -> None:
    """Bob's second tab is answered by HTTP about what his first tab sent."""
    history = new_history(at_most_once="device").send(BOB, 1).ack(BOB, 1, 1, conn=0)
    stray(history, BOB2, BOB, 1, attempt=attempt, conv=conv, conn=0)
    verdict = history.judge()["I14"]
    assert (verdict.examined, verdict.violations) == (2, 1)
    assert history.tell(verdict).sentence == (
        "bob on tab 2 got the answer to #1 of bob in room-1, which another device had sent"
    )


def test_an_answer_on_a_socket_to_a_request(new_history: Callable[..., Any]) -> None:
    """Sent by HTTP and answered on a connection: which one it should be nobody promised."""
    assert new_history().send(ANN, 1, conn=0).ack(ANN, 1, 1).judge()["I14"].outcome is Outcome.UNKNOWN
