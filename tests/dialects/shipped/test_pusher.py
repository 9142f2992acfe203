"""Pusher protocol 7: frames and signatures of its documentation, and our small server that is written from it.

https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol, …/auth-signatures, …/rest-api
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from dialect_talk import ANN, ROOM, TEXT, dialogue, example, fuzz, sent, talk
from server_processes import saying_its_port

from earwitness.dialects import (
    ACK,
    BEATS,
    JOINED,
    MESSAGE,
    NACK,
    OTHER,
    WELCOME,
    Credentials,
    FlowError,
    HttpResponse,
    Room,
)
from earwitness.harness.dialects.protocol import Target
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.errors import SettingsError

SERVER = Path(__file__).parents[2] / "support/pusher_server.py"
CHANNEL = "private-t0-r0-of-2"
ESTABLISHED = (
    '{"event":"pusher:connection_established","data":"{\\"socket_id\\":\\"1234.1234\\",\\"activity_timeout\\":120}"}'
)
BY_CLIENT = (
    ('event = "message"', 'by = "client"'),
    ("ordered = true", "ordered = true\nacknowledges = false\necho = false"),
    ("private-{room}", "presence-{room}"),
)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSHER_APP_SECRET", "app-secret")


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return example(tmp_path, "pusher")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with saying_its_port(sys.executable, str(SERVER), "--port", "0", "--activity", "1.0") as number:
        yield number


def documented(folder: Path) -> Any:
    """Return a dialogue with key and secret of the documentation's worked examples, whose socket has its id."""
    room = Room(number=0, label="foobar", members=(ANN,))
    said = dialogue(example(folder, "pusher", ('key = "app-key"', 'key = "278d425bdf160c739803"')), [room])
    assert said.received(ESTABLISHED) == ()
    return said


def subscribed(target: Target) -> Any:
    said = dialogue(target, [ROOM])
    said.received(ESTABLISHED)
    channel = next(iter(said.label_of))
    heard = said.received(f'{{"event":"pusher_internal:subscription_succeeded","channel":"{channel}","data":"{{}}"}}')
    assert [event[0] for event in heard] == [JOINED, WELCOME]
    said.out.clear()
    return said


def test_signatures_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worked examples of a private channel and of a presence channel."""
    monkeypatch.setenv("PUSHER_APP_SECRET", "7ad3773142a6692b25b8")
    private = sent(documented(tmp_path))
    wanted = "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
    assert private == [{"event": "pusher:subscribe", "data": {"channel": "private-foobar", "auth": wanted}}]
    target = example(tmp_path, "pusher")
    signed: Any = target.target  # type: ignore[attr-defined]
    shown = '1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Channels"}}'
    assert signed.signed(shown) == "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80"


def test_connecting(target: Target, tmp_path: Path) -> None:
    """The address has the key; a refused channel is shown; without rooms the socket is usable at once."""
    said = dialogue(target)
    assert said.handshake.url == "ws://127.0.0.1:6001/app/app-key?protocol=7&client=earwitness&version=1.0"
    assert said.received(ESTABLISHED) == ()
    assert [frame["data"]["channel"] for frame in sent(said)] == [CHANNEL, "private-t0-r1-of-2"]
    refused = f'{{"event":"pusher:subscription_error","channel":"{CHANNEL}","data":"{{\\"status\\":401}}"}}'
    assert [event[0] for event in said.received(refused)] == [OTHER]
    assert [event[0] for event in dialogue(target, []).received(ESTABLISHED)] == [WELCOME]
    public = dialogue(example(tmp_path, "pusher", ("private-{room}", "{room}")), [ROOM])
    public.received(ESTABLISHED)
    assert sent(public) == [{"event": "pusher:subscribe", "data": {"channel": ROOM.label}}]


def test_messages_and_pings(target: Target) -> None:
    """Data is JSON within JSON, or plain JSON from some servers; pings are answered, and sent in turn."""
    said = subscribed(target)
    data = {"text": TEXT, "sender": "bob-1"}
    for form in (json.dumps(data), data):
        heard = said.received(json.dumps({"event": "message", "channel": CHANNEL, "data": form}))
        assert heard == ((MESSAGE, ROOM.label, TEXT, -1, "bob-1", None, None),)
    assert said.received('{"event":"pusher:ping","data":{}}') == BEATS
    assert sent(said) == [{"event": "pusher:pong", "data": {}}]
    assert (said.beat_s, said.tick()) == (30.0, ())
    assert sent(said) == [{"event": "pusher:ping", "data": {}}]
    assert said.received('{"event":"pusher:pong","data":"{}"}') == BEATS
    error = '{"event":"pusher:error","data":{"code":4301,"message":"client event rejected - rate limit exceeded"}}'
    assert [event[0] for event in said.received(error)] == [OTHER]


def test_a_request(target: Target, tmp_path: Path) -> None:
    """An event is triggered with a signed request, whose answer is the acknowledgement."""
    by_http = target.parts.sends_by_http
    assert by_http is not None
    shown = Credentials(person=ANN, user_id="ann-0", token="")
    request = next(by_http.post(shown, ROOM.label, "m-1", TEXT))
    parts = urlsplit(request.url)
    assert (request.method, parts.path) == ("POST", "/apps/app-id/events")
    assert sorted(parse_qs(parts.query)) == [
        "auth_key", "auth_signature", "auth_timestamp", "auth_version", "body_md5",
    ]  # fmt: skip
    event = json.loads(request.body)
    assert (event["name"], event["channels"]) == ("message", [CHANNEL])
    assert json.loads(event["data"]) == {"text": TEXT, "sender": "ann-0"}
    for status, kind in ((200, ACK), (413, NACK)):
        flow = by_http.post(shown, ROOM.label, "m-1", TEXT)
        next(flow)
        with pytest.raises(StopIteration) as end:
            flow.send(HttpResponse(status, {}, b"{}"))
        assert [event[0] for event in end.value.value] == [kind]
    flow = by_http.post(shown, ROOM.label, "m-1", TEXT)
    next(flow)
    with pytest.raises(FlowError, match="expected 200, got 503"):
        flow.send(HttpResponse(503, {}, b"later"))


def test_client_events(tmp_path: Path) -> None:
    """They leave on the socket; the server states who sent them on a presence channel."""
    target = example(tmp_path, "pusher", *BY_CLIENT)
    assert target.parts.sends_by_http is None
    said = subscribed(target)
    frame = json.loads(said.send(ROOM.label, "m-1", TEXT))
    data = {"text": TEXT, "sender": "ann-0"}
    assert frame == {"event": "client-message", "channel": "presence-t0-r0-of-2", "data": data}
    heard = said.received(json.dumps({**frame, "user_id": "the-servers-word"}))
    assert heard == ((MESSAGE, ROOM.label, TEXT, -1, "the-servers-word", None, None),)


def test_mistakes_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promises that client events cannot keep, a wrong name of an event, a secret that is not there."""
    with pytest.raises(SettingsError, match="client events are neither acknowledged nor sent to their sender"):
        example(tmp_path, "pusher", BY_CLIENT[0])
    with pytest.raises(SettingsError, match="does not begin with client-"):
        example(tmp_path, "pusher", ('event = "message"', 'by = "client"\nevent = "message"'), BY_CLIENT[1])
    with pytest.raises(SettingsError, match=r"options\.channel does not contain \{room\}"):
        example(tmp_path, "pusher", ("private-{room}", "private-all"))
    with pytest.raises(SettingsError, match=r"options\.data does not contain \{text\}"):
        example(tmp_path, "pusher", ('text = "{text}"', 'text = "{id}"'))
    example(tmp_path, "pusher")
    monkeypatch.delenv("PUSHER_APP_SECRET")
    with pytest.raises(SettingsError, match="PUSHER_APP_SECRET, which is not set"):
        load_target(tmp_path / "pusher.toml")


