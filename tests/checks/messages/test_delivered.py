"""I5b: delivered to everyone who was there throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Contract, Flag, Kind, Outcome, Phase
from earwitness.checks.messages.delivered import DELIVERED_CHECK

ANN, BOB, BOB2, EVE = range(4)
MS = 1_000_000
CONTINUED = int(Flag.CONTINUED)


def without(history: Any, client: int, n: int, kind: Kind = Kind.DELIVER) -> Any:
    """The history without one of Ann's messages for one client."""
    history.told = [
        (journal, row)
        for journal, row in history.told
        if not (row["kind"] == kind and row["client"] == client and row["author"] == ANN and row["counter"] == n)
    ]
    return history


def test_a_silent_loss(healthy_history: Callable[..., Any]) -> None:
    """One message that one of three devices never heard, nothing after it, is one violation."""
    history = without(healthy_history(), BOB2, 3)
    verdict = history.judge()["I5b"]
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.FAIL, 18, 1)
    assert history.tell(verdict).sentence == (
        "bob on tab 2 was subscribed to room-1 from before #3 of ann was sent until the end, and never received it"
    )


def test_replayed_counts_as_heard(healthy_history: Callable[..., Any]) -> None:
    """History that is replayed later makes up for it."""
    history = without(healthy_history(), BOB, 1).replay(BOB, ANN, 1, 1)
    assert history.judge()["I5b"].outcome is Outcome.PASS


def test_only_what_took_effect(healthy_history: Callable[..., Any]) -> None:
    """A message that nobody stored need not be heard; without history the acknowledgement decides, without either
    that somebody heard it."""
    no_history = {"sequence": "contiguous", "history": False}
    numbered = {"sequence": "contiguous"}
    for promises, lost in (({}, 0), (numbered, 0), (no_history, 1), ({**no_history, "acknowledges": False}, 1)):
        history = without(healthy_history(Contract(**promises)), BOB, 2)
        history.told = [(j, r) for j, r in history.told if r["kind"] != Kind.STORED]
        assert history.judge()["I5b"].violations == lost


@pytest.mark.parametrize(
    ("end", "violations"),
    [
        ("open", 1),
        ("cut", 0),
        ("own", 0),
        ("leave", 0),
        ("own after drain", 1),
        ("cut after drain", 0),
        ("cut after drained", 1),
    ],
)
def test_how_the_period_ends(new_history: Callable[..., Any], end: str, violations: int) -> None:
    """A period counts if it was held until DRAINED, or until the tester's own disconnect after DRAIN."""
    history = new_history(history=False).join(ANN).join(BOB).send(ANN, 1).ack(ANN, 1, 1).hear(ANN, ANN, 1, 1)
    if end == "leave":
        history.leave(BOB)
    if end in ("cut", "own"):
        history.cut(BOB, own=end == "own")
    history.add(Kind.PHASE, counter=int(Phase.DRAIN))
    if end.endswith("after drain"):
        history.cut(BOB, own=end.startswith("own"))
    history.add(Kind.PHASE, counter=int(Phase.DRAINED))
    if end.endswith("after drained"):
        history.cut(BOB)
    assert history.judge()["I5b"].violations == violations


@pytest.mark.parametrize(
    ("later", "lost"),
    [
        ("nothing", 0),
        ("heard", 0),
        ("acknowledged", 1),
        ("acknowledged elsewhere", 0),
        ("acknowledged before", 0),
        ("acknowledged twice", 0),
        ("acknowledged with its own number", 0),
        ("acknowledged, counting from 0", 1),
    ],
)
def test_stored_and_nobody_was_told(new_history: Callable[..., Any], later: str, lost: int) -> None:
    """Ann's last message was cut off and is stored: perhaps when all had gone. A later number that was acknowledged
    says that it was there before; one of another conversation, a lower one, the same, or one of two says nothing."""
    history = new_history(history=True, sequence="contiguous").join(ANN).join(BOB, conn=2)
    history.send(ANN, 1).ack(ANN, 1, 1).hear(ANN, ANN, 1, 1).hear(BOB, ANN, 1, 1, conn=2)
    before = later == "acknowledged before"
    history.send(ANN, 2).add(Kind.INFO, ANN, conn=1, conv=0, author=ANN, counter=2, attempt=1).cut(ANN)
    number = 3 if before or later.endswith("its own number") else 0 if later.endswith("from 0") else 2
    if later == "heard":
        history.hear(BOB2, ANN, 2, number, conn=3)
    elif later.startswith("acknowledged"):
        conv = 1 if later == "acknowledged elsewhere" else 0
        history.send(BOB, 1, conv=conv, conn=2).ack(BOB, 1, 2 if before else 3, conv=conv, conn=2)
        history.hear(BOB, BOB, 1, 2 if before else 3, conv=conv, conn=2)
        if later == "acknowledged twice":
            history.ack(BOB, 1, 1, conv=conv, conn=2)
    history.drained().stored(ANN, 1, 1).stored(ANN, 2, number).read()
    assert history.judge()["I5b"].violations == lost


def test_a_higher_number_that_was_not_acknowledged(new_history: Callable[..., Any]) -> None:
    """It says nothing: all three may have been stored when the others had gone."""
    history = new_history(history=True).join(ANN).join(BOB).send(ANN, 1).send(ANN, 2).send(ANN, 3)
    history.drained().stored(ANN, 1, 1).stored(ANN, 2, 2).stored(ANN, 3, 3).read()
    assert history.judge()["I5b"].examined == 0


