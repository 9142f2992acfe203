"""I6 duplication, I10 integrity, I12 isolation, I15 identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Flag, Kind, Outcome, Place

ANN, BOB, BOB2, EVE = range(4)
ROOM, OTHER = range(2)


@pytest.mark.parametrize(
    ("scope", "conn", "violations", "promised"),
    [
        ("connection", 2, 1, True),
        ("connection", 9, 0, True),
        ("device", 2, 1, True),
        ("device", 9, 1, True),
        ("no", 2, 1, False),
    ],
)
def test_heard_twice(new_history: Callable[..., Any], scope: str, conn: int, violations: int, promised: bool) -> None:
    """Twice on one connection always counts, twice on a device where the contract says so."""
    history = (
        new_history(at_most_once=scope).join(BOB).send(ANN, 1).hear(BOB, ANN, 1, 1).hear(BOB, ANN, 1, 1, conn=conn)
    )
    verdict = history.judge()["I6"]
    assert (verdict.violations, verdict.promised, verdict.examined) == (violations, promised, 2)


def test_connections_in_turn_are_told_apart(new_history: Callable[..., Any]) -> None:
    """A third connection that hears it once, and the first one again: only the first one heard it twice."""
    history = new_history().join(BOB).send(ANN, 1)
    for conn in (2, 7, 8, 2):
        history.hear(BOB, ANN, 1, 1, conn=conn)
    assert history.judge()["I6"].violations == 1


def test_replay_two_devices_and_retries_are_no_duplication(new_history: Callable[..., Any]) -> None:
    """Each device hears it; history repeats it; a retry without idempotence may come twice."""
    history = new_history(idempotent=False).join(BOB).join(BOB2).send(ANN, 1).send(ANN, 1, attempt=2)
    history.hear(BOB, ANN, 1, 1).hear(BOB2, ANN, 1, 1).replay(BOB, ANN, 1, 1).hear(BOB, ANN, 1, 2, attempt=2)
    assert history.judge()["I6"].violations == 0


@pytest.mark.parametrize("first", ["sent", "heard"])
@pytest.mark.parametrize(("slots", "violations"), [({"digest": 5}, 2), ({"size": 9}, 2), ({"size": 0}, 2), ({}, 0)])
def test_changed_on_the_way(
    new_history: Callable[..., Any], first: str, slots: dict[str, int], violations: int
) -> None:
    """Another digest or size than was sent counts for each who heard it so, whichever record is read first."""
    history = new_history(at_most_once="no").join(BOB).join(BOB2)
    if first == "sent":
        history.send(ANN, 1)
    history.hear(BOB, ANN, 1, 1, **slots).hear(BOB2, ANN, 1, 1).hear(BOB2, ANN, 1, 1, **slots)
    if first == "heard":
        history.send(ANN, 1, journal=1)
    verdict = history.judge()["I10"]
    assert (verdict.violations, verdict.examined) == (violations, 3)
    if violations:
        assert (
            history.tell(verdict).sentence
            == "#1 of ann was delivered in room-1 with another content than it was sent with"
        )


def test_retries_have_another_size(new_history: Callable[..., Any]) -> None:
    """A retry states its attempt in the body, so its size says nothing."""
    history = (
        new_history().join(BOB).send(ANN, 1).send(ANN, 1, attempt=2, size=11).hear(BOB, ANN, 1, 1, attempt=2, size=11)
    )
    assert history.judge()["I10"].outcome is Outcome.PASS


def test_what_nobody_sent_is_not_compared(new_history: Callable[..., Any]) -> None:
    """Nobody knows which of two contents is the right one; that it was not sent is I8's."""
    history = new_history().join(BOB).join(BOB2).hear(BOB, ANN, 1, 1).hear(BOB2, ANN, 1, 1, digest=5)
    assert history.judge()["I10"].violations == 0


def test_corrupt_bodies_count_and_stand_for_nothing(new_history: Callable[..., Any]) -> None:
    """A body that does not fit its own checksum is a violation of I10 and is not the message that it claims to be."""
    history = new_history().join(BOB).send(ANN, 1).hear(BOB, ANN, 1, 1, flags=int(Flag.CORRUPT), conv=OTHER)
    verdicts = history.judge()
    assert verdicts["I10"].violations == 1
    assert verdicts["I12"].examined == verdicts["I6"].examined == verdicts["I8"].examined == 0


@pytest.mark.parametrize(("kind", "what"), [(Kind.DELIVER, "corrupt"), (Kind.STORED, "corrupt-in-store")])
def test_where_a_body_was_corrupt(new_history: Callable[..., Any], kind: Kind, what: str) -> None:
    """The finding tells whether a device received it or the final state has it."""
    history = new_history().send(ANN, 1).hear(BOB, ANN, 1, 1, flags=int(Flag.CORRUPT))
    history.told[-1][1]["kind"] = int(kind)
    assert [finding.what for finding in history.judge()["I10"].findings] == [what]