def test_a_message_of_a_foreign_room(target: Target) -> None:
    """It is a leak, so it is reported with its room; a name of another form is not understood."""
    said = subscribed(target)
    heard = said.received(json.dumps({"event": "message", "channel": "private-t0-r9-of-5", "data": {"text": TEXT}}))
    assert [event[:3] for event in heard] == [(MESSAGE, "t0-r9-of-5", TEXT)]
    assert [
        event[0]
        for event in said.received(json.dumps({"event": "message", "channel": "lobby", "data": {"text": TEXT}}))
    ] == [OTHER]


def test_mutated_frames(target: Target) -> None:
    """Whatever arrives, a dialogue returns events."""
    frames: list[Any] = [
        json.loads(ESTABLISHED),
        {"event": "pusher_internal:subscription_succeeded", "channel": CHANNEL, "data": "{}"},
        {"event": "message", "channel": CHANNEL, "data": '{"text":"ew1:x","sender":"bob"}'},
        {"event": "message", "channel": CHANNEL, "data": {"text": "ew1:x", "sender": 7}, "user_id": "bob"},
        {"event": "pusher:subscription_error", "channel": CHANNEL, "data": "{}"},
        {"event": "pusher:ping", "data": {}},
    ]
    assert fuzz(lambda: dialogue(target, [ROOM]), frames) > 1000


def test_a_talk(tmp_path: Path, port: int) -> None:
    """Texts arrive unchanged at both; pings keep the sockets open beyond two time-outs."""
    replaced = [("6001", str(port)), ("[contract]", "ping_s = 0.4\n[contract]")]
    texts = [f"{TEXT} {n}" for n in range(6)]
    said = talk(example(tmp_path, "pusher", *replaced), texts, idle_s=3.0)
    assert [one.texts() for one in said.people] == [texts, texts]
    assert [event[4] for event in said.people[1].events if event[0] == MESSAGE] == ["ann-0", "bob-1"] * 3


def test_the_servers_pings_are_answered(tmp_path: Path, port: int) -> None:
    """A user who never pings is asked, and stays: the server of the test cuts whoever does not answer."""
    texts = [f"{TEXT} {n}" for n in range(2)]
    said = talk(example(tmp_path, "pusher", ("6001", str(port))), texts, idle_s=2.6)
    assert said.people[0].texts() == texts


def test_a_talk_of_clients(tmp_path: Path, port: int) -> None:
    """Client events reach the other one, not their sender."""
    texts = [f"{TEXT} {n}" for n in range(4)]
    said = talk(example(tmp_path, "pusher", ("6001", str(port)), *BY_CLIENT), texts, echo=False)
    assert [one.texts() for one in said.people] == [texts[1::2], texts[0::2]]
    assert {event[4] for event in said.people[1].events if event[0] == MESSAGE} == {"ann-0"}
