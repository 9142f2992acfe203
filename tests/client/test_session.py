"""The session: what it says and hears becomes records, in the right order and with the right numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from earwitness.checks.history.record import AGENT as AN_AGENT
from earwitness.checks.history.record import FOREIGN, NOBODY, NONE, Flag, Kind
from earwitness.harness.client.body import decode, encode
from earwitness.harness.client.events import ACK, MESSAGE
from earwitness.harness.client.session import AGENT_EVENTS
from earwitness.harness.client.tally import ACKNOWLEDGED, ACKNOWLEDGED_FROM_PLAN, FIRST_TOKEN_FROM_PLAN
from tests.client.spoken import dialogue, frame, kinds, last, message, start


def test_a_message_sent_is_an_invoke_with_its_identity(stage: Any) -> None:
    """INVOKE carries what the body says; the frame holds the body under the client's message id."""
    start(stage)
    sent = json.loads(stage.session.send(200, "b", "héllo"))
    assert kinds(stage) == [Kind.CONNECT, Kind.INVOKE]
    row = last(stage)
    body = decode(sent["t"])
    assert body is not None
    assert sent["i"] == "run1-3-1"
    assert (body.tag, body.author, body.conv, body.counter) == ("run1", 3, 1, 1)
    assert (body.proc, body.attempt, body.digest, body.sound) == (1, 1, row["digest"], True)
    assert (row["t"], row["client"], row["conn"], row["conv"], row["author"]) == (200, 3, 1, 1, 3)
    assert (row["counter"], row["attempt"], row["proc"], row["seq"], row["aux"]) == (1, 1, 1, NONE, NONE)
    assert row["size"] == len(sent["t"].encode())
    assert stage.session.pending == 1


def test_the_invoke_is_written_before_the_frame_is_built(stage: Any) -> None:
    """If nothing can be recorded, nothing is sent: the caller never gets the frame."""
    start(stage)

    def full(*_: int) -> int:
        raise OSError("disk full")

    stage.session._write = full
    with pytest.raises(OSError, match="disk full"):
        stage.session.send(200, "a", "x")
    assert stage.session.pending == 0
    assert stage.session.counter == 0


def test_an_acknowledgement_completes_the_message_and_is_timed_twice(stage: Any) -> None:
    """OK with the server's number; latencies from the bytes and from the planned start."""
    start(stage)
    stage.session.send(10_000_000, "a", "x", planned_ns=4_000_000)
    answered: list[int] = []
    stage.session.on_answer = lambda: answered.append(len(stage.journal.rows()))
    stage.session.heard(12_000_000, frame(k="ack", c="a", i="run1-3-1", q=17))
    row = last(stage)
    assert (row["kind"], row["counter"], row["author"], row["conv"], row["seq"]) == (Kind.OK, 1, 3, 0, 17)
    assert answered == [3], "the hook hears of it after the record is written"
    summaries, _ = stage.tally.drain()
    assert summaries[ACKNOWLEDGED].total_ns == 2_000_000
    assert summaries[ACKNOWLEDGED_FROM_PLAN].total_ns == 8_000_000
    assert (stage.session.acked, stage.session.pending) == (1, 0)
    assert stage.session.acked_points() == {"a": 17}


def test_a_refusal_is_a_fail_with_the_platforms_code(stage: Any) -> None:
    """FAIL with 429; the hook gets id, code and retry-after; the message can be sent again with the next attempt."""
    start(stage)
    stage.session.send(200, "a", "x")
    refused: list[tuple[str, int, float | None]] = []
    stage.session.on_refused = lambda *told: refused.append(told)
    stage.session.heard(300, frame(k="nack", c="a", i="run1-3-1", x=[429, 1.5]))
    assert (last(stage)["kind"], last(stage)["aux"], last(stage)["counter"]) == (Kind.FAIL, 429, 1)
    assert refused == [("run1-3-1", 429, 1.5)]
    assert stage.session.unanswered() == []
    assert stage.tally.drain()[1] == {"refused with 429": 1}
    again = json.loads(stage.session.retry(400, "run1-3-1"))
    body = decode(again["t"])
    assert body is not None
    assert (again["i"], body.counter, body.attempt) == ("run1-3-1", 1, 2)
    assert (last(stage)["kind"], last(stage)["attempt"], last(stage)["counter"]) == (Kind.INVOKE, 2, 1)


