"""The session over the ends of its connections: what stays open, what goes on, what begins anew; messages as requests,
which outlive a socket; rooms with strangers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from earwitness.checks.history.record import NOBODY, NONE, Flag, Kind, Place, State
from earwitness.harness.client.body import decode, encode
from earwitness.harness.client.events import ACK, NACK
from earwitness.harness.client.outbox import KEPT
from earwitness.harness.client.session import NotConnected
from earwitness.harness.client.statements import digest_of
from earwitness.harness.client.tally import ACKNOWLEDGED
from tests.client.spoken import dialogue, frame, kinds, last, message, start


def test_a_cut_connection_leaves_every_open_message_as_info(stage: Any) -> None:
    """INFO for each before DISCONNECT; both may be sent again on the next connection under the same ids."""
    start(stage)
    stage.session.send(200, "a", "x")
    stage.session.send(201, "a", "y")
    closed: list[bool] = []
    stage.session.on_closed = lambda: closed.append(stage.session.connected_now)
    stage.session.closed(300, 1006, False)
    assert kinds(stage)[-3:] == [Kind.INFO, Kind.INFO, Kind.DISCONNECT]
    rows = stage.journal.rows()
    assert list(rows["counter"][-3:]) == [1, 2, 1006]
    assert list(rows["flags"][-3:]) == [0, 0, 0]
    assert closed == [False]
    assert stage.session.unanswered() == ["run1-3-1", "run1-3-2"]
    with pytest.raises(NotConnected):
        stage.session.send(350, "a", "z")
    with pytest.raises(NotConnected):
        stage.session.retry(350, "run1-3-1")
    assert stage.session.connected(dialogue(), 400, 0) == 2
    again = decode(json.loads(stage.session.retry(410, "run1-3-1"))["t"])
    assert again is not None
    assert (again.counter, again.attempt, again.proc) == (1, 2, 2)
    assert stage.session.unanswered() == ["run1-3-2"]
    assert (last(stage)["conn"], last(stage)["attempt"]) == (2, 2)


def test_news_of_the_account_are_recorded(stage: Any) -> None:
    """What this connection was told, as a look that nobody asked for; the same digest as of a profile that was."""
    start(stage)
    stage.session.heard(200, frame(k="profile", x=["u1", "a@b.test", "Ann"]))
    seen = last(stage)
    assert (seen["kind"], seen["attempt"], seen["proc"]) == (Kind.SEEN, Place.SOCKET, State.PROFILE)
    assert (seen["client"], seen["conn"], seen["seq"], seen["t"]) == (3, 1, NONE, 200)
    assert seen["author"] == stage.journal.names["u1"]  # whose it is, as the platform says
    assert seen["digest"] == digest_of("u1", "a@b.test", "Ann")


def test_the_end_is_recorded_once(stage: Any) -> None:
    """A second report of the same end changes nothing; our own ends are marked."""
    start(stage)
    stage.session.closed(300, 1000, True)
    stage.session.closed(301, 1006, False)
    assert kinds(stage) == [Kind.CONNECT, Kind.DISCONNECT]
    assert (last(stage)["flags"], last(stage)["counter"]) == (Flag.OWN, 1000)


def test_a_device_has_one_connection_at_a_time(stage: Any) -> None:
    """A second connection beside the first is refused: records of both would look like one."""
    start(stage)
    with pytest.raises(RuntimeError, match="connected already"):
        start(stage)


def test_connect_waits_for_the_greeting_and_names_the_replica(stage: Any) -> None:
    """A greeted connection: CONNECT is first and knows the replica; identity, joins and leaves follow."""
    told: list[Any] = []
    stage.session.on_welcome = told.append
    stage.session.connected(dialogue(welcome=True), 100, 5_000_000)
    assert kinds(stage) == []
    stage.session.heard(
        200,
        json.dumps(
            [
                {"k": "welcome", "x": {"user": "uid-3", "replica": "r1", "session": None}},
                {"k": "joined", "c": "a", "q": 4, "x": None},
                {"k": "left", "c": "b"},
            ]
        ),
    )
    assert kinds(stage) == [Kind.CONNECT, Kind.IDENTITY, Kind.JOIN, Kind.LEAVE]
    connect, identity, join, leave = stage.journal.rows()
    assert (connect["t"], connect["size"], connect["author"]) == (200, 5000, stage.journal.names["r1"])
    assert (identity["counter"], identity["aux"]) == (Place.SOCKET, stage.journal.names["uid-3"])
    assert (join["conv"], join["seq"], join["flags"]) == (0, 4, 0)
    assert leave["conv"] == 1
    assert stage.session.welcomed
    assert told[0]["user"] == "uid-3"


@pytest.mark.parametrize("act", ["send", "close", "other frame"])
def test_connect_comes_first_even_without_the_greeting(stage: Any, act: str) -> None:
    """Whatever happens first on a connection, its CONNECT is written before it."""
    stage.session.connected(dialogue(welcome=True), 100, 0)
    if act == "send":
        stage.session.send(200, "a", "x")
    elif act == "close":
        stage.session.closed(200, 4401, False)
    else:
        stage.session.heard(200, message(7, 1))
    assert kinds(stage)[0] == Kind.CONNECT
    assert len(kinds(stage)) == 2
    assert stage.journal.rows()["author"][0] == NOBODY


def test_a_promise_of_continuity_joins_at_the_resume_point(stage: Any) -> None:
    """CONTINUED: deliveries go on behind what we had; REFUSED, as the platform says: it joins at the head."""
    start(stage)
    stage.session.heard(200, message(7, 1, seq=5))
    stage.session.closed(300, 1006, False)
    start(stage)
    stage.session.heard(400, frame(k="joined", c="a", q=8, x=True))
    assert (last(stage)["seq"], last(stage)["flags"]) == (5, Flag.CONTINUED)
    stage.session.heard(400, frame(k="joined", c="a", q=8, x=False))
    assert (last(stage)["seq"], last(stage)["flags"]) == (8, Flag.REFUSED)
    stage.session.heard(500, frame(k="replayed", c="a", q=6, t=encode("run1", 7, 0, 2, 1, 1, "old")[0]))
    assert (last(stage)["kind"], last(stage)["counter"], last(stage)["seq"]) == (Kind.REPLAY, 2, 6)


def test_memory_for_retries_is_bounded(stage: Any) -> None:
    """Only the newest unanswered messages are kept."""
    start(stage)
    for _ in range(KEPT + 5):
        stage.session.send(200, "a", "x")
    stage.session.closed(300, 1006, False)
    assert len(stage.session.unanswered()) == KEPT
    assert stage.session.unanswered()[0] == "run1-3-6"
    assert kinds(stage).count(Kind.INFO) == KEPT + 5


def test_an_answer_to_a_request_counts_no_frame(make_stage: Any) -> None:
    """OK and FAIL as if they had come on the socket, but the transport heard nothing."""
    stage = make_stage(by_http=True)
    start(stage)
    stage.session.send(10_000_000, "a", "x")
    stage.session.send(11_000_000, "a", "y")
    stage.session.answered(12_000_000, [(ACK, "a", None, 17, None, "run1-3-1", None)])
    stage.session.answered(13_000_000, [(NACK, "a", None, -1, None, "run1-3-2", (429, 1.5))])
    assert kinds(stage)[-2:] == [Kind.OK, Kind.FAIL]
    assert list(stage.journal.rows()["seq"][-2:]) == [17, NONE]
    assert stage.session.frames_recorded == 0
    assert (stage.session.acked, stage.session.refused, stage.session.pending) == (1, 1, 0)
    assert stage.tally.drain()[0][ACKNOWLEDGED].total_ns == 2_000_000


def test_after_a_request_without_answer_another_order_begins(make_stage: Any) -> None:
    """INFO; what is said then may overtake it, so it is of another process, never one that was before."""
    stage = make_stage(by_http=True)
    start(stage)
    procs = []
    for now in range(200, 203):
        body = decode(json.loads(stage.session.send(now, "a", "x"))["t"])
        assert body is not None
        procs.append(body.proc)
        stage.session.abandon(now, f"run1-3-{now - 199}")
    assert kinds(stage)[-1] == Kind.INFO
    stage.session.closed(300, 1006, False)
    start(stage)
    stage.session.send(400, "a", "x")
    procs.append(int(last(stage)["proc"]))
    assert procs == [1, 2, 3, 5]
    assert stage.session.unanswered() == ["run1-3-1", "run1-3-2", "run1-3-3"]
    stage.session.abandon(500, "run1-3-1")
    assert last(stage)["kind"] == Kind.INVOKE, "it was abandoned already"


def test_a_request_outlives_the_socket(make_stage: Any) -> None:
    """A cut socket leaves requests open; their answers then belong to no connection. At our own end they are INFO."""
    stage = make_stage(by_http=True)
    start(stage)
    stage.session.send(200, "a", "x")
    stage.session.closed(300, 1006, False)
    assert kinds(stage) == [Kind.CONNECT, Kind.INVOKE, Kind.DISCONNECT]
    stage.session.answered(400, [(ACK, "a", None, 1, None, "run1-3-1", None)])
    assert (last(stage)["kind"], last(stage)["conn"]) == (Kind.OK, 0)
    start(stage)
    stage.session.send(500, "a", "y")
    stage.session.closed(600, 1000, True)
    assert kinds(stage)[-2:] == [Kind.INFO, Kind.DISCONNECT]
    start(stage)
    stage.session.send(700, "a", "z")
    stage.session.closed(800, 1006, False)
    start(stage)
    stage.session.answered(900, [(ACK, "a", None, 1, None, "run1-3-3", None)])
    assert (last(stage)["kind"], last(stage)["conn"]) == (Kind.OK, 0), "on none, whichever is open by then"


@pytest.mark.parametrize(
    ("text", "label", "recorded"),
    [
        ("good morning", "a", False),
        (encode("old", 7, 0, 1, 1, 1, "hello")[0], "a", False),
        ("good morning", "b", True),
        (encode("old", 7, 1, 1, 1, 1, "hello")[0], "b", True),
        (encode("run1", 7, 0, 1, 1, 1, "hello")[0], "a", True),
        (encode("run1", 7, 0, 1, 1, 1, "hello")[0].replace("hello", "hellO"), "a", True),
        (encode("run1", 7, 0, 1, 1, 1, "hello")[0][:14], "a", True),
    ],
)
def test_what_strangers_say_is_recorded_only_where_there_should_be_none(
    make_stage: Any, text: str, label: str, recorded: bool
) -> None:
    """Room a was there before the run, room b was made for it. What is or was ours is recorded anywhere."""
    stage = make_stage(strangers=lambda label: label == "a")
    start(stage)
    stage.session.heard(300, frame(k="message", c=label, t=text, q=8))
    assert (kinds(stage)[-1] == Kind.DELIVER) is recorded
    assert stage.session.heard_count == int(recorded)
    assert stage.session.resume_points() == {label: 8}, "resuming goes on behind what was heard, whoever said it"
    assert stage.session.frames_recorded == 1


def test_from_where_a_connection_asked_to_go_on_is_recorded(stage: Any) -> None:
    """In its JOIN, once: a later one of the same connection had not asked, nor has one after leaving."""
    stage.session.asked = {"a": 5, "b": 6}
    start(stage)
    stage.session.heard(200, frame(k="joined", c="a", q=8))
    assert (last(stage)["seq"], last(stage)["aux"], last(stage)["flags"]) == (8, 5, 0)
    stage.session.heard(300, frame(k="joined", c="a", q=9))
    assert last(stage)["aux"] == NONE
    stage.session.heard(400, frame(k="left", c="b"))
    stage.session.heard(500, frame(k="joined", c="b", q=9))
    assert last(stage)["aux"] == NONE


def test_who_was_put_out_begins_anew(stage: Any) -> None:
    """Nothing of before is asked for again; the hook hears of it, and of the room until it is joined again."""
    start(stage)
    left: list[str] = []
    stage.session.on_left = left.append
    stage.session.heard(200, message(7, 1, seq=5))
    stage.session.heard(300, frame(k="left", c="a"))
    assert (left, stage.session.outside, stage.session.resume_points()) == (["a"], {"a"}, {})
    stage.session.heard(400, frame(k="joined", c="a", q=8))
    assert (stage.session.outside, stage.session.resume_points()) == (set(), {"a": 8})
