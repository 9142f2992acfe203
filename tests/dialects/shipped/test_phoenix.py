"""Phoenix channels v2: frames of its documentation, and our small server that is written from it.

https://hexdocs.pm/phoenix/writing_a_channels_client.html and https://supabase.com/docs/guides/realtime/protocol
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dialect_talk import ROOM, TEXT, dialogue, example, fuzz, sent, talk
from server_processes import saying_its_port

from earwitness.dialects import ACK, BEATS, JOINED, LEFT, MESSAGE, NACK, OTHER, WELCOME
from earwitness.harness.dialects.protocol import Target
from earwitness.harness.errors import SettingsError

SERVER = Path(__file__).parents[2] / "support/phoenix_server.py"
SUPABASE = (
    ('topic = "room:{room}"', 'topic = "realtime:{room}"\njoin = { config = { broadcast = {ack = true, self = true}}}'),
    ('event = "new_msg"', 'event = "broadcast"'),
    (
        'send = { body = "{text}" }',
        'send = { type = "broadcast", event = "chat", payload = { content = "{text}", username = "{name}" } }',
    ),
    ('text = "body"', 'text = "payload.content"'),
    ('sender = "user"', 'sender = "payload.username"'),
    ('sequence = "contiguous"', 'sequence = "none"'),
)  # fmt: skip


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return example(tmp_path, "phoenix")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with saying_its_port(sys.executable, str(SERVER), "--port", "0", "--timeout", "1.0") as number:
        yield number


def joined(target: Target, topic: str = "room:t0-r0-of-2") -> Any:
    """Return a dialogue that has joined one room."""
    said = dialogue(target, [ROOM])
    said.opened()
    heard = said.received(json.dumps(["1", "1", topic, "phx_reply", {"status": "ok", "response": {}}]))
    assert [event[0] for event in heard] == [JOINED, WELCOME]
    said.out.clear()
    return said


def test_joining(target: Target) -> None:
    """Each topic is joined with a reference of its own; the socket is usable when all are answered."""
    said = dialogue(target)
    assert said.handshake.url == "ws://127.0.0.1:4000/socket/websocket?user=ann-0&vsn=2.0.0"
    assert said.opened() == ()
    assert sent(said) == [
        ["1", "1", "room:t0-r0-of-2", "phx_join", {}],
        ["2", "2", "room:t0-r1-of-2", "phx_join", {}],
    ]
    heard = said.received('["2", "2", "room:t0-r1-of-2", "phx_reply", {"status": "ok", "response": {}}]')
    assert [event[:2] for event in heard] == [(JOINED, "t0-r1-of-2")]
    refused = '["1", "1", "room:t0-r0-of-2", "phx_reply", {"status": "error", "response": {"reason": "no"}}]'
    assert [event[0] for event in said.received(refused)] == [OTHER, WELCOME]
    alone = dialogue(target, [])
    assert [event[0] for event in alone.opened()] == [WELCOME]


def test_messages_and_answers(target: Target) -> None:
    """Broadcasts are messages; a reply names the reference of what it answers."""
    said = joined(target)
    frame = json.loads(said.send(ROOM.label, "m-1", TEXT))
    assert frame == ["1", "2", "room:t0-r0-of-2", "new_msg", {"body": TEXT}]
    answer = '["1", "2", "room:t0-r0-of-2", "phx_reply", {"status": "ok", "response": {"number": 7}}]'
    assert said.received(answer) == ((ACK, None, None, 7, None, "m-1", None),)
    assert said.received(answer) == ()
    said.send(ROOM.label, "m-2", TEXT)
    refusal = '["1", "3", "room:t0-r0-of-2", "phx_reply", {"status": "error", "response": {"reason": "long"}}]'
    assert said.received(refusal) == ((NACK, None, None, -1, None, "m-2", (400, None)),)
    body = {"body": TEXT, "user": "bob-1", "number": 8}
    heard = said.received(json.dumps([None, None, "room:t0-r0-of-2", "new_msg", body]))
    assert heard == ((MESSAGE, ROOM.label, TEXT, 8, "bob-1", None, None),)
    assert said.received('[null, null, "room:t0-r0-of-2", "presence_diff", {"joins": {}, "leaves": {}}]') == ()
    for odd in ('[null, null, "room:t0-r0-of-2", "new_msg", {"body": 5}]', "[1, 2]", "x", b"\x00\x01", '{"a": 1}'):
        assert [event[0] for event in said.received(odd)] == [OTHER]


def test_heartbeats(target: Target) -> None:
    """On the topic "phoenix", every 30 s unless the file says otherwise; the answer is nothing to record."""
    said = joined(target)
    assert said.beat_s == 30.0
    said.tick()
    assert sent(said) == [[None, "2", "phoenix", "heartbeat", {}]]
    assert said.received('[null, "2", "phoenix", "phx_reply", {"status": "ok", "response": {}}]') == BEATS


def test_a_channel_that_ends(target: Target) -> None:
    """After a crash it is joined again; a channel that was replaced since is left alone; a closed one stays closed."""
    said = joined(target)
    assert [event[0] for event in said.received('["1", "1", "room:t0-r0-of-2", "phx_error", {}]')] == [LEFT]
    assert sent(said) == [["2", "2", "room:t0-r0-of-2", "phx_join", {}]]
    again = said.received('["2", "2", "room:t0-r0-of-2", "phx_reply", {"status": "ok", "response": {}}]')
    assert [event[0] for event in again] == [JOINED]
    assert said.received('["1", "1", "room:t0-r0-of-2", "phx_close", {}]') == ()
    assert [event[0] for event in said.received('["2", "2", "room:t0-r0-of-2", "phx_close", {}]')] == [LEFT]
    assert said.out == []


def test_supabase(tmp_path: Path) -> None:
    """The frames of Supabase's documentation, by options alone."""
    said = joined(example(tmp_path, "phoenix", *SUPABASE), "realtime:t0-r0-of-2")
    frame = json.loads(said.send(ROOM.label, "m-1", TEXT))
    payload = {"type": "broadcast", "event": "chat", "payload": {"content": TEXT, "username": "ann-0"}}
    assert frame == ["1", "2", "realtime:t0-r0-of-2", "broadcast", payload]
    heard = said.received(
        '[null, null, "realtime:t0-r0-of-2", "broadcast", {"event": "user-event", "type": "broadcast", "payload":'
        ' {"content": "Hello, World!", "createdAt": "2025-11-17T21:14:14Z",'
        ' "id": "9b823349-71c0-465b-9a83-a63aa2a9ae6d", "username": "VCSHLD556nQD-B-vUTJJ3"}}]'
    )
    assert heard == ((MESSAGE, ROOM.label, "Hello, World!", -1, "VCSHLD556nQD-B-vUTJJ3", None, None),)