def test_heartbeats_are_counted_and_not_recorded(stage: Any) -> None:
    """Also one that comes before the greeting: it does not begin the connection, because it cannot name the replica."""
    stage.session.connected(dialogue(welcome=True), 100, 5)
    stage.session.heard(110, frame(k="beat"))
    assert kinds(stage) == [], "not even the connection"
    stage.session.heard(120, frame(k="welcome", x={"replica": "b-2"}))
    records = kinds(stage)
    stage.session.heard(130, frame(k="beat"))
    assert (stage.session.beats, kinds(stage), stage.session.frames_recorded) == (2, records, 3)


def test_a_heard_message_is_a_delivery_as_its_body_says(stage: Any) -> None:
    """DELIVER: identity from the body, number and sender from the envelope, the sender interned."""
    start(stage)
    stage.session.heard(300, message(7, 41, seq=9, s="uid-7", payload="größer"))
    row = last(stage)
    assert row["kind"] == Kind.DELIVER
    assert (row["flags"], row["client"], row["conn"], row["conv"]) == (0, 3, 1, 0)
    assert (row["author"], row["counter"], row["proc"], row["attempt"]) == (7, 41, 1, 1)
    assert (row["seq"], row["aux"]) == (9, stage.journal.names["uid-7"])
    assert row["aux"] >= FOREIGN
    assert row["size"] == len(encode("run1", 7, 0, 41, 1, 1, "größer")[0].encode())


def test_the_same_message_has_the_same_digest_said_and_heard(stage: Any) -> None:
    """INVOKE and DELIVER of one message agree in digest and size, also for the second attempt."""
    start(stage)
    said = json.loads(stage.session.send(200, "a", "wörld"))
    stage.session.heard(300, frame(k="message", c="a", t=said["t"]))
    stage.session.timeouts(10**10, 1)
    again = json.loads(stage.session.retry(10**10, "run1-3-1"))
    stage.session.heard(10**10, frame(k="message", c="a", t=again["t"]))
    rows = stage.journal.rows()
    rows = rows[(rows["kind"] == Kind.INVOKE) | (rows["kind"] == Kind.DELIVER)]
    assert len(rows) == 4
    assert len(set(rows["digest"])) == len(set(rows["size"])) == 1


@pytest.mark.parametrize(
    ("text", "label", "flags", "author"),
    [
        (encode("run1", 7, 0, 1, 1, 1, "hello")[0].replace("hello", "hellO"), "a", Flag.CORRUPT, 7),
        (encode("run1", 7, 0, 1, 1, 1, "hello")[0][:-1], "a", Flag.CORRUPT, 7),
        (encode("run1", 7, 0, 1, 1, 1, "hello")[0][:14], "a", Flag.CORRUPT, NOBODY),
        (encode("run1", 7, 1, 1, 1, 1, "hello")[0], "a", Flag.MISROUTED, 7),
        (encode("run1", 7, 0, 1, 1, 1, "hello")[0], "nowhere", Flag.MISROUTED, 7),
        (encode("old", 7, 0, 1, 1, 1, "hello")[0], "a", Flag.FOREIGN_RUN, NOBODY),
        ("good morning", "a", Flag.FOREIGN_RUN, NOBODY),
        ("", "nowhere", Flag.FOREIGN_RUN, NOBODY),
        (encode("run1", 7, 0, 1, 1, 1, "hello")[0], None, 0, 7),
    ],
)
def test_what_is_wrong_with_a_message_is_flagged(
    stage: Any, text: str, label: str | None, flags: int, author: int
) -> None:
    """Changed, cut, misrouted and foreign bodies; an envelope that names no conversation is no misrouting."""
    start(stage)
    stage.session.heard(300, frame(k="message", c=label, t=text))
    assert (last(stage)["flags"], last(stage)["author"]) == (flags, author)
    assert last(stage)["conv"] == {"a": 0, "nowhere": NOBODY, None: 0}[label] or flags & Flag.MISROUTED


