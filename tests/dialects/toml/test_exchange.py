"""What a target file says of a socket besides messages: steps, replies, heartbeats, how answers are told, rooms."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.client.dialogue import ManyDialogues, PlainDialogue
from earwitness.harness.client.events import ACK, BEAT, BEATS, JOINED, MESSAGE, NACK, OTHER, WELCOME
from earwitness.harness.client.wire import Refused
from earwitness.harness.client.wires import NoSocket
from earwitness.harness.dialects.protocol import Credentials, Person, Room
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.dialects.toml.dialogue import GreetedDialogue, ScriptedDialogue
from earwitness.harness.errors import SettingsError

SHAPES = Path(__file__).parents[2] / "support" / "shapes"
ANN = Person(number=0, name="ann", email="ann@people.example")
SECRET = "token-of-ann"
ROOMS = (Room(number=0, label="a", members=(ANN,)), Room(number=1, label="b", members=(ANN,)))
BASE: dict[str, str] = {
    "urls": 'socket = "ws://127.0.0.1:1/ws"',
    "login": 'by = "tokens"\nfile = "tokens"\nuser_id = "{name}"',
    "socket": "",
    "rooms": "",
    "send": 'frame = { type = "send", room = "{room}", id = "{id}", text = "{text}" }',
    "frames": 'kind = "type"\nmessage = { is = "msg", room = "room", text = "text" }\nack = { is = "ok", id = "id" }',
    "contract": 'sequence = "none"\nnames_sender = false\nhistory = false\nresume = false',
}


@pytest.fixture
def target(tmp_path: Path) -> Callable[..., Any]:
    """The target of a small file with some tables replaced."""
    (tmp_path / "tokens").write_text("token-of-ann\ntoken-of-bob\n")

    def make(**tables: str) -> Any:
        text = "\n".join(f"[{name}]\n{table}" for name, table in {**BASE, **tables}.items() if table)
        (tmp_path / "chat.toml").write_text(text)
        return load_target(tmp_path / "chat.toml")

    return make


def said(target: Any, rooms: tuple[Room, ...] = ROOMS, resume: dict[str, int] | None = None) -> Any:
    return target.dialogue(Credentials(person=ANN, user_id="ann", token=SECRET), rooms, resume)


def take(dialogue: Any) -> list[Any]:
    """Return what the dialogue wants to be sent, decoded where it is JSON."""
    out = [json.loads(frame) if frame[:1] in ("{", "[") else frame for frame in dialogue.out]
    dialogue.out.clear()
    return out


def whats(events: Any) -> list[int]:
    return [event[0] for event in events]


# -- the hot path -----------------------------------------------------------------------------------------------------


def test_a_file_without_such_keys_costs_nothing(target: Callable[..., Any]) -> None:
    """Its sockets decode and encode with two functions, as before."""
    assert type(said(target())) is PlainDialogue
    greeted = {"frames": BASE["frames"] + '\nwelcome = { is = "hi" }', "rooms": 'join = [{ join = "{room}" }]'}
    assert type(said(target(**greeted))) is GreetedDialogue
    assert type(said(target(socket='replies = [{ to = "2", frame = "3" }]'))) is ScriptedDialogue


def test_a_message_may_name_its_user(target: Callable[..., Any]) -> None:
    """Every placeholder that the reader accepts in a frame has a value."""
    names = ["number", "name", "email", "secret", "token", "user_id", "label", "room", "id", "text", "n"]
    fields = ", ".join(f'{name} = "{{{name}}}"' for name in names)
    dialogue = said(target(send=f"frame = {{ {fields} }}"))
    frame = json.loads(dialogue.send("a", "m1", "t"))
    assert (frame["user_id"], frame["token"], frame["room"], frame["n"]) == ("ann", SECRET, "a", 1)
    assert set(frame) == set(names)


# -- replies and heartbeats -------------------------------------------------------------------------------------------


def test_replies_to_an_exact_frame(target: Callable[..., Any]) -> None:
    """The frame is answered, text or bytes; it is no event, and anything else is read as usual."""
    dialogue = said(target(socket='replies = [{ to = "2", frame = "3" }]'))
    for ping in ("2", b"2"):
        assert dialogue.received(ping) == BEATS
        assert take(dialogue) == ["3"]
    assert whats(dialogue.received("2 ")) == [OTHER]
    assert whats(dialogue.received('{"type":"msg","text":"2"}')) == [MESSAGE]
    assert take(dialogue) == []


def test_replies_to_a_kind_of_frame(target: Callable[..., Any]) -> None:
    """Values of the frame are kept for the reply and later frames; a message that wants a reply stays a message."""
    replies = """replies = [
    { is = ["ping", 7], keep = { nonce = "data.nonce" }, frame = { type = "pong", nonce = "{kept.nonce}" } },
    { is = "msg", keep = { seq = "seq" }, frame = { type = "seen", seq = "{kept.seq}" } },
]"""
    dialogue = said(target(socket=replies))
    assert whats(dialogue.received('{"type":"ping","data":{"nonce":{"x":1}}}')) == [BEAT]
    assert take(dialogue) == [{"type": "pong", "nonce": {"x": 1}}]
    assert whats(dialogue.received('{"type":7}')) == [BEAT]
    assert take(dialogue) == [{"type": "pong", "nonce": None}]
    assert whats(dialogue.received('{"type":"msg","text":"t","seq":4}')) == [MESSAGE]
    assert take(dialogue) == [{"type": "seen", "seq": 4}]


def test_a_heartbeat(target: Callable[..., Any]) -> None:
    """It is due at its interval, but not while the connection is still opened."""
    beat = 'every = { seconds = 25, frame = { type = "ping", n = "{n}" } }'
    dialogue = said(target(socket=beat))
    assert dialogue.beat_s == 25.0
    dialogue.tick()
    dialogue.tick()
    assert take(dialogue) == [{"type": "ping", "n": 1}, {"type": "ping", "n": 2}]
    dialogue = said(target(socket=beat + '\nsteps = [{ frame = "hi", wait_for = "in" }]'))
    dialogue.opened()
    take(dialogue)
    dialogue.tick()
    assert take(dialogue) == []
    dialogue.received('{"type":"in"}')
    dialogue.tick()
    assert take(dialogue) == [{"type": "ping", "n": 1}]


# -- opening ----------------------------------------------------------------------------------------------------------

STEPS = """first = ["first"]
steps = [
    { frame = { do = "auth", token = "{token}" }, wait_for = ["in"], keep = { sid = "sid" }, refused = "out" },
    { frame = "only sent {kept.sid}" },
    { wait_text = "go", refused_text = "stop" },
]"""


def test_steps_wait_for_each_other(target: Callable[..., Any]) -> None:
    """Each frame goes out after the answer before it; the last answer is the greeting, after which rooms are joined."""
    dialogue = said(target(socket=STEPS, rooms='join = ["join {room} {kept.sid}"]'))
    assert dialogue.handshake.welcome
    assert list(dialogue.opened()) == []
    assert take(dialogue) == ["first", {"do": "auth", "token": SECRET}]
    assert "step 1 of socket.steps (wait_for = ['in'])" in dialogue.awaited
    assert whats(dialogue.received('{"type":"news"}')) == [OTHER]
    assert take(dialogue) == []
    assert WELCOME not in whats(dialogue.received('{"type":"in","sid":"s1"}'))
    assert take(dialogue) == ["only sent s1"]
    assert "step 3 of socket.steps (wait_text = 'go')" in dialogue.awaited
    assert whats(dialogue.received("go!")) == [WELCOME]
    assert take(dialogue) == ["join a s1", "join b s1"]
    assert whats(dialogue.received("go!")) == [OTHER]


def test_a_greeting_among_the_steps_counts_after_the_last(target: Callable[..., Any]) -> None:
    """What it tells is told then."""
    frames = BASE["frames"] + '\nwelcome = { is = "in", user = "me", rooms = "rooms" }'
    dialogue = said(target(socket=STEPS, frames=frames))
    dialogue.opened()
    events = dialogue.received('{"type":"in","sid":"s1","me":"ann","rooms":["a"]}')
    assert whats(events) == [JOINED]
    ((what, *_, info),) = dialogue.received("go")
    assert (what, info["user"]) == (WELCOME, "ann")


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ('{"type":"out","why":"token-of-ann is too old"}', 'step 1 of socket.steps was answered with .*"… is too old'),
        ('{"type":"no","id":"x"}', "step 1 of socket.steps was answered with"),
        ('{"type":"in"}', "the answer to step 1 of socket.steps has no value for kept.sid"),
    ],
)
def test_a_refusal_is_said(target: Callable[..., Any], frame: str, words: str) -> None:
    """By its kind, by [frames.nack], or an answer without what is needed; no secret is shown."""
    frames = BASE["frames"] + '\nnack = { is = "no", id = "id" }'
    dialogue = said(target(socket=STEPS, frames=frames))
    dialogue.opened()
    with pytest.raises(Refused, match=words) as refused:
        dialogue.received(frame)
    assert SECRET not in str(refused.value)
    assert str(refused.value).startswith("connection refused: ")
    assert refused.value.by_frame == ("no value" not in words), "what it cannot use is no refusal"


def test_a_refusal_by_its_text(target: Callable[..., Any]) -> None:
    dialogue = said(target(socket=STEPS))
    dialogue.opened()
    dialogue.received('{"type":"in","sid":"s1"}')
    with pytest.raises(Refused, match=r"step 3 of socket\.steps was answered with 'stop, you'"):
        dialogue.received("stop, you")


# -- joining ----------------------------------------------------------------------------------------------------------


def test_opening_or_the_greeting_is_joining(target: Callable[..., Any]) -> None:
    """Then each room of the user is joined, without a frame that says so."""
    chat = target(rooms='joined = "open"')
    assert chat.says_joined
    dialogue = said(chat)
    assert [(event[0], event[1]) for event in dialogue.opened()] == [(JOINED, "a"), (JOINED, "b")]
    chat = target(rooms='joined = "greeting"', frames=BASE["frames"] + '\nwelcome = { is = "hi" }')
    dialogue = said(chat)
    assert list(dialogue.opened()) == []
    assert whats(dialogue.received('{"type":"hi"}')) == [WELCOME, JOINED, JOINED]
    assert whats(dialogue.received('{"type":"hi"}')) == [WELCOME]
    dialogue = said(target(rooms='joined = "greeting"', socket='steps = [{ wait_text = "go" }]'))
    dialogue.opened()
    assert whats(dialogue.received("go")) == [WELCOME, JOINED, JOINED]
    assert not target().says_joined


# -- answers ----------------------------------------------------------------------------------------------------------


def test_answers_in_order(target: Callable[..., Any]) -> None:
    """Each belongs to the oldest message without one; one too many belongs to none; a refusal with an id to its own."""
    frames = 'kind = "type"\nmessage = { is = "msg", text = "text" }\nack = { is = "ok", by = "order" }'
    dialogue = said(target(frames=frames + '\nnack = { is = "no", id = "id" }'))
    for message_id in ("m1", "m2", "m3"):
        dialogue.send("a", message_id, "t")
    assert [event[5] for event in dialogue.received('{"type":"ok"}')] == ["m1"]
    assert [event[5] for event in dialogue.received('{"type":"no","id":"m2"}')] == ["m2"]
    assert [event[5] for event in dialogue.received('{"type":"ok"}')] == ["m3"]
    assert [event[5] for event in dialogue.received('{"type":"ok"}')] == [""]
    dialogue = said(target(frames=frames + '\nnack = { is = "no", by = "order", code = "why" }'))
    dialogue.send("a", "m1", "t")
    ((what, *_, message_id, extra),) = dialogue.received('{"type":"no","why":429}')
    assert (what, message_id, extra) == (NACK, "m1", (429, None))


COUNTED = {
    "send": 'frame = { cid = "{n}", text = "{text}" }',
    "rooms": 'join = [{ cid = "{n}", join = "{room}" }]',
    "frames": 'message = { has = "text", text = "text" }\nack = { has = "rid", lacks = "error", n = "rid" }\n'
    'nack = { has = "error", n = "rid", code = "error.code" }',
}


def test_answers_by_a_counted_number(target: Callable[..., Any]) -> None:
    """All frames of a connection share one count of JSON numbers; the answer to a joining frame confirms its room."""
    chat = target(**COUNTED)
    assert chat.says_joined
    dialogue = said(chat)
    dialogue.opened()
    assert take(dialogue) == [{"cid": 1, "join": "a"}, {"cid": 2, "join": "b"}]
    assert json.loads(dialogue.send("a", "m1", "t")) == {"cid": 3, "text": "t"}
    assert json.loads(dialogue.send("b", "m2", "t"))["cid"] == 4
    assert [event[:2] for event in dialogue.received('{"rid":2}')] == [(JOINED, "b")]
    assert [(event[0], event[5]) for event in dialogue.received('{"rid":4}')] == [(ACK, "m2")]
    assert [(event[0], event[5]) for event in dialogue.received('{"rid":"3","error":{"code":5}}')] == [(NACK, "m1")]
    assert [(event[0], event[5]) for event in dialogue.received('{"rid":4}')] == [(ACK, "m2")]
    for nothing in ('{"rid":99}', '{"rid":1,"error":{}}', '{"rid":null}', '{"rid":[1]}'):
        assert whats(dialogue.received(nothing)) == [OTHER]
    assert json.loads(said(chat).send("a", "m1", "t"))["cid"] == 1  # each connection counts by itself


# -- separators, prefixes, bytes --------------------------------------------------------------------------------------


def test_separators_and_bytes(target: Callable[..., Any]) -> None:
    """Several texts in one frame, each with its events and replies; everything that is sent ends with the text."""
    chat = target(
        socket='replies = [{ to = "{}", frame = "{\\"type\\":\\"pong\\"}" }]\nevery = { seconds = 9, frame = "beat" }',
        frames='separator = "\\u001e"\n' + BASE["frames"],
        send=BASE["send"] + '\nend = "\\u001e"\nbinary = true',
    )
    dialogue = said(chat)
    events = dialogue.received('{"type":"msg","text":"1"}\x1e{}\x1enonsense\x1e{"type":"ok","id":"m"}\x1e')
    assert whats(events) == [MESSAGE, BEAT, OTHER, ACK]
    assert dialogue.out == [b'{"type":"pong"}\x1e']
    dialogue.tick()
    assert dialogue.out[1:] == [b"beat\x1e"]
    assert dialogue.send("a", "m1", 'é"').endswith('"text":"é\\""}\x1e'.encode())
    assert whats(dialogue.received(b'{"type":"msg","text":"1"}')) == [MESSAGE]
    assert whats(dialogue.received(b"\xff")) == [OTHER]


def test_a_prefix_for_each_rule(target: Callable[..., Any]) -> None:
    """The longest prefix that fits decides; a rule with nothing but a prefix takes all such frames."""
    frames = """prefix = "4"
