"""The reference dialect translates frames into heard things, fast and without ever raising."""

from __future__ import annotations

import json
from typing import Any

import pytest

from earwitness.harness.client.events import (
    ACK,
    AGENT,
    EDITED,
    JOINED,
    MARKED,
    MESSAGE,
    NACK,
    OTHER,
    PRESENCE,
    PROFILE,
    WELCOME,
)
from earwitness.harness.dialects.protocol import Credentials, Person
from earwitness.harness.dialects.reference.dialect import ReferenceTarget


@pytest.fixture
def target() -> ReferenceTarget:
    return ReferenceTarget(
        {"edge": "http://127.0.0.1:1", "auth": "http://127.0.0.1:2", "frontend": "http://127.0.0.1:3"}
    )


MESSAGE_FRAME = {
    "type": "message",
    "conversation": "room-1",
    "seq": 7,
    "id": "m1",
    "sender": "u1",
    "text": 'h\u00e9 "x"',
    "at": "2026-01-01T00:00:00Z",
}


def test_message(target: ReferenceTarget) -> None:
    """A message is one tuple with label, text, number, sender and client id, from text and from bytes."""
    expected = ((MESSAGE, "room-1", 'h\u00e9 "x"', 7, "u1", "m1", None),)
    assert target.hear(json.dumps(MESSAGE_FRAME)) == expected
    assert target.hear(json.dumps(MESSAGE_FRAME).encode()) == expected


def test_answers(target: ReferenceTarget) -> None:
    """ack carries its number, nack its code and waiting time."""
    ack = {"type": "ack", "id": "m1", "conversation": "room-1", "seq": 7}
    assert target.hear(json.dumps(ack)) == ((ACK, "room-1", None, 7, None, "m1", None),)
    nack = {"type": "nack", "id": "m2", "code": 429, "reason": "slow down", "retry_after": 0.5}
    assert target.hear(json.dumps(nack)) == ((NACK, None, None, -1, None, "m2", (429, 0.5)),)
    del nack["retry_after"]
    assert target.hear(json.dumps(nack))[0][6] == (429, None)


def test_welcome_subscribes(target: ReferenceTarget) -> None:
    """A welcome is heard as WELCOME and one JOINED per conversation, at its head."""
    frame = {
        "type": "welcome", "user": "u1", "name": "Ann", "replica": "backend-1", "session": "s1",
        "conversations": {"room-1": 4, "room-2": 0},
    }  # fmt: skip
    assert target.hear(json.dumps(frame)) == (
        (WELCOME, None, None, -1, "u1", None, {"user": "u1", "replica": "backend-1", "session": "s1"}),
        (JOINED, "room-1", None, 4, None, None, None),
        (JOINED, "room-2", None, 0, None, None, None),
    )


def test_welcome_tells_the_read_marks(target: ReferenceTarget) -> None:
    """Of all conversations, 0 where nothing was read; when resuming too."""
    frame = {"type": "welcome", "user": "u1", "conversations": {"a": 4, "b": 0}, "read": {"a": 3}, "resume": True}
    (heard,) = target.hear(json.dumps(frame))
    assert (heard[0], heard[6]["read"]) == (WELCOME, {"a": 3, "b": 0})


def test_what_devices_share(target: ReferenceTarget) -> None:
    """A read mark, an edit with its number and version, and who is online."""
    mark = {"type": "read", "conversation": "a", "seq": 7}
    assert target.hear(json.dumps(mark)) == ((MARKED, "a", None, 7, None, None, None),)
    edit = {"type": "edited", "conversation": "a", "n": 4, "seq": 7, "version": 2, "text": "new", "at": "…"}
    assert target.hear(json.dumps(edit)) == ((EDITED, "a", "new", 7, None, None, (4, 2)),)
    there = {"type": "presence", "conversation": "a", "users": {"u1": True, "u2": False}, "whole": False}
    assert target.hear(json.dumps(there)) == ((PRESENCE, "a", None, -1, None, None, {"u1": True, "u2": False}),)


def test_news_of_the_own_account(target: ReferenceTarget) -> None:
    """Id, e-mail and name, as a profile that was asked for has them."""
    user = {"id": "u1", "email": "a@b.test", "name": "Ann", "is_active": True}
    assert target.hear(json.dumps({"type": "user", "user": user})) == (
        (PROFILE, None, None, -1, None, None, ("u1", "a@b.test", "Ann")),
    )