def test_what_the_sender_had_seen_is_written_with_the_invoke(stage: Any) -> None:
    """Causality: the highest number of this conversation on this connection, not of others, nor of the past."""
    start(stage)
    for seq in (5, 9, 7):
        stage.session.heard(300, message(7, seq, seq=seq))
    stage.session.heard(300, message(7, 20, seq=20, label="b", conv=1))
    stage.session.send(400, "a", "x")
    assert last(stage)["aux"] == 9
    stage.session.closed(500, 1006, False)
    start(stage)
    stage.session.send(600, "a", "x")
    assert last(stage)["aux"] == NONE
    assert stage.session.resume_points() == {"a": 9, "b": 20}
    stage.session.heard(700, message(7, 21, seq=3))
    assert stage.session.resume_points() == {"a": 9, "b": 20}


def test_only_overdue_messages_time_out(stage: Any) -> None:
    """INFO with TIMEOUT for the one that waits too long; a late answer still counts as its OK."""
    start(stage)
    stage.session.send(1000, "a", "x")
    stage.session.send(2000, "a", "y")
    assert stage.session.timeouts(2500, 1000) == ["run1-3-1"]
    assert (last(stage)["kind"], last(stage)["flags"], last(stage)["counter"]) == (Kind.INFO, Flag.TIMEOUT, 1)
    assert stage.session.pending == 1
    stage.session.heard(2600, frame(k="ack", c="a", i="run1-3-1", q=1))
    assert (last(stage)["kind"], last(stage)["counter"]) == (Kind.OK, 1)
    assert stage.session.unanswered() == []


def test_an_agents_run_is_recorded_chunk_by_chunk(stage: Any) -> None:
    """RUN: interned run, chunk number, event number; the hook hears the event."""
    start(stage)
    heard: list[Any] = []
    stage.session.on_agent = heard.append
    stage.session.heard(200, frame(k="agent", c="b", x=["run-9", "chunk", 4]))
    row = last(stage)
    assert (row["kind"], row["conv"], row["counter"], row["attempt"]) == (Kind.RUN, 1, 4, AGENT_EVENTS["chunk"])
    assert row["author"] == stage.journal.names["run-9"]
    assert len(heard) == 1


def test_an_answer_states_the_own_question_that_it_answers(stage: Any) -> None:
    """INVOKE of a question has OWN, RUN its counter. An ordinary message has neither."""
    start(stage)
    stage.session.send(150, "b", "plain")
    assert last(stage)["flags"] == 0
    stage.session.send(200, "b", "why?", planned_ns=120, asks=True)
    assert (last(stage)["kind"], last(stage)["counter"], last(stage)["flags"]) == (Kind.INVOKE, 2, Flag.OWN)
    stage.session.heard(250, frame(k="ack", c="b", i="run1-3-2", q=17))
    stage.session.heard(300, frame(k="agent", c="b", q=16, x=["run-8", "chunk", 0], t="another's"))
    assert last(stage)["seq"] == NONE
    stage.session.heard(320, frame(k="agent", c="b", q=17, x=["run-9", "chunk", 0], t="mine"))
    assert (last(stage)["kind"], last(stage)["seq"]) == (Kind.RUN, 2)
    summaries, _ = stage.tally.drain()
    assert summaries[FIRST_TOKEN_FROM_PLAN].total_ns == 200


def test_a_joined_room_is_told_after_its_record(stage: Any) -> None:
    """`on_joined` is called with its label, after its record, and for nothing else."""
    told: list[Any] = []
    stage.session.on_joined = lambda label: told.append((label, len(stage.journal.rows())))
    start(stage)
    stage.session.heard(200, frame(k="joined", c="a", q=8))
    stage.session.heard(300, message(7, 1, seq=9))
    stage.session.heard(400, frame(k="news"))
    assert told == [("a", 2)]


def test_without_acknowledgements_the_own_echo_counts(make_stage: Any) -> None:
    """DELIVER, then OK with the echoed number; a second echo is a second delivery but no second OK."""
    stage = make_stage(ack_by_echo=True)
    start(stage)
    sent = json.loads(stage.session.send(200, "a", "x"))
    for _ in range(2):
        stage.session.heard(300, frame(k="message", c="a", t=sent["t"], q=3))
    assert kinds(stage)[1:] == [Kind.INVOKE, Kind.DELIVER, Kind.OK, Kind.DELIVER]
    assert stage.journal.rows()["seq"][3] == 3
    assert stage.session.acked == 1


