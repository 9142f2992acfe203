"""Socket.IO: frames of its documentation, opening, answers, recovery, and a real server (python-socketio)."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from mutated_frames import COUNT, mutated_texts
from our_servers import python_server
from planted_faults import Planter, planted
from server_processes import ROOT
from story_runs import CHAT, CUTS, EXAMPLES, example_file, probe, run_story

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
    Person,
    Refused,
    Room,
)
from earwitness.harness.dialects.guarded import GuardedDialogue, event_fault
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.errors import SettingsError

ANN = Person(number=0, name="ann", email="ann@people.example")
ROOMS = [Room(number=n, label=f"r{n}", members=(ANN,)) for n in range(2)]
ASK = Credentials(person=ANN, user_id="ann", token="secret token")
OPEN = '0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
TEXT = 'naïve "quotes" \\ {text} 🧵\u2028'
GREETED = (WELCOME, None, None, -1, None, None, None)
Opens = Callable[..., Any]


@pytest.fixture
def opens(tmp_path: Path) -> Opens:
    """Open the example's dialect, with changes of its text."""
    return lambda *changes: load_target(example_file(tmp_path, "socketio", *changes))


def said(target: Any, rooms: Any = ROOMS, resume: Any = None, before: Any = None) -> Any:
    """Return the dialogue itself, without its guard."""
    return target.dialogue(ASK, rooms, resume, before).dialogue


def begun(target: Any, connect: str = '40{"sid":"wZX3oN0bSVIhsaknAAAI"}', **options: Any) -> Any:
    """Return a dialogue whose namespace was entered; what it sent is taken away."""
    dialogue = said(target, **options)
    dialogue.opened()
    dialogue.received(OPEN)
    assert GREETED in dialogue.received(connect)
    dialogue.out.clear()
    return dialogue


def joined(label: str, continued: bool | None = None) -> tuple[Any, ...]:
    return (JOINED, label, None, -1, None, None, continued)


def test_opening_waits_for_each_answer(opens: Opens) -> None:
    """Address of the WebSocket transport; the namespace after the greeting of Engine.IO, rooms after the namespace."""
    dialogue = said(opens())
    assert dialogue.handshake.url == "ws://127.0.0.1:3000/socket.io/?EIO=4&transport=websocket"
    assert dialogue.handshake.welcome
    assert (list(dialogue.opened()), dialogue.out) == ([], [])
    assert list(dialogue.received(OPEN)) == []
    assert dialogue.out == ['40{"name":"ann"}']
    dialogue.out.clear()
    assert dialogue.received('40{"sid":"wZX3oN0bSVIhsaknAAAI"}') == [GREETED]
    assert dialogue.out == ['420["join","r0"]', '421["join","r1"]']
    assert dialogue.received("431[{}]") == [joined("r1")]
    assert dialogue.received('430[{"error":403}]')[0][0] == OTHER
    assert dialogue.received("430[]")[0][0] == OTHER, "an answer counts once"
    dialogue.out.clear()
    assert (dialogue.received('40{"sid":"again"}')[0][0], dialogue.out) == (OTHER, [])


def test_messages_and_answers_by_number(opens: Opens) -> None:
    """The text arrives as it was sent; the number of the answer says which message it is about."""
    dialogue = begun(opens())
    frames = [dialogue.send("r0", "m-7", TEXT), dialogue.send("r1", "m-8", TEXT)]
    assert [frame[:3] for frame in frames] == ["422", "423"]
    assert dialogue.received('433[{"seq":5}]') == [(ACK, "r1", None, 5, None, "m-8", None)]
    assert dialogue.received('432[{"error":429}]') == [(NACK, "r0", None, -1, None, "m-7", (429, None))]
    mine = begun(opens(('["say", {', '["said", {')))
    back = mine.send("r0", "m-7", TEXT)
    assert mine.received(f"42{back[3:]}") == [(MESSAGE, "r0", TEXT, -1, None, "m-7", None)]


