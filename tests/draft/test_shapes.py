"""Drafts of recordings built by hand: one for each shape of frames and each way to show a token."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.recorder import exchange, socket

HTTP, SOCKET = "https://chat.example", "wss://chat.example/ws"
SAID = ["good morning", "how are you?", "fine, thanks"]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiIsInJvbGUiOiJndWVzdCJ9.c2lnbmF0dXJlLXRoYXQtaXMtbm9uZQ"
Frames = list[tuple[str, Any]]
LOGIN = exchange(
    "POST", f"{HTTP}/api/login", at=1, body={"email": "ann@mail.example", "password": "Hunter2!x", "remember": True},
    answer={"session": {"access_token": JWT, "expires_in": 3600}, "user": {"id": 42}},
)  # fmt: skip


def plain(opening: Frames) -> Frames:
    """A chat in JSON with `type`, after other frames."""
    frames: Frames = [*opening, (">", {"type": "join", "room": "lobby"}), ("<", {"type": "joined", "room": "lobby"})]
    for number, text in enumerate(SAID):
        frames += [
            (">", {"type": "say", "room": "lobby", "id": f"c-{number}", "text": text}),
            ("<", {"type": "accepted", "id": f"c-{number}", "number": 5 + number}),
            ("<", {"type": "message", "room": "lobby", "from": 42, "text": text, "number": 5 + number}),
        ]
    return frames


def test_plain_json_with_a_type(drafted: Callable[..., Any]) -> None:
    """Kinds, paths, numbers and the frame that sends."""
    tables = drafted(LOGIN, socket(f"{SOCKET}?token={JWT}", plain([("<", {"type": "hello", "me": 42})]))).tables
    assert tables["send"]["frame"] == {"type": "say", "room": "{room}", "id": "{id}", "text": "{text}"}
    assert tables["rooms"]["join"] == [{"type": "join", "room": "{room}"}]
    assert tables["frames"] == {
        "kind": "type",
        "message": {"is": "message", "text": "text", "room": "room", "seq": "number", "sender": "from"},
        "ack": {"is": "accepted", "id": "id", "seq": "number"},
        "welcome": {"is": "hello", "user": "me"},
        "joined": {"is": "joined", "room": "room"},
    }
    assert tables["contract"]["sequence"] == "contiguous"


def test_an_event_in_a_nested_field(drafted: Callable[..., Any]) -> None:
    """Everything one key deeper; a refusal with its code; a history by cursor; the token in an Authorization header."""
    frames: Frames = [
        ("<", {"data": {"event": "connected", "user": {"id": 42}}}),
        (">", {"action": "subscribe", "data": {"channel": "general"}}),
        ("<", {"data": {"event": "subscribed", "channel": "general"}}),
    ]
    for number, text in enumerate(SAID):
        message = {"author": {"id": 42, "nick": "ann"}, "content": text, "position": 10 + number}
        frames += [
            (">", {"action": "post", "data": {"channel": "general", "nonce": f"n-{number}", "content": text}}),
            ("<", {"data": {"event": "posted", "nonce": f"n-{number}", "position": 10 + number}}),
            ("<", {"data": {"event": "message.created", "channel": "general", "message": message}}),
            ("<", {"data": {"event": "typing", "channel": "general", "user": 7}}),
        ]
    frames.append((">", {"action": "post", "data": {"channel": "general", "nonce": "n-9", "content": ""}}))
    frames.append(("<", {"data": {"event": "post.failed", "nonce": "n-9", "code": 422}}))
    rows = [{"content": text, "position": 10 + n, "author": {"id": 42}} for n, text in enumerate(SAID)]
    history = exchange(
        "GET", f"{HTTP}/api/channels/general/messages?after=0&limit=50", at=30,
        headers={"Authorization": f"Bearer {JWT}"}, answer={"data": {"items": rows}},
    )  # fmt: skip
    # A field above that never changes is named like a kind, and is none.
    frames = [(way, {"type": "event", **frame} if way == "<" else frame) for way, frame in frames]
    found = drafted(LOGIN, history, socket(f"{SOCKET}?access_token={JWT}&v=2", frames))
    tables = found.tables
    assert tables["urls"] == {"http": HTTP, "socket": f"{SOCKET}?v=2"}
    assert tables["login"] == {
        "by": "password", "url": "/api/login", "token": "session.access_token", "user_id": "user.id",
        "body": {"email": "{email}", "password": "{secret}", "remember": True}, "expires_in": "session.expires_in",
    }  # fmt: skip
    assert tables["socket"] == {"query": {"access_token": "{token}"}}
    assert tables["http"] == {"headers": {"Authorization": "Bearer {token}"}}
    assert tables["frames"]["kind"] == "data.event"
    assert tables["frames"]["message"] == {
        "is": "message.created", "text": "data.message.content", "room": "data.channel",
        "seq": "data.message.position", "sender": "data.message.author.id",
    }  # fmt: skip
    assert tables["frames"]["nack"] == {"is": "post.failed", "id": "data.nonce", "code": "data.code"}
    assert tables["history"]["url"] == "/api/channels/{room}/messages?after={after}&limit=50"
    assert [tables["history"][key] for key in ("items", "text", "seq", "sender", "cursor")] == [
        "data.items", "content", "position", "author.id", "position",
    ]  # fmt: skip
    assert "Received and not used: typing (3: " in found.text
    assert "# TODO: load on an address that is not this machine" in found.text


def test_lists_as_phoenix_sends_them(drafted: Callable[..., Any]) -> None:
    """Positions are paths; frames with null and lists become text; what one rule cannot tell apart is stated."""
    frames: Frames = [
        (">", [None, "1", "phoenix", "heartbeat", {}]),
        ("<", [None, "1", "phoenix", "phx_reply", {"status": "ok", "response": {}}]),
        (">", ["2", "2", "room:lobby", "phx_join", {}]),
        ("<", ["2", "2", "room:lobby", "phx_reply", {"status": "ok", "response": {}}]),
    ]
    for number, text in enumerate(SAID):
        frames += [
            (">", ["2", str(3 + number), "room:lobby", "new_msg", {"body": text}]),
            ("<", ["2", str(3 + number), "room:lobby", "phx_reply", {"status": "ok", "response": {}}]),
            ("<", ["2", None, "room:lobby", "new_msg", {"body": text, "user": "ann", "id": number + 1}]),
        ]
    found = drafted(socket("ws://127.0.0.1:4000/socket/websocket?v=2.0.0", frames))
    assert found.tables["urls"]["socket"].endswith("?v=2.0.0")
    assert found.tables["send"]["frame"] == '["2",{id:json},{room:json},"new_msg",{"body":{text:json}}]'
    assert found.tables["rooms"]["join"] == ['["2","2",{room:json},"phx_join",{}]']
    assert found.tables["frames"]["kind"] == "3"
    assert found.tables["frames"]["message"] == {
        "is": "new_msg", "text": "4.body", "room": "2", "seq": "4.id", "sender": "4.user",
    }  # fmt: skip
    assert found.tables["frames"]["ack"]["id"] == "1"
    assert "5 frames of this kind came for 3 messages" in found.text
    assert "heartbeats were sent (heartbeat)" in found.text
    frame = found.description.send.frame.render({"id": "7", "room": "room:a", "text": 'say "hi"'})
    assert json.loads(frame) == ["2", "7", "room:a", "new_msg", {"body": 'say "hi"'}]


def test_text_with_the_prefixes_of_socket_io(drafted: Callable[..., Any]) -> None:
    """One prefix is drafted, and the draft states which frames it does not read."""
    frames: Frames = [
        ("<", '0{"sid":"abcDEF123456789012345","pingInterval":25000}'),
        (">", f'40{{"token":"{JWT}"}}'),
        ("<", '40{"sid":"zyxDEF123456789012345"}'),
        (">", '42["join",{"room":"lobby"}]'),
        ("<", '42["joined",{"room":"lobby"}]'),
        ("<", "2"),
        (">", "3"),
    ]
    for number, text in enumerate(SAID):
        said = {"room": "lobby", "ref": f"r{number}", "text": text}
        frames.append((">", f"42{number}{json.dumps(['chat', said])}"))
        frames.append(("<", f"42{json.dumps(['chat', said | {'from': 'ann'}])}"))
        frames.append(("<", f'43{number}[{{"ok":true}}]'))
    found = drafted(socket("ws://127.0.0.1:3000/socket.io/?E=4&transport=websocket", frames))
    assert found.tables["urls"]["socket"].endswith("?E=4&transport=websocket")
    assert found.tables["socket"]["first"] == ['40{"token":{token:json}}']
    assert found.tables["frames"]["prefix"] == "42"
    assert found.tables["frames"]["kind"] == "0"
    assert found.tables["send"]["frame"] == '42["chat",{"room":{room:json},"ref":{id:json},"text":{text:json}}]'
    text = found.text.replace("\n# ", " ")
    assert "frames with others are ignored: 43 (3), 0 (1), 40 (1)" in text
    assert "need rules for each prefix" in text
    assert "sent frames have a number between prefix and JSON" in text


def test_binary_frames_are_not_understood(drafted: Callable[..., Any]) -> None:
    """A draft that states it, and is still a valid file."""
    found = drafted(socket("ws://127.0.0.1:3000/ws", [(">", b"\x00\x01abc"), ("<", b"\x0a\x05hello")] * 3))
    assert "6 of 6 frames are binary, or too long, and are not understood" in found.text
    assert found.tables["send"] == {"frame": {"text": "{text}"}}
    assert "# TODO: no sent message was found" in found.text


def test_messages_sent_by_http(drafted: Callable[..., Any]) -> None:
    """The request becomes [send] request, and its answer has the number."""
    frames: Frames = [("<", {"ev": "ready", "me": "ann"}), (">", {"op": "enter", "circle": "kitchen"})]
    frames += [("<", {"ev": "entered", "circle": "kitchen"})]
    posts = []
    for number, text in enumerate(SAID):
        frames.append(("<", {"ev": "said", "circle": "kitchen", "what": {"by": "ann", "body": text, "n": number}}))
        body = {"ref": f"00-{number}", "body": text, "draft": False}
        posts.append(
            exchange("POST", f"{HTTP}/circles/kitchen/say", at=10.2, body=body, answer={"said": {"n": number}})
        )
    tables = drafted(*posts, socket(SOCKET, frames)).tables
    assert tables["send"]["request"] == {
        "url": "/circles/{room}/say",
        "body": {"ref": "{id}", "body": "{text}", "draft": False},
    }
    assert tables["send"]["seq"] == "said.n"
    assert tables["frames"]["message"]["text"] == "what.body"
    assert tables["contract"]["acknowledges"] is True


def test_frames_without_a_kind(drafted: Callable[..., Any]) -> None:
    """Rules have the key that only their frames have."""
    frames: Frames = []
    for number, text in enumerate(SAID):
        frames += [
            (">", {"chat": {"room": "lobby", "cid": f"c{number}", "text": text}}),
            ("<", {"receipt": {"cid": f"c{number}"}}),
            ("<", {"msg": {"room": "lobby", "text": text, "author": "ann"}}),
        ]
    frames = [("<", {"greeting": "hello there", "user": "ann"}), *frames]
    found = drafted(socket("ws://127.0.0.1:1/ws", frames))
    assert "kind" not in found.tables["frames"]
    rules = {rule.name: rule for rule in found.description.frames.rules}
    for frame, role in ((frames[3][1], "message"), (frames[2][1], "ack")):
        assert found.description.frames.rule_of(frame) is rules[role]


@pytest.mark.parametrize("separator", ["\n", None])
def test_several_messages_in_a_frame(separator: str | None, drafted: Callable[..., Any]) -> None:
    """On lines of their own, or in a list."""
    frames = []
    for way, value in plain([]):
        both = [value, {"type": "presence", "user": 7}]
        text = json.dumps(both) if separator is None else separator.join(map(json.dumps, both))
        frames.append((way, json.dumps(value) if way == ">" else text))
    tables = drafted(socket("ws://127.0.0.1:1/ws", frames)).tables
    assert tables["frames"]["split"] == ("list" if separator is None else "lines")
    assert tables["frames"]["message"]["text"] == "text"


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        (socket(SOCKET, plain([]), headers={"Sec-WebSocket-Protocol": f"chat.v1, {JWT}"}),
         {"subprotocols": ["chat.v1", "{token}"]}),
        (socket(SOCKET, plain([(">", {"type": "auth", "token": JWT, "client": "web"})])),
         {"first": [{"type": "auth", "token": "{token}", "client": "web"}]}),
        (socket(SOCKET, plain([]), headers={"Authorization": f"Bearer {JWT}"}),
         {"headers": {"Authorization": "Bearer {token}"}}),
        (socket(SOCKET, plain([(">", {"type": "auth", "auth": f"Bearer {JWT}"})])),
         {"first": [{"type": "auth", "auth": "Bearer {token}"}]}),
    ],
)  # fmt: skip
def test_ways_to_show_a_token(entry: Any, shown: dict[str, Any], drafted: Callable[..., Any]) -> None:
    tables = drafted(LOGIN, entry).tables
    assert tables["socket"] == shown
    assert tables["login"]["token"] == "session.access_token"


def test_a_cookie_is_the_token(drafted: Callable[..., Any]) -> None:
    """Of several cookies the one that the login set; a sign-up with the same password comes before."""
    fields, you = {"nick": "ann", "pass": "Hunter2!x"}, {"you": {"id": 42}}
    cookies = {"_ga": "GA1.2.1234567890.1700000000", "sid": "0123456789abcdef0123"}
    tables = drafted(
        exchange("GET", HTTP, at=0.5, set_cookies={"_ga": cookies["_ga"]}),
        exchange("POST", f"{HTTP}/signup", at=1, form=fields, status=201),
        exchange("POST", f"{HTTP}/session", at=2, form=fields, answer=you, set_cookies={"sid": cookies["sid"]}),
        socket(SOCKET, plain([]), cookies=cookies),
    ).tables  # fmt: skip
    assert tables["login"]["cookie"] == "sid"
    assert tables["login"]["form"] == {"nick": "{name}", "pass": "{secret}"}
    assert [step["url"] for step in tables["login"]["before"]] == ["/signup"]
    assert tables["socket"]["cookies"] == {"sid": "{token}"}


def test_a_token_in_the_address_comes_before_a_cookie(drafted: Callable[..., Any]) -> None:
    """A browser sends its cookies anyway. A login that moves elsewhere keeps its status; none is not written."""
    entry = socket(f"{SOCKET}?jwt={JWT}", plain([]), cookies={"sid": "0123456789abcdef0123"})
    for status, accepted in ((302, [302]), (-1, None), (200, None)):
        fields = {"name": "ann", "password": "Hunter2!x"}
        login = exchange(
            "POST", f"{HTTP}/login", at=1, form=fields, status=status, answer={"access": JWT},
            set_cookies={"sid": "0123456789abcdef0123"},
        )  # fmt: skip
        tables = drafted(login, entry).tables
        assert tables["login"]["token"] == "access"
        assert tables["login"].get("accept") == accepted


def test_messages_of_one_text_are_not_compared(drafted: Callable[..., Any]) -> None:
    """Rows of a history are matched with messages by texts that came once."""
    frames: Frames = []
    rows = []
    for number, text in enumerate(["ok"] * 5 + ["good day"]):
        frames += [
            (">", {"type": "say", "text": text}),
            ("<", {"type": "said", "text": text, "num": number, "w": "ann"}),
        ]
        rows.append({"text": text, "x": number, "y": "ann"})
    history = exchange("GET", f"{HTTP}/log?skip=0", at=30, answer={"rows": rows})
    found = drafted(history, socket(SOCKET, frames)).tables["history"]
    assert found == {"url": "/log?skip={offset}", "paging": "offset", "items": "rows", "text": "text", "seq": "x"}


def test_a_token_that_no_answer_holds(drafted: Callable[..., Any]) -> None:
    """A JWT is signed by the tester, another token comes from a file; both are marked."""
    signed = drafted(socket(f"{SOCKET}?jwt={JWT}", plain([])))
    assert signed.tables["login"] == {
        "by": "mint", "algorithm": "HS256", "key": "env:CHAT_TEST_KEY", "claims": {"sub": "{name}", "role": "guest"},
    }  # fmt: skip
    ready = drafted(socket(f"{SOCKET}?token=0123456789abcdef", plain([])))
    assert ready.tables["login"]["by"] == "tokens"
    assert ready.tables["socket"] == {"query": {"token": "{token}"}}
    assert "# TODO: no answer of the recording holds the token" in ready.text


def test_a_ticket_and_joins_that_nobody_asked_for(drafted: Callable[..., Any]) -> None:
    """A POST without a body keeps its method; rooms are in the greeting; each socket shows a ticket of its own."""
    tickets = ["tick-0000-aaaa-0001", "tick-0000-aaaa-0002"]
    entries = []
    for number, ticket in enumerate(tickets):
        asked = {"Authorization": f"Bearer {JWT}"}
        answer = {"ticket": ticket, "expires_in": 30}
        at = 5.0 + 10 * number
        entries.append(exchange("POST", f"{HTTP}/auth/ticket", at=at, headers=asked, answer=answer))
        rooms = {"lobby": 5 * number}
        frames: Frames = [("<", {"type": "welcome", "user": 42, "replica": "b-1", "rooms": rooms if number else {}})]
        if not number:
            frames += [("<", {"type": "joined", "room": "lobby", "head": 4}), *plain([])[2:]]
        entries.append(socket(f"{SOCKET}?ticket={ticket}", frames, at=at + 1))
    found = drafted(*entries)
    assert {key: found.tables["login"][key] for key in ("url", "method", "token")} == {
        "url": "/auth/ticket", "method": "POST", "token": "ticket",
    }  # fmt: skip
    assert "this request shows a token of its own" in found.text
    assert "seen in 2 of 2 connections" in found.text
    assert found.tables["frames"]["welcome"] == {
        "is": "welcome", "user": "user", "replica": "replica", "rooms": "rooms",
    }  # fmt: skip
    assert found.tables["frames"]["joined"] == {"is": "joined", "room": "room", "seq": "head"}


def test_every_guess_states_its_evidence(drafted: Callable[..., Any]) -> None:
    """A key beside a count of the frames; what was not found has a line that names it."""
    text = drafted(LOGIN, socket(SOCKET, plain([]))).text
    line = next(line for line in text.splitlines() if line.startswith("text = "))
    assert line.endswith("# guess: a sent text came back in it, seen in 3 of 3 frames")
    for wanted in ("nack: the frame that refuses", "how the token is shown", "no request was found whose answer lists"):
        assert f"# TODO: {wanted}" in text
    assert max(map(len, text.splitlines())) <= 200