@pytest.mark.parametrize(("complete", "extra"), [(True, True), (False, False), (None, None)])
def test_joined(target: ReferenceTarget, complete: bool | None, extra: bool | None) -> None:
    """`complete` tells whether the session continues without a gap."""
    frame = {"type": "joined", "conversation": "room-1", "head": 9, "complete": complete}
    assert target.hear(json.dumps(frame)) == ((JOINED, "room-1", None, 9, None, None, extra),)


def test_agent(target: ReferenceTarget) -> None:
    """An agent's event carries run, event and chunk number."""
    frame = {"type": "agent", "conversation": "room-1", "run": "r1", "event": "chunk", "n": 3, "text": "so"}
    assert target.hear(json.dumps(frame)) == ((AGENT, "room-1", "so", -1, None, None, ("r1", "chunk", 3)),)


@pytest.mark.parametrize(
    ("run", "question"), [("room-1#12", 12), ("a#b#7", 7), ("12", 12), ("r#", -1), ("r#²", -1), ("r#" + "9" * 99, -1)]
)
def test_an_answer_names_its_question(target: ReferenceTarget, run: str, question: int) -> None:
    """By the number with which the id of the run ends; -1 if there is none that can be one."""
    frame = {"type": "agent", "conversation": "room-1", "run": run, "event": "started", "n": 0, "text": ""}
    assert [event[3] for event in target.hear(json.dumps(frame))] == [question]


@pytest.mark.parametrize(
    "data",
    [
        "", "{", "[]", "7", "null", '"text"', '{"type":"new thing"}', '{"no":"type"}', b"\xff\xfe", '{"type":[]}',
        '{"type":"ack","id":"m"}', '{"type":"nack","id":"m","code":"many"}', '{"type":"welcome","user":"u"}',
        '{"type":"welcome","user":"u","conversations":[1]}', '{"type":"joined","conversation":"c","head":"x"}',
        '{"type":"ack","id":"m","conversation":"c","seq":18446744073709551615}',
        '{"type":"read","conversation":"c","seq":"7"}', '{"type":"read","conversation":"c","seq":18446744073709551615}',
        '{"type":"edited","conversation":"c","seq":7}', '{"type":"presence","conversation":"c","users":["u"]}',
        '{"type":"welcome","user":"u","conversations":{"c":1},"read":{"c":"x"}}',
        '{"type":"agent","conversation":"c","run":"r#1","event":"chunk","n":0,"text":1.5}',
        '{"type":"nack","id":"m","code":429,"conversation":["c"]}',
        '{"type":"user"}', '{"type":"user","user":"u"}', '{"type":"user","user":{"id":"u"}}',
    ],
)  # fmt: skip
def test_bad_input_is_other(target: ReferenceTarget, data: str | bytes) -> None:
    """What cannot be understood is OTHER, never an exception: a broken server must not stop the witness."""
    assert [heard[0] for heard in target.hear(data)] == [OTHER]


@pytest.mark.parametrize(
    ("key", "value"),
    [("seq", "7"), ("seq", None), ("seq", -5), ("seq", 1 << 63), ("seq", True), ("text", None), ("text", 3),
     ("conversation", None), ("conversation", {}), ("sender", []), ("sender", None)],
)  # fmt: skip
def test_message_with_wrong_types_is_other(target: ReferenceTarget, key: str, value: Any) -> None:
    """A value that a record could not hold never passes as a message."""
    assert [heard[0] for heard in target.hear(json.dumps({**MESSAGE_FRAME, key: value}))] == [OTHER]


def test_encode_is_json(target: ReferenceTarget) -> None:
    """The hand-built frame is JSON whatever is in label, id and text."""
    for text in ("plain", 'quotes " and \\ and \n', "\U0001f600 \u202e", "\x00\x7f"):
        frame = json.loads(target.encode('a "room"', 'id"1', text))
        assert frame == {"type": "send", "conversation": 'a "room"', "id": 'id"1', "text": text}
    somebody = Credentials(person=Person(number=0, name="ann", email="a@b"), user_id="u", token="T")
    asked = json.loads(target.question(target.dialogue(somebody), "r", "i", "why?"))
    assert asked == {"type": "send", "conversation": "r", "id": "i", "text": "why?", "ask": True}


def test_a_refusal_of_another_frame_is_no_answer(target: ReferenceTarget) -> None:
    """It would otherwise be taken for the answer to the oldest message that waits for one."""
    refused = {"type": "nack", "id": None, "code": 403, "reason": "no member"}
    assert [heard[0] for heard in target.hear(json.dumps(refused))] == [NACK]
    assert target.hear(json.dumps({**refused, "of": "watch"})) == ()
