"""Drafts for protocols that come with a dialect: frames as the protocols' own JavaScript clients send them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.cli import main
from earwitness.harness.dialects.registry import load_target
from tests.support.recorder import exchange, har, socket, write

SAID = ("good morning everybody", "how are you today?", "fine, thanks")
AT = "ws://127.0.0.1:3000"
END = "\x1e"
Frames = list[tuple[str, Any]]


def chat(before: Frames, sent: Callable[[int, str], Any], back: Callable[[int, str], Any]) -> Frames:
    """Frames before the messages, then each message and what comes back."""
    return before + [(way, of(n, text)) for n, text in enumerate(SAID, 1) for way, of in ((">", sent), ("<", back))]


def args(*values: Any) -> str:
    return json.dumps(values)


def inside(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


IDENTIFIER = inside({"channel": "ChatChannel", "room": "den"})
SUBSCRIPTION = "subscription ($room: String!) { said(room: $room) { text sender number } }"
MUTATION = "mutation ($room: String!, $text: String!) { send(room: $room, text: $text) { number } }"


HEARD = {"room": "0.room", "text": "0.text", "sender": "0.from", "id": "0.id", "seq": "0.seq"}


def heard(number: int, text: str) -> dict[str, Any]:
    return {"room": "den", "from": "ann", "id": f"4411{number}c0d", "text": text, "seq": number}


def operation(name: str, query: str, **variables: str) -> dict[str, Any]:
    return {"id": name, "type": "subscribe", "payload": {"query": query, "variables": variables}}


def call(target: str, *arguments: Any, **more: Any) -> str:
    return json.dumps({"type": 1, "target": target, "arguments": arguments, **more}) + END


SESSIONS: dict[str, tuple[str, str, Frames]] = {
    "socketio": (
        f"{AT}/socket.io/?EIO=4&transport=websocket", "",
        chat(
            [("<", '0{"sid":"a"}'), (">", '40{"name":"ann"}'), ("<", '40{"sid":"b"}'), (">", '420["join","den"]')],
            lambda n, text: f"42{n}" + args("say", {"room": "den", "id": f"4411{n}c0d", "text": text}),
            lambda n, text: "42" + args("said", heard(n, text)),
        ),
    ),
    "phoenix": (
        f"{AT}/socket/websocket?user=ann&vsn=2.0.0", "",
        chat(
            [
                (">", ["3", "3", "room:den", "phx_join", {}]),
                ("<", ["3", "3", "room:den", "phx_reply", {"status": "ok"}]),
            ],
            lambda n, text: ["3", str(n + 3), "room:den", "new_msg", {"body": text}],
            lambda n, text: [None, None, "room:den", "new_msg", {"body": text, "user": "ann", "number": n}],
        ),
    ),
    "graphql_ws": (
        f"{AT}/graphql", "graphql-transport-ws",
        chat(
            [
                (">", {"type": "connection_init", "payload": {"user": "ann"}}),
                (">", operation("s1", SUBSCRIPTION, room="den")),
            ],
            lambda n, text: operation(f"m{n}", MUTATION, room="den", text=text),
            lambda n, text: {"id": "s1", "type": "next",
                             "payload": {"data": {"said": {"text": text, "sender": "ann", "number": n}}}},
        ),
    ),
    "action_cable": (
        f"{AT}/cable?user=ann", "actioncable-v1-json, actioncable-unsupported",
        chat(
            [
                ("<", {"type": "welcome"}), (">", {"command": "subscribe", "identifier": IDENTIFIER}),
                ("<", {"identifier": IDENTIFIER, "type": "confirm_subscription"}),
            ],
            lambda n, text: {
                "command": "message", "identifier": IDENTIFIER, "data": inside({"text": text, "action": "speak"}),
            },
            lambda n, text: {"identifier": IDENTIFIER, "message": {"text": text, "user": "ann"}},
        ),
    ),
    "signalr": (
        f"{AT}/chat?access_token=ann", "",
        chat(
            [
                (">", '{"protocol":"json","version":1}' + END), ("<", "{}" + END),
                (">", call("Join", "den", invocationId="0")),
            ],
            lambda n, text: call("Send", "den", f"4411{n}c0d", text, invocationId=str(n)),
            lambda n, text: call("Said", heard(n, text)),
        ),
    ),
    "pusher": (
        f"{AT}/app/app-key?protocol=7&client=js&version=8.4.0", "",
        [
            ("<", {"event": "pusher:connection_established", "data": '{"socket_id":"1.2"}'}),
            (">", {"event": "pusher:subscribe", "data": {"auth": "", "channel": "chat-den"}}),
            *(("<", {"event": "message", "channel": "chat-den", "data": inside({"text": text, "sender": "ann"})})
              for text in SAID),
        ],
    ),
}  # fmt: skip
WANTED: dict[str, dict[str, Any]] = {
    "socketio": {
        "join": ["join", "{room}"],
        "send": ["say", {"room": "{room}", "id": "{id}", "text": "{text}"}],
        "message": {"event": "said", **HEARD},
    },
    "phoenix": {
        "topic": "room:{room}", "event": "new_msg", "send": {"body": "{text}"}, "text": "body", "number": "number",
        "sender": "user",
    },
    "graphql_ws": {
        "subscription": SUBSCRIPTION, "subscription_variables": {"room": "{room}"}, "mutation": MUTATION,
        "mutation_variables": {"room": "{room}", "text": "{text}"}, "by": "socket", "text": "said.text",
        "number": "said.number", "sender": "said.sender",
    },
    "action_cable": {
        "identifier": {"channel": "ChatChannel", "room": "{room}"}, "data": {"text": "{text}", "action": "speak"},
        "text": "text", "sender": "user",
    },
    "signalr": {
        "join": ["Join", "{room}"], "send": ["Send", "{room}", "{id}", "{text}"],
        "message": {"event": "Said", **HEARD},
    },
    "pusher": {
        "key": "app-key", "secret": "env:PUSHER_APP_SECRET", "channel": "chat-{room}", "event": "message",
        "text": "text", "sender": "sender",
    },
}  # fmt: skip


def drafted(tmp_path: Path, *entries: Any) -> tuple[int, Path]:
    file = tmp_path / "chat.toml"
    return main(["draft", str(write(tmp_path / "session.har", har(*entries))), "--write", str(file)]), file


@pytest.mark.parametrize("dialect", SESSIONS)
def test_a_protocol_that_comes_with_a_dialect(dialect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name and its options; the draft can be loaded as it is, but for what only the owner knows."""
    url, offered, frames = SESSIONS[dialect]
    headers = {"Sec-WebSocket-Protocol": offered} if offered else {}
    code, file = drafted(tmp_path, exchange("GET", "http://127.0.0.1:3000/"), socket(url, frames, headers=headers))
    draft = tomllib.loads(file.read_text())
    assert (code, draft["dialect"]) == (0, dialect)
    assert draft["urls"]["socket"] == url.partition("?")[0].removesuffix("/socket.io/").removesuffix("/app/app-key")
    assert draft["options"] == WANTED[dialect]
    numbered = "number" in draft["options"] or "seq" in draft["options"].get("message", {})
    assert draft["contract"]["sequence"] == ("contiguous" if numbered else "none")
    monkeypatch.setenv("PUSHER_APP_SECRET", "s")
    file.write_text(file.read_text().replace("# app_id", "app_id"))
    assert load_target(file).name


