"""The dialect matrix, answer by answer: https://spec.matrix.org/v1.11/client-server-api/ (sync, messages, send)."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from mutated_frames import COUNT, mutated_texts

from earwitness.dialects import (
    ACK,
    BEATS,
    JOINED,
    LEFT,
    MESSAGE,
    NACK,
    OTHER,
    REPLAYED,
    Credentials,
    HttpRequest,
    HttpResponse,
    Person,
    Room,
    StoredRow,
)
from earwitness.harness.client.bounds import bounds, use
from earwitness.harness.client.flow import FlowError, Unbounded
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.errors import Exceeded, SettingsError

ALICE = Person(number=0, name="Alice-0", email="Alice-0.t@people.example", secret="fire burn")
ROOM = Room(number=0, label="t-r0", members=(ALICE,))
OTHER_ROOM = Room(number=1, label="t-r1", members=(ALICE,))
ME = Credentials(person=ALICE, user_id="@alice:example.org", token="T")
ID = "!726s6s6q:example.com"
BODY = 'This is "an" example <b> text message 🧵'
# https://spec.matrix.org/v1.11/client-server-api/#get_matrixclientv3sync, its example of an answer, shortened
EVENT = {
    "content": {"body": BODY, "format": "org.matrix.custom.html", "msgtype": "m.text"},
    "event_id": "$143273582443PhrSn:example.org",
    "origin_server_ts": 1432735824653,
    "sender": "@example:example.org",
    "type": "m.room.message",
    "unsigned": {"age": 1234, "membership": "join", "transaction_id": "t-0-1"},
}
MEMBER = {"type": "m.room.member", "content": {"membership": "join"}, "sender": "@example:example.org"}


def event(body: str) -> dict[str, Any]:
    return EVENT | {"content": {"body": body, "msgtype": "m.text"}}


def answer(cursor: str, *events: Any, limited: bool = False, room: str = ID, **rooms: Any) -> str:
    timeline = {"events": list(events), "limited": limited, "prev_batch": "t34-23535_0_0"}
    return json.dumps({"next_batch": cursor, "rooms": {"join": {room: {"timeline": timeline}}, **rooms}})


def page(*events: Any, end: str | None = None) -> str:
    return json.dumps({"chunk": list(events), "start": "t47429", **({"end": end} if end else {})})


FIRST = answer("s72595_4483_1934", MEMBER, event("before"))
FRAMES = (FIRST, answer("s2", EVENT), answer("s3", EVENT, limited=True), page(event("a"), EVENT, end="t1"), page())


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return the dialect of a target file without its guard; `more`: further options."""
    monkeypatch.setenv("A_SECRET", "s3cret of the server")

    def make(more: str = "") -> Any:
        file = tmp_path / "chat.toml"
        file.write_text(f'dialect = "matrix"\n[urls]\nhttp = "http://127.0.0.1:1"\n[options]\nserver = "x.org"\n{more}')
        target: Any = load_target(file)
        target.target.room_of, target.target.label_of = {"t-r0": ID}, {ID: "t-r0"}
        return target.target

    return make


def run(flow: Any, *answers: tuple[int, object]) -> tuple[Any, list[HttpRequest]]:
    """Run a flow with these answers; return its result and its requests."""
    requests, waiting = [next(flow)], list(answers)
    while True:
        status, body = waiting.pop(0)
        try:
            requests.append(flow.send(HttpResponse(status, {}, json.dumps(body).encode())))
        except StopIteration as end:
            assert not waiting
            return end.value, requests


def query(address: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(address).query).items()}


def texts(events: Any) -> list[str]:
    return [event[2] for event in events if event[0] == MESSAGE]