def test_heartbeats_and_requests_for_an_answer(opens: Opens) -> None:
    """A ping is answered, with what it carries; an event with a number is answered, with nothing."""
    dialogue = begun(opens())
    assert (dialogue.received("2"), dialogue.out) == (BEATS, ["3"])
    dialogue.received("2probe")
    assert dialogue.out[1] == "3probe"
    event = dialogue.received('4217["said",{"room":"r0","text":"x","from":"bob","id":"m","seq":9}]')
    assert event == [(MESSAGE, "r0", "x", 9, "bob", "m", None)]
    assert dialogue.out[2] == "4317[]"


@pytest.mark.parametrize(
    ("frame", "events"),
    # https://github.com/socketio/socket.io-protocol, "Packet encoding" and "Sample session"
    [
        ('42["foo"]', None),
        ('42["hey","Jude"]', [(MESSAGE, "r0", "Jude", -1, None, None, None)]),
        ('42/admin,["bar"]', None),
        ('4212["foo"]', None),
        ("4312[]", None),
        ('43/admin,13["bar"]', None),
        ('451-["baz",{"_placeholder":true,"num":0}]', None),
        ('461-15["bar",{"_placeholder":true,"num":0}]', None),
        (b"\x01\x02\x03\x04", None),
        ("6", []),
        ("1", None),
        ("", None),
        ("4", None),
        ("42", None),
        ("42[]", None),
    ],
)
def test_frames_of_the_documentation(opens: Opens, frame: str | bytes, events: Any) -> None:
    """None: nothing that the target file names, so the frame is shown to whoever probes."""
    hears = ('{ event = "said", text = "0.text", room = "0.room", ', '{ event = "hey", text = "0", ')
    target = opens(('{ event = "said", room = "0.room", text = "0.text", ', hears[1]))
    dialogue = begun(target, rooms=ROOMS[:1])
    got = list(dialogue.received(frame))
    assert got == ([(OTHER, None, None, -1, None, None, frame)] if events is None else events)


def test_a_namespace_of_its_own(opens: Opens) -> None:
    """Every packet names it, and those of others are not ours."""
    target = opens(("[options] ", '[options]\nnamespace = "/admin" '))
    dialogue = said(target)
    dialogue.received(OPEN)
    assert dialogue.out == ['40/admin,{"name":"ann"}']
    assert dialogue.received('40{"sid":"x"}')[0][0] == OTHER
    assert dialogue.received('40/admin,{"sid":"oSO0OpakMV_3jnilAAAA"}') == [GREETED]
    assert dialogue.out[1] == '42/admin,0["join","r0"]'
    assert dialogue.received("43/admin,0[{}]") == [joined("r0")]
    assert dialogue.send("r0", "m", "x").startswith('42/admin,2["say",')
    dialogue.closing()
    assert dialogue.out[-1] == "41/admin,"


def test_who_is_refused_and_who_is_put_out(opens: Opens) -> None:
    """The server leaves the socket open, so we end it, with what the server said as the reason."""
    dialogue = said(opens())
    dialogue.received(OPEN)
    with pytest.raises(Refused, match=r"namespace refused: .*Not authorized"):
        dialogue.received('44{"message":"Not authorized"}')
    with pytest.raises(Refused, match="namespace ended"):
        begun(opens()).received("41")
    with pytest.raises(Refused):
        GuardedDialogue(begun(opens()), "socketio").received("41")


@pytest.mark.parametrize(
    ("changes", "sent", "then", "events"),
    [
        # The server joins connections by itself.
        ([('join = ["join", "{room}"]', "")], [], [], [joined("r0"), joined("r1")]),
        # An event says that a room is joined.
        (
            [("joined = {", 'joined = { event = "in", room = "0.name",')],
            ['42["join","r0"]', '42["join","r1"]'],
            ['42["in",{"name":"r1","head":4}]'],
            [(JOINED, "r1", None, 4, None, None, None)],
        ),
        # The server never answers: what comes back for a namespace that is none comes after all joins.
        (
            [("join = [", "join_answers = false\njoin = [")],
            ['42["join","r0"]', '42["join","r1"]', "40/earwitness-order,"],
            ['44/earwitness-order,{"message":"Invalid namespace"}'],
            [joined("r0"), joined("r1")],
        ),
    ],
)
def test_ways_of_joining(opens: Opens, changes: Any, sent: list[str], then: list[str], events: list[Any]) -> None:
    dialogue = said(opens(*changes))
    dialogue.received(OPEN)
    dialogue.out.clear()
    got = list(dialogue.received('40{"sid":"x"}'))[1:]
    assert dialogue.out == sent
    assert got + [event for frame in then for event in dialogue.received(frame)] == events