def test_another_ones_message_is_no_echo_of_ours(make_stage: Any) -> None:
    """The same counter of another author acknowledges nothing."""
    stage = make_stage(ack_by_echo=True)
    start(stage)
    stage.session.send(200, "a", "x")
    stage.session.heard(300, message(4, 1))
    assert stage.session.pending == 1


def test_answers_without_an_id_are_for_the_oldest(stage: Any) -> None:
    """A platform that only counts: first in, first answered."""
    start(stage)
    for text in "xyz":
        stage.session.send(200, "a", text)
    stage.session.heard(300, frame(k="ack", c="a"))
    stage.session.heard(300, frame(k="nack", c="a", x=[413, None]))
    rows = stage.journal.rows()[-2:]
    assert list(rows["kind"]) == [Kind.OK, Kind.FAIL]
    assert list(rows["counter"]) == [1, 2]
    assert stage.session.pending == 1


def test_a_second_answer_is_recorded_too(stage: Any) -> None:
    """NACK, then ACK for one id: both are in the record, for the check of single completion."""
    start(stage)
    stage.session.send(200, "a", "x")
    stage.session.heard(300, frame(k="nack", c="a", i="run1-3-1", x=[429, None]))
    stage.session.heard(301, frame(k="ack", c="a", i="run1-3-1", q=2))
    assert kinds(stage)[-2:] == [Kind.FAIL, Kind.OK]
    assert (last(stage)["author"], last(stage)["counter"], last(stage)["seq"]) == (3, 1, 2)


@pytest.mark.parametrize("message_id", ["other-3-1", "nonsense", "run1-x-1", "run1-3-99999999999", "run1-3-²", ""])
def test_an_answer_to_nothing_of_this_run_is_counted_only(stage: Any, message_id: str) -> None:
    """No record can name its message; nothing is invented, nothing fails."""
    start(stage)
    stage.session.heard(300, frame(k="ack", c="a", i=message_id, q=2))
    assert kinds(stage) == [Kind.CONNECT]
    assert stage.tally.drain()[1] == {"answers to nothing asked": 1}
    assert stage.session.frames_recorded == 1


def test_frames_count_as_recorded_only_when_they_are(stage: Any) -> None:
    """A frame whose record fails is missing in `frames_recorded`: the transport's count will show it."""
    start(stage)
    stage.session.heard(300, message(7, 1))
    stage.session.heard(300, frame(k="whatever"))

    def full(*_: int) -> int:
        raise OSError("disk full")

    stage.session._write = full
    with pytest.raises(OSError, match="disk full"):
        stage.session.heard(300, message(7, 2))
    assert stage.session.frames_recorded == 2
    assert stage.session.heard_count == 1


def test_settled_means_answered_and_heard_back(stage: Any) -> None:
    """With echo: after the acknowledgement the own message must still arrive."""
    start(stage)
    sent = json.loads(stage.session.send(200, "a", "x"))
    assert not stage.session.settled
    stage.session.heard(300, frame(k="ack", c="a", i=sent["i"], q=1))
    assert not stage.session.settled
    stage.session.heard(300, frame(k="message", c="a", t=sent["t"], q=1))
    assert stage.session.settled


def test_the_message_hook_hears_after_the_record(stage: Any) -> None:
    """`on_message` sees the event when its record is already there."""
    start(stage)
    seen: list[tuple[int, int]] = []
    stage.session.on_message = lambda event: seen.append((event[0], len(stage.journal.rows())))
    stage.session.heard(300, message(7, 1))
    assert seen == [(MESSAGE, 2)]


def test_a_room_that_is_not_planned_cannot_be_spoken_to(stage: Any) -> None:
    """KeyError, and no counter is used up."""
    start(stage)
    with pytest.raises(KeyError):
        stage.session.send(200, "nowhere", "x")
    stage.session.send(200, "a", "x")
    assert last(stage)["counter"] == 1