def test_what_was_not_read_at_the_end(new_history: Callable[..., Any]) -> None:
    """Of two of three messages that were acknowledged nobody knows whether they are stored."""
    history = new_history().join(BOB).send(ANN, 1).ack(ANN, 1, 1).send(ANN, 2).ack(ANN, 2, 2).send(ANN, 3).drained()
    assert history.judge()["I5b"].why == "whether 2 acknowledged messages are stored was not read"


@pytest.mark.parametrize(("heard", "lost"), [(False, 0), (True, 1)])
def test_without_numbers_it_counts_when_anybody_heard_it(
    new_history: Callable[..., Any], heard: bool, lost: int
) -> None:
    """The drain then waits for silence: who was online has had the time to hear it too."""
    history = new_history(history=True, sequence="none").join(ANN).join(BOB, conn=2).join(BOB2, conn=3)
    history.send(ANN, 1).add(Kind.INFO, ANN, conn=1, conv=0, author=ANN, counter=1, attempt=1).cut(ANN)
    if heard:
        history.hear(BOB, ANN, 1, conn=2)
    history.drained().stored(ANN, 1).read()
    assert history.judge()["I5b"].violations == lost


@pytest.mark.parametrize("history", [False, True])
def test_nobody_can_tell_that_it_took_effect(new_history: Callable[..., Any], history: bool) -> None:
    """Without acknowledgements, not stored, or where there is no history, not heard by anybody: nobody had to."""
    told = new_history(history=history, acknowledges=False, sequence="none").join(ANN).join(BOB, conn=2)
    told.send(ANN, 1).drained().read()
    assert told.judge()["I5b"].examined == 0


@pytest.mark.parametrize(("resume", "flags", "lost"), [(True, CONTINUED, 1), (False, CONTINUED, 0), (True, 0, 0)])
def test_a_resumed_period_goes_on(new_history: Callable[..., Any], resume: bool, flags: int, lost: int) -> None:
    """What was sent while the connection was cut must be made up for, if the platform promises to resume."""
    history = new_history(history=False, resume=resume, echo=False).join(BOB).cut(BOB).send(ANN, 1).ack(ANN, 1, 1)
    history.join(BOB, conn=9, flags=flags).drained()
    assert history.judge()["I5b"].violations == lost
    assert history.replay(BOB, ANN, 1, 1, conn=9).judge()["I5b"].violations == 0


def test_sent_before_joining(new_history: Callable[..., Any]) -> None:
    """Only what was sent after joining must be heard, not what was sent at that moment."""
    history = new_history(history=False, echo=False).send(ANN, 1).join(BOB).ack(ANN, 1, 1).drained()
    assert history.judge()["I5b"].examined == 0
    for later_ns in (0, 1):
        history = new_history(history=False).join(BOB, t=MS).send(ANN, 1, t=MS + later_ns).ack(ANN, 1, 1).drained()
        assert history.judge()["I5b"].violations == later_ns


@pytest.mark.parametrize("missing", [[1], [65], [256], [257], [256, 257]])
def test_one_of_many_messages(new_history: Callable[..., Any], missing: list[int]) -> None:
    """More messages than one page of bits holds."""
    history = new_history(history=False).join(BOB)
    for n in range(1, 258):
        history.send(ANN, n).ack(ANN, n, n)
        if n not in missing:
            history.hear(BOB, ANN, n, n)
    assert [finding.facts["seq"] for finding in history.drained().judge()["I5b"].findings] == missing


@pytest.mark.usefixtures("room_for_two")
def test_more_losses_than_are_kept(new_history: Callable[..., Any]) -> None:
    """All four are counted."""
    history = new_history(history=False).join(BOB)
    for n in range(1, 5):
        history.send(ANN, n).ack(ANN, n, n)
    verdict = history.drained().judge_only(DELIVERED_CHECK)
    assert (verdict.outcome, verdict.violations, len(verdict.findings)) == (Outcome.FAIL, 4, 2)


def test_the_sender_itself(new_history: Callable[..., Any]) -> None:
    """The sender's device must hear it where the platform echoes; the user's other devices always."""
    for echo, lost in ((True, 2), (False, 1)):
        history = new_history(history=False, echo=echo).join(BOB).join(BOB2).send(BOB, 1).ack(BOB, 1, 1).drained()
        assert history.judge()["I5b"].violations == lost


def test_the_first_member_is_a_sender_too(new_history: Callable[..., Any]) -> None:
    """Ann has the first row of all tables; without echo she need not hear herself."""
    history = new_history(history=False, echo=False).join(ANN).send(ANN, 1).ack(ANN, 1, 1).drained()
    assert history.judge()["I5b"].examined == 0


def test_a_run_that_was_cut_short(healthy_history: Callable[..., Any]) -> None:
    """Without DRAINED an absence is UNKNOWN, not FAIL; so is a torn journal without one."""
    history = without(healthy_history(), BOB, 3)
    history.told = [(j, r) for j, r in history.told if r["kind"] != Kind.PHASE]
    verdict = history.judge()["I5b"]
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)
    assert "1 deliveries" in verdict.why
    torn = without(healthy_history(), BOB, 3)
    torn.told = [(1 if row["client"] == BOB else 0, row) for _, row in torn.told]
    assert torn.judge()["I5b"].violations == 1
    torn.torn = {1}
    assert torn.judge()["I5b"].outcome is Outcome.UNKNOWN