def test_polls(chat: Callable[..., Any]) -> None:
    """The first answer says what is joined, and ends at once; each poll continues behind the answer before."""
    dialogue = chat("poll_s = 2.5\n").dialogue(ME, [ROOM, OTHER_ROOM])
    first = query(dialogue.handshake.url)
    assert ("since" in first, first["timeout"], json.loads(first["filter"])["room"]["timeline"]) == (
        False, "0", {"limit": 1},
    )  # fmt: skip
    assert (dialogue.handshake.headers, dialogue.handshake.welcome) == ({"authorization": "Bearer T"}, False)
    events = dialogue.received(FIRST)
    assert events[0] == (JOINED, "t-r0", None, -1, None, None, None)
    assert [(one[0], one[2]) for one in events[1:]] == [(REPLAYED, "before")]
    following = query(dialogue.out.pop())
    assert (following["since"], following["timeout"]) == ("s72595_4483_1934", "2500")
    assert dialogue.received(answer("s2", MEMBER, EVENT)) == [
        (MESSAGE, "t-r0", BODY, -1, "@example:example.org", "t-0-1", None)
    ]
    assert dialogue.received(answer("s3", EVENT, room="!other:x"))[0][1] == "!other:x", "a room that was never joined"
    left = dialogue.received(json.dumps({"next_batch": "s4", "rooms": {"leave": {ID: {}, "!other:x": {}}}}))
    assert left == [(LEFT, "t-r0", None, -1, None, None, None)]
    assert dialogue.received('{"next_batch":"s5"}') == BEATS, "nothing happened within the time of a poll"


def test_coming_back(chat: Callable[..., Any]) -> None:
    """The next dialogue continues from the cursor, and says so; without a cursor history must be read."""
    target = chat()
    before = target.dialogue(ME, [ROOM])
    before.received(FIRST)
    after = target.dialogue(ME, [ROOM], {}, before)
    again = query(after.handshake.url)
    assert (again["since"], again["timeout"]) == ("s72595_4483_1934", "0")
    events = after.received(answer("s3", EVENT))
    assert events[0] == (JOINED, "t-r0", None, -1, None, None, True)
    assert texts(events) == [BODY]
    lost = target.dialogue(ME, [ROOM], {}, None)
    assert lost.received(FIRST)[0][6] is False


def test_a_gap_is_filled_before_anything_else(chat: Callable[..., Any]) -> None:
    """An answer that shows only the end of a room waits until the messages before it were read, page by page."""
    target = chat()
    dialogue = target.dialogue(ME, [ROOM])
    dialogue.received(FIRST)
    dialogue.out.clear()
    assert texts(dialogue.received(answer("s2", event("5"), event("6"), limited=True))) == []
    asked = query(dialogue.out.pop())
    assert (asked["from"], asked["to"], asked["dir"]) == ("t34-23535_0_0", "s72595_4483_1934", "b")
    assert not dialogue.received(page(event("4"), event("3"), end="t3"))
    assert query(dialogue.out.pop())["from"] == "t3"
    assert target.dialogue(ME, [ROOM], {}, dialogue).since == "s72595_4483_1934", "what is held was not received yet"
    assert not dialogue.received(page(event("2"), MEMBER, event("1"), end="t1"))
    dialogue.out.pop()
    assert texts(dialogue.received(page())) == ["1", "2", "3", "4", "5", "6"]
    assert query(dialogue.out.pop())["since"] == "s2"


def test_a_gap_without_end(chat: Callable[..., Any]) -> None:
    """It ends the connection at the bounds of the target file."""
    target, before = chat("[bounds]\nhistory_rows = 3\n"), bounds()
    try:
        dialogue = target.dialogue(ME, [ROOM])
        dialogue.received(FIRST)
        dialogue.received(answer("s2", limited=True))
        dialogue.received(page(EVENT, EVENT, EVENT, end="t1"))
        with pytest.raises(Exceeded):
            dialogue.received(page(EVENT, end="t2"))
    finally:
        use(before)