def test_a_message_of_a_foreign_room(target: Target) -> None:
    """It is a leak, so it is reported with its room; a name of another form is not understood."""
    said = joined(target)
    heard = said.received(
        json.dumps([None, None, "room:t0-r9-of-5", "new_msg", {"body": TEXT, "user": "eve", "number": 1}])
    )
    assert [event[:3] for event in heard] == [(MESSAGE, "t0-r9-of-5", TEXT)]
    assert [
        event[0] for event in said.received(json.dumps([None, None, "lobby:t0-r9-of-5", "new_msg", {"body": TEXT}]))
    ] == [OTHER]


def test_promises_that_cannot_be_judged(tmp_path: Path) -> None:
    """They are mistakes of the file, not checks that stay UNKNOWN for ever."""
    for old, new, words in (
        ('sender = "user"\n', "", r"options\.sender is missing, and \[contract\] names_sender = true"),
        ('\nnumber = "number"\n', "\n", r'options\.number is missing, and \[contract\] sequence = "contiguous"'),
        ("names_sender = true", "history = true", r"the promise \[contract\] history = true cannot be judged"),
    ):
        with pytest.raises(SettingsError, match=words):
            example(tmp_path, "phoenix", (old, new))


def test_mutated_frames(target: Target) -> None:
    """Whatever arrives, a dialogue returns events."""
    topic = "room:t0-r0-of-2"
    frames: list[Any] = [
        ["1", "1", topic, "phx_reply", {"status": "ok", "response": {}}],
        [None, None, topic, "new_msg", {"body": "ew1:x", "user": "bob", "number": 3}],
        ["1", "1", topic, "phx_error", {}],
        ["1", "1", topic, "phx_close", {}],
        [None, "3", "phoenix", "phx_reply", {"status": "ok", "response": {}}],
        [None, None, topic, "presence_state", {}],
    ]
    assert fuzz(lambda: dialogue(target, [ROOM]), frames) > 1000


def test_a_talk(tmp_path: Path, port: int) -> None:
    """Texts arrive unchanged at both, with sender and number; heartbeats keep sockets open beyond two time-outs."""
    target = example(tmp_path, "phoenix", ("4000", str(port)), ("[contract]", "heartbeat_s = 0.4\n[contract]"))
    texts = [f"{TEXT} {n}" for n in range(6)]
    said = talk(target, texts, idle_s=2.5)
    assert [one.texts() for one in said.people] == [texts, texts]
    seen = [event[3:5] for event in said.people[1].events if event[0] == MESSAGE]
    first = seen[0][0]  # the server has served other tests before
    assert seen == [(first + n, ("ann-0", "bob-1")[n % 2]) for n in range(6)]
    assert [one.count(ACK) for one in said.people] == [3, 3]


def test_a_talk_without_heartbeats(tmp_path: Path, port: int) -> None:
    """The server of the test does cut a socket that sends nothing."""
    target = example(tmp_path, "phoenix", ("4000", str(port)))
    with pytest.raises(AssertionError, match="no heartbeat"):
        talk(target, [TEXT, TEXT], idle_s=1.8)


def test_a_talk_of_supabase(tmp_path: Path, port: int) -> None:
    """Broadcasts with `ack` and `self`."""
    texts = [f"{TEXT} {n}" for n in range(4)]
    said = talk(example(tmp_path, "phoenix", ("4000", str(port)), *SUPABASE), texts)
    assert [one.texts() for one in said.people] == [texts, texts]
