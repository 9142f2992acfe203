"""GraphQL over WebSocket: frames of its documentation, and a real server, strawberry-graphql, where it is installed.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dialect_talk import ANN, ROOM, TEXT, dialogue, example, fuzz, sent, talk
from server_processes import saying_its_port

from earwitness.dialects import (
    ACK,
    BEATS,
    JOINED,
    LEFT,
    MESSAGE,
    NACK,
    OTHER,
    WELCOME,
    Credentials,
    FlowError,
    HttpResponse,
    StoredRow,
)
from earwitness.harness.dialects.protocol import Target
from earwitness.harness.errors import SettingsError

SERVER = Path(__file__).parents[2] / "support/graphql_server.py"
NEEDED = ("strawberry", "uvicorn", "starlette", "websockets")
BY_SOCKET = ('by = "http"', 'by = "socket"')
BY_PONG = ('joined = "next"', 'joined = "pong"')
SHOWN = Credentials(person=ANN, user_id="ann-0", token="")


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return example(tmp_path, "graphql_ws")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        pytest.skip(f"not run, {', '.join(missing)} missing: pip install 'earwitness[servers]'")
    with saying_its_port(sys.executable, str(SERVER), "--port", "0") as number:
        yield number


def event(number: int = 1, text: str = TEXT) -> dict[str, Any]:
    message = {"id": "m-1", "text": text, "sender": "bob-1", "number": number}
    return {"id": "r0", "type": "next", "payload": {"data": {"said": {"message": message}}}}


def answered(flow: Any, status: int, body: object) -> Any:
    """Return the result of a flow of one request."""
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(HttpResponse(status, {}, json.dumps(body).encode()))
    return end.value.value


def test_opening(target: Target) -> None:
    """Init, acknowledgement, then a subscription for each room; the first event of one shows that it works."""
    said = dialogue(target)
    assert said.handshake.subprotocols == ("graphql-transport-ws",)
    assert said.opened() == ()
    assert sent(said) == [{"type": "connection_init", "payload": {"user": "ann-0"}}]
    assert [one[0] for one in said.received('{"type":"connection_ack"}')] == [WELCOME]
    frames = sent(said)
    assert [(frame["id"], frame["type"]) for frame in frames] == [("r0", "subscribe"), ("r1", "subscribe")]
    assert frames[0]["payload"]["variables"] == {"room": ROOM.label}
    assert "subscription ($room: String!)" in frames[0]["payload"]["query"]
    ready = '{"id":"r1","type":"next","payload":{"data":{"said":{"message":null}}}}'
    assert [one[:2] for one in said.received(ready)] == [(JOINED, "t0-r1-of-2")]
    assert [one[0] for one in said.received(json.dumps(event()))] == [JOINED, MESSAGE]
    assert said.received(json.dumps(event(2))) == ((MESSAGE, ROOM.label, TEXT, 2, "bob-1", "m-1", None),)


def test_joined_by_pong(tmp_path: Path) -> None:
    """The answer to a ping behind the subscriptions, where the server works off frames in turn."""
    said = dialogue(example(tmp_path, "graphql_ws", BY_PONG))
    said.received('{"type":"connection_ack"}')
    assert [frame["type"] for frame in sent(said)] == ["subscribe", "subscribe", "ping"]
    assert [one[:2] for one in said.received('{"type":"pong"}')] == [(JOINED, ROOM.label), (JOINED, "t0-r1-of-2")]
    assert said.received('{"type":"pong"}') == ()


def test_the_end_of_a_subscription(target: Target) -> None:
    """The room is left; an error is shown as well. A ping is answered."""
    for kind, wanted in (("complete", [LEFT]), ("error", [LEFT, OTHER])):
        said = dialogue(target)
        said.received('{"type":"connection_ack"}')
        said.out.clear()
        frame = {"id": "r0", "type": kind, "payload": [{"message": "gone"}]}
        assert [one[0] for one in said.received(json.dumps(frame))] == wanted
        assert [one[0] for one in said.received(json.dumps(event()))] == [OTHER]
        assert said.received('{"type":"ping","payload":{}}') == BEATS
        assert sent(said) == [{"type": "pong"}]


def test_mutations_on_the_socket(tmp_path: Path) -> None:
    """Each with an id of its own; its result, or its errors, are the answer."""
    target = example(tmp_path, "graphql_ws", BY_SOCKET)
    assert target.parts.sends_by_http is None
    said = dialogue(target)
    frame = json.loads(said.send(ROOM.label, "m-1", TEXT))
    assert (frame["id"], frame["type"]) == ("m1", "subscribe")
    assert frame["payload"]["variables"] == {"room": ROOM.label, "text": TEXT, "id": "m-1"}
    result = '{"id":"m1","type":"next","payload":{"data":{"send":{"number":4}}}}'
    assert said.received(result) == ((ACK, None, None, 4, None, "m-1", None),)
    assert said.received('{"id":"m1","type":"complete"}') == ()
    said.send(ROOM.label, "m-2", TEXT)
    refused = '{"id":"m2","type":"error","payload":[{"message":"too long"}]}'
    assert said.received(refused) == ((NACK, None, None, -1, None, "m-2", (400, None)),)
    said.send(ROOM.label, "m-3", TEXT)
    failed = '{"id":"m3","type":"next","payload":{"data":null,"errors":[{"message":"too long"}]}}'
    assert [one[0] for one in said.received(failed)] == [NACK]
    said.send(ROOM.label, "m-4", TEXT)
    partly = '{"id":"m4","type":"next","payload":{"data":{"send":null},"errors":[{"message":"too long"}]}}'
    assert [one[0] for one in said.received(partly)] == [NACK]


def test_mutations_by_request(target: Target) -> None:
    """The result is the answer; what is no result leaves the outcome open."""
    by_http = target.parts.sends_by_http
    assert by_http is not None
    request = next(by_http.post(SHOWN, ROOM.label, "m-1", TEXT))
    assert (request.method, request.url, request.headers["x-user"]) == ("POST", "http://127.0.0.1:8000/", "ann-0")
    assert json.loads(request.body)["variables"]["text"] == TEXT
    result = answered(by_http.post(SHOWN, ROOM.label, "m-1", TEXT), 200, {"data": {"send": {"number": 3}}})
    assert result == ((ACK, None, None, 3, None, "m-1", None),)
    refused = answered(by_http.post(SHOWN, ROOM.label, "m-1", TEXT), 200, {"data": None, "errors": [{"message": "x"}]})
    assert [one[0] for one in refused] == [NACK]
    for status, body in ((500, {"data": {}}), (200, []), (404, {"detail": "?"})):
        flow = by_http.post(SHOWN, ROOM.label, "m-1", TEXT)
        next(flow)
        with pytest.raises(FlowError, match="an answer with data or errors"):
            flow.send(HttpResponse(status, {}, json.dumps(body).encode()))


def test_history(target: Target, tmp_path: Path) -> None:
    """The query of [options.history]; without the table there is none."""
    rows = [{"id": "m-1", "text": TEXT, "sender": "ann-0", "number": 1}]
    stored = answered(target.history(SHOWN, ROOM), 200, {"data": {"messages": rows}})
    assert stored == [StoredRow(text=TEXT, seq=1, sender="ann-0", message_id="m-1")]
    flow = target.history(SHOWN, ROOM)
    next(flow)
    with pytest.raises(FlowError, match=r"a list of messages \(history.items"):
        flow.send(HttpResponse(200, {}, b'{"data": {"messages": [{"text": null}]}}'))
    text = (tmp_path / "graphql_ws.toml").read_text()
    (tmp_path / "graphql_ws.toml").write_text(text[: text.index("[options.history]")])
    from earwitness.harness.dialects.registry import load_target

    with pytest.raises(FlowError, match="GraphQL cannot"):
        next(load_target(tmp_path / "graphql_ws.toml").history(SHOWN, ROOM))


def test_mistakes_of_a_file(tmp_path: Path) -> None:
    """A document that is missing, an address that is missing."""
    with pytest.raises(SettingsError, match=r"options\.mutation is missing"):
        example(tmp_path, "graphql_ws", ("mutation = ", "mutatio = "))
    with pytest.raises(SettingsError, match=r"urls\.http is missing"):
        example(tmp_path, "graphql_ws", ('http = "http://127.0.0.1:8000/"', ""))
    with pytest.raises(SettingsError, match=r"urls\.socket is missing"):
        example(tmp_path, "graphql_ws", ('socket = "ws://127.0.0.1:8000/"', ""))


@pytest.mark.parametrize("replaced", [[BY_SOCKET], [BY_SOCKET, BY_PONG]])
def test_mutated_frames(tmp_path: Path, replaced: list[tuple[str, str]]) -> None:
    """Whatever arrives, a dialogue returns events."""
    target = example(tmp_path, "graphql_ws", *replaced)

    def make() -> Any:
        said = dialogue(target, [ROOM])
        said.send(ROOM.label, "m-1", TEXT)
        return said

    frames: list[Any] = [
        {"type": "connection_ack"},
        event(),
        {"id": "m1", "type": "next", "payload": {"data": {"send": {"number": 1}}}},
        {"id": "m1", "type": "error", "payload": [{"message": "x"}]},
        {"id": "m1", "type": "complete"},
        {"type": "pong"},
        {"type": "ping", "payload": {}},
        {"id": "r0", "type": "error", "payload": [{"message": "x"}]},
    ]
    assert fuzz(make, frames) > 500


@pytest.mark.parametrize("replaced", [[], [BY_SOCKET], [BY_SOCKET, BY_PONG]])
def test_a_talk(tmp_path: Path, port: int, replaced: list[tuple[str, str]]) -> None:
    """With a real server: texts arrive unchanged at both, numbered, and are in the history."""
    pings = ("[options.history]", "ping_s = 0.3\n[options.history]")
    target = example(tmp_path, "graphql_ws", ("8000", str(port)), pings, *replaced)
    texts = [f"{TEXT} {n}" for n in range(6)]
    said = talk(target, texts, idle_s=0.7)
    assert [one.texts() for one in said.people] == [texts, texts]
    assert [row.text for row in said.rows[-6:]] == texts
    assert [one[4] for one in said.people[1].events if one[0] == MESSAGE] == ["ann-0", "bob-1"] * 3