def test_login(chat: Callable[..., Any]) -> None:
    """An open server registers the user; a name that is taken logs in; so does a second device."""
    target = chat()
    there = {"user_id": "@alice-0.t:x.org", "access_token": "T", "device_id": "D"}
    credentials, asked = run(target.login(ALICE), (200, there))
    assert (credentials.user_id, credentials.token) == ("@alice-0.t:x.org", "T")
    assert json.loads(asked[0].body) == {
        "username": "alice-0.t", "password": "fire burn", "auth": {"type": "m.login.dummy"},
    }  # fmt: skip
    _, asked = run(target.login(ALICE), (200, there))
    assert json.loads(asked[0].body)["identifier"] == {"type": "m.id.user", "user": "alice-0.t"}
    _, asked = run(chat().login(ALICE), (400, {"errcode": "M_USER_IN_USE"}), (200, there))
    assert [one.name for one in asked] == ["register", "login"]
    with pytest.raises(FlowError, match="an access token"):
        run(target.login(ALICE), (403, {"errcode": "M_FORBIDDEN"}))


def test_login_with_the_shared_secret(chat: Callable[..., Any]) -> None:
    """The digest is that of Synapse's documentation: admin_api/register_api.html."""
    target = chat('register = "shared_secret"\nshared_secret = "env:A_SECRET"\n')
    there = {"user_id": "@alice-0.t:x.org", "access_token": "T"}
    _, asked = run(target.login(ALICE), (200, {"nonce": "thisisanonce"}), (200, there))
    text = b"thisisanonce\0alice-0.t\0fire burn\0notadmin"
    assert json.loads(asked[1].body)["mac"] == hmac.new(b"s3cret of the server", text, hashlib.sha1).hexdigest()


BOB = Person(number=1, name="Bob-1", email="Bob-1.t@people.example", secret="toil")
NO_ROOM, NOT_YET, POLL, MADE = (404, {}), (403, {}), (200, {"next_batch": "s1"}), (200, {"room_id": "!a:x.org"})


def names(asked: list[HttpRequest]) -> list[str]:
    return [one.name for one in asked]


def test_rooms(chat: Callable[..., Any]) -> None:
    """Joined by their alias; made by the first member, and named once others may join."""
    target = chat()
    _, asked = run(target.open_room(ME, ROOM), MADE)
    assert asked[0].url.endswith("/join/%23t-r0%3Ax.org")
    assert (target.room_of["t-r0"], target.label_of["!a:x.org"]) == ("!a:x.org", "t-r0")
    _, asked = run(target.open_room(ME, ROOM), NO_ROOM, MADE, (200, {}))
    assert names(asked) == ["join", "create room", "name room"]
    assert "room_alias_name" not in json.loads(asked[1].body)
    assert (asked[2].method, asked[2].url.rpartition("/v3")[2]) == ("PUT", "/directory/room/%23t-r0%3Ax.org")
    assert json.loads(asked[2].body) == {"room_id": "!a:x.org"}


def test_a_room_that_another_makes(chat: Callable[..., Any]) -> None:
    """Others wait between their tries, as the server holds a poll; after ten of them any member makes it."""
    target, room = chat(), Room(number=0, label="t-r0", members=(BOB, ALICE))
    _, asked = run(target.open_room(ME, room), NO_ROOM, POLL, NOT_YET, POLL, MADE)
    assert names(asked) == ["join", "pause", "join", "pause", "join"]
    polls = [parse_qs(urlsplit(asked[n].url).query) for n in (1, 3)]
    assert [(one.get("since"), one["timeout"]) for one in polls] == [(None, ["0"]), (["s1"], ["1000"])]
    _, asked = run(target.open_room(ME, room), *[NO_ROOM, POLL] * 10, NO_ROOM, MADE, (409, {}), POLL, MADE)
    assert names(asked)[-5:] == ["join", "create room", "name room", "pause", "join"]
    with pytest.raises(FlowError, match="open room"):
        run(target.open_room(ME, ROOM), *[NOT_YET, POLL] * 60)