def test_what_the_platforms_agent_says(make_stage: Any) -> None:
    """A foreign body whose author is AGENT; a damaged body of ours stays nobody's."""
    stage = make_stage(agents=("robot",))
    start(stage)
    stage.session.heard(200, frame(k="message", c="a", t="You asked", q=1, s="robot"))
    assert (last(stage)["flags"], last(stage)["author"]) == (Flag.FOREIGN_RUN, AN_AGENT)
    stage.session.heard(300, frame(k="message", c="a", t="You asked", q=2, s="somebody"))
    assert last(stage)["author"] == NOBODY
    stage.session.heard(400, frame(k="message", c="a", t="ew1:run1:broken", q=3, s="robot"))
    assert last(stage)["author"] == NOBODY


def test_a_question_is_a_message_in_another_frame(stage: Any) -> None:
    """`encode` puts this one message differently; its record is an ordinary INVOKE."""
    start(stage)
    said = json.loads(stage.session.send(200, "a", "why?", encode=lambda *what: json.dumps(["ask", *what])))
    assert said[:2] == ["ask", "a"]
    assert (last(stage)["kind"], last(stage)["counter"]) == (Kind.INVOKE, 1)
    assert json.loads(stage.session.send(300, "a", "so"))["c"] == "a"


def test_a_request_beside_the_socket_is_answered_whatever_becomes_of_it(stage: Any) -> None:
    """The cut ends what waits on the connection, not the request; its answer is on no connection."""
    start(stage)
    stage.session.send(200, "a", "by socket")
    stage.session.send(210, "a", "by HTTP", posted=True)
    stage.session.closed(300, 1006, own=False)
    assert kinds(stage)[-2:] == [Kind.INFO, Kind.DISCONNECT]
    assert stage.session.pending == 1
    stage.session.connected(dialogue(), 400, 5_000_000)
    stage.session.answered(410, [(ACK, "a", None, 8, None, "run1-3-2", None)])
    row = last(stage)
    assert (row["kind"], row["counter"], row["conn"], row["seq"]) == (Kind.OK, 2, 0, 8)
    assert stage.session.unanswered() == ["run1-3-1"]
    stage.session.heard(420, frame(k="ack", c="a", i="run1-3-1", q=7))
    assert last(stage)["conn"] == 2, "an answer on the socket is on a connection again"


def test_a_request_without_an_answer_puts_what_follows_in_no_order_with_it(stage: Any) -> None:
    """INFO, and another proc from then on; a time limit of the socket does not touch it before."""
    start(stage)
    stage.session.send(200, "a", "by HTTP", posted=True)
    assert stage.session.timeouts(10**12, 1) == []
    stage.session.abandon(300, "run1-3-1")
    assert (last(stage)["kind"], last(stage)["conn"]) == (Kind.INFO, 0)
    stage.session.send(400, "a", "later")
    assert last(stage)["proc"] == 2


def test_at_the_end_of_the_run_a_request_has_no_answer(stage: Any) -> None:
    """Who closes the socket by himself waits no longer."""
    start(stage)
    stage.session.send(200, "a", "by HTTP", posted=True)
    stage.session.closed(300, 1000, own=True)
    assert kinds(stage)[-2:] == [Kind.INFO, Kind.DISCONNECT]
    assert stage.session.pending == 0


def test_a_message_under_a_client_id_of_others(stage: Any) -> None:
    """Its body says whose it is all the same; the answer is found by that id, and so is the retry."""
    start(stage)
    sent = json.loads(stage.session.send(200, "a", "x", message_id="run1-shared-1"))
    body = decode(sent["t"])
    assert sent["i"] == "run1-shared-1"
    assert body is not None
    assert (body.author, body.counter) == (3, 1)
    stage.session.closed(300, 1006, own=False)
    stage.session.connected(dialogue(), 400, 5_000_000)
    again = json.loads(stage.session.retry(410, "run1-shared-1"))
    assert again["i"] == "run1-shared-1"
    stage.session.heard(420, frame(k="ack", c="a", i="run1-shared-1", q=7))
    assert (last(stage)["kind"], last(stage)["counter"], last(stage)["seq"]) == (Kind.OK, 1, 7)