CONNECTED = '40{"sid":"s1","pid":"session-1"}'


def resuming(target: Any, *frames: str) -> tuple[Any, list[str]]:
    """A connection with recovery that joined r0 and heard `frames`; the next one, and what it sent to begin."""
    first = begun(target, CONNECTED)
    for frame in ("430[{}]", *frames):
        first.received(frame)
    second = said(target, resume={}, before=first)
    second.received(OPEN)
    sent = list(second.out)
    second.out.clear()
    return second, sent


HEARD = '42["said",{"room":"r0","text":"a","from":"bob","id":"m1","seq":1},"offset-1"]'
MISSED = '42["said",{"room":"r0","text":"b","from":"bob","id":"m2","seq":2},"offset-2"]'


def test_a_session_that_is_recovered(opens: Opens) -> None:
    """It is asked for by id and last offset. What was missed comes before the word that it continues (engine of
    socket.io 4.8): it counts as received after that. Rooms that were joined stay so, others are joined now."""
    second, sent = resuming(opens(), HEARD)
    assert sent == ['40{"name":"ann","pid":"session-1","offset":"offset-1"}']
    assert second.received(MISSED) == []
    events = second.received(CONNECTED)
    assert events == [GREETED, joined("r0", True), (MESSAGE, "r0", "b", 2, "bob", "m2", None)]
    assert second.out == ['420["join","r1"]']
    assert (second.session, second.offset) == ("session-1", "offset-2")


def test_a_session_that_is_not_recovered(opens: Opens) -> None:
    """Another session: all rooms are joined anew, with the word that messages may be missing."""
    second, _ = resuming(opens(), HEARD)
    assert second.received('40{"sid":"s2","pid":"session-2"}') == [GREETED]
    assert second.out == ['420["join","r0"]', '421["join","r1"]']
    assert second.received("430[{}]") == [joined("r0", False)]
    assert second.offset is None
    silent, sent = resuming(opens())
    assert sent == ['40{"name":"ann"}'], "without an offset there is nothing to go on from"
    assert silent.received(CONNECTED) == [GREETED]


def test_without_recovery_there_is_no_offset(opens: Opens) -> None:
    """A text at the end of an event is data, where the server gave no session id."""
    dialogue = begun(opens())
    dialogue.received(HEARD)
    assert dialogue.offset is None


def test_a_chain_of_connections_is_not_kept(opens: Opens) -> None:
    """A dialogue takes what it needs from the one before, and lets it go."""
    second, _ = resuming(opens(), HEARD)
    assert not any(type(value) is type(second) for value in vars(second).values())