kind = "0"
message = { prefix = "42", is = "msg", text = "1" }
ack = { prefix = "43", id = "0" }
welcome = { prefix = "40" }
joined = { is = "in", room = "1" }"""
    dialogue = said(target(frames=frames))
    for frame, what in {
        '42["msg","t"]': MESSAGE, '43["m1"]': ACK, '40{"sid":"s"}': WELCOME, "40": WELCOME, '4["in","a"]': JOINED,
        '4["msg","t"]': OTHER, '42["in","a"]': OTHER, "3": OTHER, "42[": OTHER, "42": OTHER, '43{"a":1}': ACK,
    }.items():  # fmt: skip
        assert whats(dialogue.received(frame)) == [what], frame


# -- one socket for each room -----------------------------------------------------------------------------------------


def test_one_socket_for_each_room(target: Callable[..., Any]) -> None:
    """The address, the frames and the events belong to one room; resuming gives each socket its own number."""
    chat = target(
        urls='socket = "ws://127.0.0.1:1/ws/{room}?u={user_id}"',
        socket='query = { of = "{label}" }\nfirst = ["in {room} {n}"]',
        rooms='joined = "open"',
        resume='frames = ["after {seq} in {room}"]',
        frames='message = { has = "text", text = "text" }\nack = { has = "ok", by = "order" }',
    )
    rooms = (*ROOMS[:1], Room(number=1, label="b/ö", members=(ANN,)))
    many = said(chat, rooms, {"a": 4})
    assert isinstance(many, ManyDialogues)
    one, other = many.by_room.values()
    assert one.handshake.url == "ws://127.0.0.1:1/ws/a?u=ann&of=a"
    assert other.handshake.url == "ws://127.0.0.1:1/ws/b%2F%C3%B6?u=ann&of=b%2F%C3%B6"
    assert [event[:2] for event in other.opened()] == [(JOINED, "b/ö")]
    one.opened()
    assert (one.out, other.out) == (["in a 1", "after 4 in a"], ["in b/ö 1"])
    many.room = "b/ö"
    many.send("b/ö", "m1", "t")
    assert [event[:3] for event in many.received('{"text":"t"}')] == [(MESSAGE, "b/ö", "t")]
    assert [(event[0], event[1], event[5]) for event in many.received('{"ok":1}')] == [(ACK, "b/ö", "m1")]
    many.room = "a"
    assert [event[5] for event in many.received('{"ok":1}')] == [""]
    assert isinstance(said(chat, ()).handshake, NoSocket)


def test_a_room_that_a_frame_names_itself(target: Callable[..., Any]) -> None:
    """It stays that of the frame, so that a message of another room is found; a joined frame may lack the path."""
    frames = 'kind = "type"\nmessage = { is = "msg", room = "room", text = "text" }\njoined = { is = "in" }'
    chat = target(
        urls='socket = "ws://127.0.0.1:1/ws/{label}"',
        frames=frames,
        contract=BASE["contract"] + "\nacknowledges = false",
    )
    many = said(chat)
    assert [event[1] for event in many.received('{"type":"msg","room":"b","text":"t"}')] == ["b"]
    assert [event[:2] for event in many.received('{"type":"in"}')] == [(JOINED, "a")]


# -- mistakes ---------------------------------------------------------------------------------------------------------

WRONG = [
    ({"socket": "steps = [{}]"}, "socket.steps[0].frame or wait_for: one of them is needed"),
    ({"socket": 'steps = [{ frame = "x" }]'}, "socket.steps wait for no answer; frames without an answer belong into"),
    ({"socket": 'steps = [{ wait_for = "x", wait_text = "y" }]'}, "socket.steps[0].wait_for and wait_text exclude"),
    ({"socket": 'steps = [{ frame = "x", refused = "y" }]'}, "socket.steps[0].refused needs wait_for or wait_text"),
    (
        {"socket": 'steps = [{ wait_text = "x", keep = { A = "a" } }]'},
        "socket.steps[0].keep.A is no name of a placehold",
    ),
    ({"socket": 'steps = [{ wait_text = "x", frame = "{kept.sid}" }]'}, "unknown placeholder {kept.sid}"),
    ({"socket": 'replies = [{ to = "2" }]'}, "socket.replies[0].frame is missing"),
    ({"socket": 'replies = [{ frame = "2" }]'}, "socket.replies[0].to or is: exactly one of them is needed"),
    ({"socket": 'replies = [{ to = "2", frame = "3", keep = { a = "b" } }]'}, "socket.replies[0].keep needs is"),
    ({"socket": 'every = { frame = "x" }'}, "socket.every.seconds is missing"),
    ({"socket": "every = { seconds = 0 }"}, "socket.every.seconds = 0 is below 0.1"),
    ({"socket": 'every = { seconds = 1, frame = "{room}" }'}, "unknown placeholder {room}"),
    ({"socket": 'first = ["{room}"]'}, "unknown placeholder {room}"),
    ({"rooms": 'joined = "later"'}, "rooms.joined = 'later' is none of"),
    ({"rooms": 'joined = "open"\njoin = ["x"]'}, "rooms.joined and join exclude each other"),
    ({"rooms": 'joined = "greeting"'}, 'rooms.joined = "greeting" needs a greeting: frames.welcome or socket.steps'),
    (
        {"rooms": 'joined = "open"', "frames": BASE["frames"] + '\njoined = { is = "in", room = "r" }'},
        "rooms.joined and frames.joined exclude each other",
    ),
    (
        {"frames": BASE["frames"] + '\njoined = { is = "in" }'},
        "frames.joined.room is missing: only an address with {room}",
    ),
    (
        {"frames": 'message = { has = "t", text = "t" }\nack = { has = "ok" }'},
        "frames.ack.id is missing: it says which",
    ),
    (
        {"frames": 'message = { has = "t", text = "t" }\nack = { has = "ok", id = "a", by = "order" }'},
        'frames.ack.id is not the only key that says which message is answered: id and by = "order" exclude',
    ),
    (
        {"frames": 'message = { has = "t", text = "t" }\nack = { has = "ok", n = "a" }'},
        "frames.ack.n needs {n} in send.frame",
    ),
    (
        {
            "frames": 'message = { has = "t", text = "t" }\nack = { has = "ok", by = "order" }',
            "send": 'request = { url = "http://127.0.0.1:1/say", body = { text = "{text}" } }',
        },
        "frames.ack.by needs send.frame",
    ),
    (
        {"frames": 'message = { has = "t", text = "t" }', "socket": 'replies = [{ is = "a", frame = "b" }]'},
        "frames.kind",
    ),
    (
        {"urls": 'socket = "ws://{room}.chat.example/ws"'},
        "urls.socket has a placeholder in its host; write the host out",
    ),
    ({"urls": 'socket = "ws://127.0.0.1:1/{roam}"'}, "urls.socket uses the unknown placeholder {roam}"),
]


@pytest.mark.parametrize(("tables", "words"), WRONG, ids=[words for _, words in WRONG])
def test_mistakes_are_said(target: Callable[..., Any], tables: dict[str, str], words: str) -> None:
    """One sentence with the key, what is wrong, and what to write."""
    with pytest.raises(SettingsError) as error:
        target(**tables)
    assert words in str(error.value)


# -- nonsense ---------------------------------------------------------------------------------------------------------

REAL = [
    '0{"sid":"s1"}', '40{"sid":"x"}', "2", '42["said","a","t","ann"]', '42["ok","m1"]', '42["joined","a"]',
    '[{"channel":"/meta/handshake","successful":true,"clientId":"c1"}]', '[{"channel":"/a","id":3,"successful":true}]',
    '[{"channel":"/a","data":{"room":"a","by":"ann","text":"t"}}]', '{"rid": 1, "data": {"id": "s"}}', '{"rid":2}',
    "#1",
    '{"event":"#publish","data":{"channel":"a","data":{"text":"t","by":"ann"}}}', '{"message":"t"}', "{}\x1e",
    '{"type":1,"target":"Said","arguments":["a","ann","t"]}\x1e{"type":3,"invocationId":"m1","result":null}\x1e',
    '{"welcome":"ann"}', '{"ok":true}', '{"text":"t","by":"ann"}',
]  # fmt: skip


@pytest.mark.parametrize("shape", sorted(path.stem for path in SHAPES.glob("*.toml")))
def test_nonsense_is_no_exception(shape: str) -> None:
    """2,000 damaged frames for each shape, in and after the opening: events, or a refusal while it is opened."""
    rng, chat = random.Random(16), load_target(SHAPES / f"{shape}.toml")
    dialogue: Any = None
    for n in range(2000):
        if n % 40 == 0:
            dialogue = said(chat)
            dialogue = next(iter(dialogue.by_room.values())) if isinstance(dialogue, ManyDialogues) else dialogue
            dialogue.opened()
        frame = rng.choice(REAL).encode()
        if rng.random() < 0.6:
            at, size = rng.randrange(len(frame)), rng.randrange(4)
            frame = (
                frame[:at] + rng.choice([b"", b'"', b"{", b"[[[[", b"\xff", b"\x1e", b"9" * 30]) + frame[at + size :]
            )
        try:
            events = dialogue.received(frame if rng.random() < 0.3 else frame.decode("utf-8", "replace"))
        except Refused:
            dialogue = said(chat)
            dialogue = next(iter(dialogue.by_room.values())) if isinstance(dialogue, ManyDialogues) else dialogue
            continue
        assert all(type(event) is tuple and len(event) == 7 for event in events)
        dialogue.send("a", f"m{n}", "t")
        dialogue.tick()
        dialogue.out.clear()