@pytest.mark.parametrize(
    ("client", "conv", "flags", "what"),
    [
        (EVE, ROOM, 0, "stranger"),
        (BOB, OTHER, 0, "stranger"),
        (ANN, ROOM, int(Flag.MISROUTED), "misrouted"),
        (BOB, 9, 0, "stranger"),
    ],
)
def test_heard_where_it_does_not_belong(
    new_history: Callable[..., Any], client: int, conv: int, flags: int, what: str
) -> None:
    """A non-member, an unknown conversation, or another conversation's name are violations, live or replayed."""
    for kind in (Kind.DELIVER, Kind.REPLAY):
        history = new_history().send(ANN, 1, min(conv, 1)).hear(client, ANN, 1, 1, conv=conv, flags=flags)
        history.told[-1][1]["kind"] = int(kind)
        verdict = history.judge()["I12"]
        assert (verdict.outcome, verdict.findings[0].what) == (Outcome.FAIL, what)


def test_a_stranger_in_words(new_history: Callable[..., Any]) -> None:
    """The finding names the listener, the message and the room."""
    history = new_history().send(ANN, 1).hear(EVE, ANN, 1, 1)
    assert history.tell(history.judge()["I12"]).sentence == "eve received #1 of ann in room-1 without being a member"


@pytest.mark.parametrize(
    ("aux", "examined", "violations"),
    [(BOB2, 1, 0), (BOB, 1, 0), (ANN, 1, 1), (-2, 1, 1), (-1, 0, 0), (99, 1, 1), (4, 1, 1)],
)
def test_stated_sender(new_history: Callable[..., Any], aux: int, examined: int, violations: int) -> None:
    """The stated sender may be any client of the author's user; a stranger is a violation, silence is not looked at."""
    verdict = new_history().send(BOB, 1).hear(ANN, BOB, 1, 1, aux=aux).judge()["I15"]
    assert (verdict.examined, verdict.violations) == (examined, violations)


def test_stated_identity(new_history: Callable[..., Any]) -> None:
    """A place that takes a client for somebody else is a violation."""
    history = new_history().add(Kind.IDENTITY, BOB, aux=BOB2, counter=int(Place.AUTH))
    assert history.judge()["I15"].outcome is Outcome.PASS
    history.add(Kind.IDENTITY, BOB, aux=ANN, counter=int(Place.SOCKET))
    verdict = history.judge()["I15"]
    assert verdict.violations == 1
    assert history.tell(verdict).sentence == "the socket took bob on tab 1 for ann"


def test_who_is_not_in_the_roster(new_history: Callable[..., Any]) -> None:
    """Nothing is said of the first client after all that there are, as a listener, a sender or a person."""
    history = new_history().send(ANN, 1).hear(4, ANN, 1, 1).hear(BOB, 4, 1, 2, aux=ANN).add(Kind.IDENTITY, 4, aux=ANN)
    verdicts = history.judge()
    assert (verdicts["I12"].examined, verdicts["I15"].examined) == (1, 0)
    assert verdicts["I15"].why == "nothing was examined"


def strange(new_history: Callable[..., Any], *identities: tuple[int, str], torn: bool = True) -> Any:
    """Messages of Bob (twice) and of Ann name ids that no login on record explains; `identities`: known logins."""
    history = new_history().send(BOB, 1).hear(ANN, BOB, 1, 1, aux=-2).send(ANN, 1).hear(BOB, ANN, 1, 2, aux=-2)
    history.send(BOB, 2).hear(ANN, BOB, 2, 3, aux=-2).add(Kind.IDENTITY, EVE, aux=EVE, counter=int(Place.AUTH))
    history.facts["identities"] = identities
    history.torn = {0} if torn else set()
    return history.judge()["I15"]


def test_an_id_that_a_missing_part_may_explain(new_history: Callable[..., Any]) -> None:
    """Only of Bob the platform's id is on record: what names him is wrong. Ann's login may be in the lost part."""
    verdict = strange(new_history, (BOB, "b"), (EVE, "e"))
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.FAIL, 4, 2)
    assert [(finding.what, finding.records[-1]) for finding in verdict.findings] == [("sender", (0, 2))]
    assert verdict.why.endswith("; a part of the record is missing")


@pytest.mark.parametrize(
    ("identities", "torn", "violations"),
    [
        ((), True, 0),
        (((ANN, "a"), (BOB, "b"), (BOB2, "another")), True, 0),
        (((ANN, "a"), (BOB, "b"), (BOB2, "b")), True, 3),
        (((BOB, "b"), (4, "x")), True, 2),
        ((), False, 3),
    ],
    ids=["none known", "two ids of one user", "all known", "and a client that is not in the roster", "nothing missing"],
)
def test_whose_id_is_on_record(
    new_history: Callable[..., Any], identities: tuple[tuple[int, str], ...], torn: bool, violations: int
) -> None:
    """If a user has two ids, the unexplained one may be a further one of the same user."""
    verdict = strange(new_history, *identities, torn=torn)
    assert verdict.violations == violations
    assert verdict.outcome is (Outcome.FAIL if violations else Outcome.UNKNOWN)