def test_history_over_the_socket(opens: Opens) -> None:
    """The room is joined first; rows are read by their paths; an answer that is no list is none."""
    target = opens()
    reader = target.parts.reads_by_socket.reader(ASK, ROOMS[0])
    reader.received(OPEN)
    reader.received('40{"sid":"x"}')
    reader.out.clear()
    reader.received("430[{}]")
    assert reader.out == ['421["history","r0"]']
    reader.received("431[7]")
    assert reader.rows is None
    again = target.parts.reads_by_socket.reader(ASK, ROOMS[0])
    for frame in (OPEN, '40{"sid":"x"}', "430[{}]", '431[[{"text":"a","from":"bob","id":"m","seq":3}]]'):
        again.received(frame)
    assert [(row.text, row.seq, row.sender, row.message_id) for row in again.rows] == [("a", 3, "bob", "m")]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('socket = "ws://127.0.0.1:3000"', 'http = "http://127.0.0.1:3000"', "urls.socket"),
        ('["join", "{room}"]', '[7, "{room}"]', "options.join does not begin with the name of an event"),
        ('["join", "{room}"]', '["join", "{raum}"]', "unknown placeholder {raum}"),
        ("send = [", "sent = [", "options.send is missing"),
        ("message = {", "messages = {", "options.message is missing"),
        ('text = "0.text", ', "", "options.message.*text is missing"),
        ("[options] ", '[options]\nnamespace = "chat" ', "options.namespace is no namespace"),
        ('auth = { name = "{name}" }', 'auth = "{name}"', "options.auth"),
        ('items = "0", ', 'item = "0", ', "options.history.item"),
    ],
)
def test_mistakes_in_the_file(opens: Opens, old: str, new: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        opens((old, new))


REAL = (
    OPEN, CONNECTED, "430[{}]", '431[{"seq":5}]', '432[{"error":403}]', "2", "6", "41", HEARD, MISSED,
    '44{"message":"Not authorized"}', '44/earwitness-order,{"message":"Invalid namespace"}', 
    '4217["said",{"text":"x"}]', '451-["baz",{"_placeholder":true,"num":0}]',
)  # fmt: skip


def test_mutated_frames(opens: Opens) -> None:
    """2,000 frames: each gives events that are events, or ends the connection by Refused; nothing else is raised."""
    target, rng = opens(("join = [", "join_answers = false\njoin = [")), random.Random(7)
    dialogue = begun(target)
    for frame in mutated_texts(REAL, COUNT, seed=5):
        if rng.random() < 0.05:
            dialogue = said(target, resume={}, before=dialogue)
        try:
            events = dialogue.received(frame)
        except Refused:
            continue
        assert all(event_fault(event) is None for event in events), frame
        assert all(isinstance(one, str) for one in dialogue.out)
        dialogue.out.clear()


def test_frames_are_those_of_the_library(opens: Opens) -> None:
    """What we send is what python-socketio reads, and what it writes is what we hear: kind, namespace, number, data."""
    packet = pytest.importorskip("socketio.packet", reason="pip install 'earwitness[servers]'")
    target = opens(("[options] ", '[options]\nnamespace = "/chat" '))
    dialogue = begun(target, '40/chat,{"sid":"x"}')
    read = packet.Packet(encoded_packet=dialogue.send("r0", "m-1", TEXT)[1:])
    assert (read.packet_type, read.namespace, read.id) == (packet.EVENT, "/chat", 2)
    assert read.data == ["say", {"room": "r0", "id": "m-1", "text": TEXT}]
    answer = packet.Packet(packet.ACK, [{"seq": 3}], "/chat", 2).encode()
    assert dialogue.received(f"4{answer}") == [(ACK, "r0", None, 3, None, "m-1", None)]
    row = {"room": "r1", "text": TEXT, "from": "bob", "id": "m-2", "seq": 4}
    event = packet.Packet(packet.EVENT, ["said", row], "/chat").encode()
    assert dialogue.received(f"4{event}") == [(MESSAGE, "r1", TEXT, 4, "bob", "m-2", None)]


@pytest.fixture
def python_socketio() -> None:
    """Skip the test unless the server's packages are installed; looking does not import them."""
    if not all(find_spec(name) for name in ("socketio", "aiohttp")):
        pytest.skip("needs packages: pip install 'earwitness[servers]'")


@pytest.mark.usefixtures("python_socketio")
def test_python_socketio_passes(tmp_path: Path) -> None:
    """Cut sockets and three times its two heartbeats: nothing is broken, nothing of what can be judged stays open."""
    with python_server(tmp_path, "socketio_app.py", "--ping-s", "1") as port:
        file = example_file(tmp_path, "socketio", port=port)
        code, out = probe(file)
        assert code == 0, out
        judged = run_story(CUTS, file, 6)
    assert judged.code == 0, judged.out
    assert all(judged.examined(name) > 0 for name in ("I1", "I2", "I4", "I5a", "I5b", "I6", "I10", "I12", "I15"))


@pytest.mark.usefixtures("python_socketio")
@pytest.mark.campaign
def test_silence_about_joining_passes_too(tmp_path: Path) -> None:
    """A server that does not answer `join`, in a namespace of its own."""
    with python_server(tmp_path, "socketio_app.py", "--silent-join", "--namespace", "/chat") as port:
        change = ("[options] ", '[options]\nnamespace = "/chat"\njoin_answers = false ')
        judged = run_story(CHAT, example_file(tmp_path, "socketio", change, port=port), 4)
    assert judged.code == 0, judged.out
    assert judged.examined("I5b") > 0


@pytest.mark.usefixtures("python_socketio")
def test_a_lost_message_is_found(tmp_path: Path) -> None:
    """One delivery in 40 is dropped between server and client: FAIL by the checks of deliveries, and by no other."""
    with (
        python_server(tmp_path, "socketio_app.py") as port,
        planted("ws", f"ws://127.0.0.1:{port}", Planter("lose", 40), '"said"') as proxy,
    ):
        judged = run_story(CHAT, example_file(tmp_path, "socketio", port=proxy), 4)
    assert judged.code == 1, judged.out
    assert {"I4", "I5b"} <= judged.broken <= {"I4", "I5b", "I25"}


@pytest.mark.usefixtures("python_socketio")
def test_a_refusal_is_said_at_once(tmp_path: Path) -> None:
    """The reason of the server, not a deadline of ours."""
    with python_server(tmp_path, "socketio_app.py") as port:
        code, out = probe(example_file(tmp_path, "socketio", ('{ name = "{name}" }', '{ nobody = "" }'), port=port))
    assert code == 2
    assert 'namespace refused: {"message":"no name"}' in out


def test_the_page_shows_the_file_to_copy() -> None:
    """The same keys and values as in the example, which these tests use."""
    page = (ROOT / "docs" / "dialects" / "socketio.md").read_text("utf-8")
    shown = page.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(shown) == tomllib.loads((EXAMPLES / "socketio.toml").read_text("utf-8"))


def test_a_login_and_a_history_by_http(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are shown in `auth`, in the address and to requests; a refused request shows no token."""
    monkeypatch.setenv("CHAT_KEY", "a key of thirty-two bytes, or more")
    target = opens(
        ("[urls]", '[urls]\nhttp = "http://127.0.0.1:3001"'),
        ('{ event = ["history", "{room}"], items = "0",', '{ url = "/rooms/{room}", items = "rows",'),
        (
            "[options] ",
            '[options]\nquery = { t = "{token}" }\nheaders = { Authorization = "Bearer {token}" }\n'
            'login = { by = "mint", algorithm = "HS256", key = "env:CHAT_KEY", claims = { sub = "u-{name}" } } ',
        ),
        ('auth = { name = "{name}" }', 'auth = { token = "{token}" }'),
    )
    with pytest.raises(StopIteration) as ended:
        next(target.login(ANN))
    credentials = ended.value.value
    assert (credentials.user_id, credentials.token.count(".")) == ("u-ann", 2)
    dialogue = target.dialogue(credentials, ROOMS).dialogue
    dialogue.received(OPEN)
    assert dialogue.out == [f'40{{"token":"{credentials.token}"}}']
    assert dialogue.handshake.url.endswith(f"&transport=websocket&t={credentials.token}")
    assert target.parts.reads_by_socket is None
    flow = target.history(credentials, ROOMS[0])
    asked = next(flow)
    assert (asked.url, asked.headers["Authorization"]) == (
        "http://127.0.0.1:3001/rooms/r0",
        f"Bearer {credentials.token}",
    )
    with pytest.raises(StopIteration) as read:
        flow.send(HttpResponse(200, {}, b'{"rows":[{"text":"a","from":"bob","id":"m","seq":3}]}'))
    assert [(row.text, row.seq, row.sender) for row in read.value.value] == [("a", 3, "bob")]
    flow = target.history(credentials, ROOMS[0])
    next(flow)
    with pytest.raises(FlowError) as refused:
        flow.send(HttpResponse(403, {}, f"no {credentials.token}".encode()))
    assert credentials.token not in str(refused.value)