def test_a_join_without_an_answer(chat: Callable[..., Any]) -> None:
    """It is repeated, because it may have taken effect; the sixth one is the last."""
    target, lost = chat(), FlowError("join", "an answer", detail="TimeoutError")
    flow = target.open_room(ME, ROOM)
    assert [next(flow).name, flow.throw(lost).name] == ["join", "join"]
    with pytest.raises(StopIteration):
        flow.send(HttpResponse(200, {}, b'{"room_id": "!a:x.org"}'))
    flow = target.open_room(ME, ROOM)
    assert [next(flow).name, *(flow.throw(lost).name for _ in range(5))] == ["join"] * 6
    with pytest.raises(FlowError, match="an answer"):
        flow.throw(lost)


def test_sending(chat: Callable[..., Any]) -> None:
    """A PUT with the message's id; refusals say how long to wait; 5xx leaves it open."""
    target = chat()
    heard, asked = run(target.post(ME, "t-r0", "t-0-1", BODY), (200, {"event_id": "$e"}))
    assert heard == ((ACK, "t-r0", None, -1, None, "t-0-1", None),)
    assert asked[0].method == "PUT"
    assert asked[0].url.endswith("/rooms/%21726s6s6q%3Aexample.com/send/m.room.message/t-0-1")
    assert json.loads(asked[0].body) == {"msgtype": "m.text", "body": BODY}
    limit = {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500}
    heard, _ = run(target.post(ME, "t-r0", "t-0-1", BODY), (429, limit))
    assert heard == ((NACK, "t-r0", None, -1, None, "t-0-1", (429, 2.5)),)
    with pytest.raises(FlowError, match="send"):
        run(target.post(ME, "t-r0", "t-0-1", BODY), (502, {}))


def test_history(chat: Callable[..., Any]) -> None:
    """All pages, oldest first; what is no text message is left out; it ends at the bounds."""
    target, before = chat("[bounds]\nhistory_rows = 3\n"), bounds()
    row = StoredRow(text=BODY, sender="@example:example.org", message_id="t-0-1")
    try:
        answers = [(200, json.loads(one)) for one in (page(MEMBER, EVENT, end="t9"), page(EVENT))]
        rows, asked = run(target.history(ME, ROOM), *answers)
        assert rows == [row, row]
        assert [query(one.url).get("from") for one in asked] == [None, "t9"]
        assert {query(one.url)["dir"] for one in asked} == {"f"}
        with pytest.raises(Unbounded):
            run(target.history(ME, ROOM), *[(200, json.loads(page(EVENT, EVENT, end="t9")))] * 2)
        with pytest.raises(FlowError, match="a page of messages"):
            run(target.history(ME, ROOM), (403, {}))
    finally:
        use(before)


def test_who_and_whether(chat: Callable[..., Any]) -> None:
    """Whose token it is, whether the server lives, and whether it is a homeserver at all."""
    target = chat()
    stated, _ = run(target.identity(ME), (200, {"user_id": "@alice:example.org"}))
    assert [one.user_id for one in stated] == ["@alice:example.org"]
    assert run(target.probe(ME), (503, {}))[0] == 503
    run(target.reachable(), (200, {"versions": ["v1.11"]}))
    with pytest.raises(FlowError, match="versions"):
        run(target.reachable(), (200, {}))


def test_mutated_answers_never_raise(chat: Callable[..., Any]) -> None:
    """Two thousand broken answers: each is followed by one request, or is reported and followed by none."""
    target, others = chat(), 0
    for number, frame in enumerate(mutated_texts(FRAMES, COUNT)):
        if number % 20 == 0:
            dialogue = target.dialogue(ME, [ROOM])
        dialogue.out.clear()
        events = dialogue.received(frame)
        other = any(one[0] == OTHER for one in events)
        others += other
        assert len(dialogue.out) == 1 - other
    assert others > 500


def test_a_file_without_an_address(tmp_path: Path) -> None:
    """One sentence names the key."""
    file = tmp_path / "chat.toml"
    file.write_text('dialect = "matrix"\n[urls]\nsocket = "ws://127.0.0.1:1"\n')
    with pytest.raises(SettingsError, match=r"urls\.http"):
        load_target(file)