@pytest.mark.parametrize(
    ("offered", "dialect"), [("mqtt", "mqtt"), ("v12.stomp, v11.stomp", "stomp"), ("xmpp", "xmpp")]
)
def test_frames_that_are_not_taken_apart(offered: str, dialect: str, tmp_path: Path) -> None:
    """The dialect is named, with the file whose options to take."""
    frames: Frames = [(">", b"\x10\x04abcd"), ("<", b"\x20\x02\x00\x00")]
    code, file = drafted(tmp_path, socket(f"{AT}/ws", frames, headers={"Sec-WebSocket-Protocol": offered}))
    assert (code, tomllib.loads(file.read_text())["dialect"]) == (0, dialect)
    assert f"frames are binary, and are not taken apart; take the options of examples/dialects/{dialect}.toml" in (
        " ".join(file.read_text().replace("\n# ", " ").split())
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:8008/_matrix/client/v3/sync", 'dialect = "matrix"'),
        ("http://127.0.0.1:8000/v1/chat/completions", 'dialect = "sse_chat"'),
        ("http://127.0.0.1:8000/", "open the developer tools"),
    ],
)
def test_protocols_without_a_socket(url: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to draft from; the sentence names the dialect."""
    code, _ = drafted(tmp_path, exchange("GET", url))
    assert (code, words in capsys.readouterr().err) == (2, True)


def test_a_text_of_a_kind_that_not_all_frames_have(tmp_path: Path) -> None:
    """A subscription and a message of one kind: found with graphql-ws against a server that offers no subprotocol."""
    code, file = drafted(tmp_path, socket(AT, SESSIONS["graphql_ws"][2]))
    assert code == 0
    assert tomllib.loads(file.read_text())["send"]["frame"]["type"] == "subscribe"


def test_a_greeting_without_anything(tmp_path: Path) -> None:
    """Found with Action Cable: a frame that has no value beside its kind, of which there is no second."""
    code, file = drafted(tmp_path, socket(AT, SESSIONS["action_cable"][2]))
    assert code == 0
    assert "TODO: what tells these frames from others was not found" in file.read_text()


def test_a_name_that_comes_back_is_no_text(tmp_path: Path) -> None:
    """A platform that sends nobody their own messages: the texts are those of several words, not the announced name."""
    frames: Frames = [(">", "42" + args("enter", "annabel")), ("<", "42" + args("entered", {"all": ["annabel"]}))]
    frames += [(">", "42" + args("post", text)) for text in SAID]
    frames += [("<", "42" + args("post", {"username": "bob", "what": "good night to all"}))]
    url = f"{AT}/socket.io/?EIO=4&transport=websocket"
    assert (
        main(["draft", str(write(tmp_path / "s.har", har(socket(url, frames)))), "--write", str(tmp_path / "t.toml")])
        == 0
    )
    said = (tmp_path / "t.toml").read_text()
    drafted = tomllib.loads(said)
    assert drafted["options"] == {
        "send": ["post", "{text}"], "message": {"event": "post", "text": "0.what", "sender": "0.username"},
    }  # fmt: skip
    assert (drafted["contract"]["acknowledges"], drafted["contract"]["echo"]) == (False, False)
    assert "none came back" in said
