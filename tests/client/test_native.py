"""The native path leaves what the Python path leaves, byte for byte, whatever comes and wherever it is cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks import client
from earwitness.harness.client import link
from earwitness.harness.client.body import encode
from earwitness.harness.client.dialogue import Dialogue, PlainDialogue
from earwitness.harness.client.events import Handshake, Heard
from earwitness.harness.dialects.protocol import Credentials, Person, Room
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.native import HOT
from earwitness.harness.planning.plan import TRICKY
from tests.client.both_ways import CLIENT, ROOMS, TAG, Way, assert_alike, frame

pytestmark = pytest.mark.skipif(HOT is None, reason="the native path is not compiled: make setup")

ROOT = Path(__file__).resolve().parents[2]
ANN = Person(number=CLIENT, name="ann", email="ann@people.example")
ENDPOINTS = {"edge": "http://127.0.0.1:1", "auth": "http://127.0.0.1:2", "frontend": "http://127.0.0.1:3"}
TEXTS = (*TRICKY, "", "x", "a:b:c", 'he said: "no"\\', "\x7f", "line\nbreak", "\u2028", "\x01", "y" * 300, "ü" * 200)
LABELS = (*ROOMS, "unplanned")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends that the tester decides on are stamped by the link itself: the same both ways."""
    monkeypatch.setattr(link, "monotonic_ns", lambda: 10**12)


def reference() -> Dialogue:
    return ReferenceTarget(ENDPOINTS).dialogue(Credentials(person=ANN, user_id="u7", token="t"))


def described(path: str) -> Callable[[], Dialogue]:
    """A dialogue of a target file, for three rooms."""

    def make() -> Dialogue:
        target = load_target(ROOT / path)
        rooms = [Room(number=number, label=label, members=(ANN,)) for label, number in ROOMS.items()]
        return target.dialogue(Credentials(person=ANN, user_id="u7", token="t"), rooms)

    return make


Frames = Callable[[Random, dict[str, Any]], dict[str, Any]]


def of_reference(rng: Random, e: dict[str, Any]) -> dict[str, Any]:
    if e["what"] == "message":
        return {"type": "message", "conversation": e["room"], "seq": e["seq"], "id": e["id"], "sender": e["sender"],
                "text": e["text"], "at": "2026-11-30T12:00:00.123Z"}  # fmt: skip
    if e["what"] == "ack":
        return {"type": "ack", "id": e["id"], "conversation": e["room"], "seq": e["seq"]}
    return rng.choice((
        {"type": "nack", "id": e["id"], "code": 429, "reason": "slow", "retry_after": 0.5},
        {"type": "welcome", "user": "u7", "replica": "b1", "session": "s", "conversations": {"alpha": 3}},
        {"type": "joined", "conversation": e["room"], "head": 5, "complete": True},
        {"type": "left", "conversation": "room-3"},
        {"type": "agent", "conversation": "alpha", "run": "r#1", "event": "chunk", "n": 1, "text": "hello"},
        {"type": "pong", "id": 1}, {"type": ["message"]}, {"no": "type"},
    ))  # fmt: skip


def of_tiny_chat(rng: Random, e: dict[str, Any]) -> dict[str, Any]:
    if e["what"] == "message":
        return {"type": "message", "room": e["room"], "text": e["text"], "number": e["seq"], "from": e["sender"]}
    if e["what"] == "ack":
        return {"type": "accepted", "id": e["id"], "number": e["seq"]}
    return rng.choice(({"type": "welcome", "name": "ann"}, {"type": "joined", "room": e["room"]}, {"type": 3}))


def of_other_chat(rng: Random, e: dict[str, Any]) -> dict[str, Any]:
    if e["what"] == "message":
        what: Any = {"body": e["text"], "by": e["sender"], "more": {"body": "no", "list": [1, {"what": 2}]}}
        return {"ev": "said", "circle": e["room"], "what": what if rng.random() < 0.95 else [what]}
    if e["what"] == "ack":
        return {"ev": "ok", "ref": e["id"]}
    return rng.choice(({"ev": "no", "ref": e["id"], "why": 403}, {"ev": "ready", "me": "ann"}, {"ev": "entered"}))


def of_echo(rng: Random, e: dict[str, Any]) -> dict[str, Any]:
    return {"conversation": e["room"], "text": e["text"], "seq": e["seq"], "id": e["id"]}


def echo() -> Dialogue:
    """The dialect of the benchmark, made to survive what it is not made for: a frame has no kind."""

    def hear(data: str | bytes) -> Sequence[Heard]:
        try:
            ((what, label, text, seq, *rest),) = client.hear(data)
        except (ValueError, KeyError, TypeError):
            return ()
        fits = isinstance(label, str) and isinstance(text, str) and type(seq) is int and -1 <= seq < 1 << 62
        return ((what, label, text, seq, *rest),) if fits else ()

    url = Handshake(url="ws://127.0.0.1:1/", welcome=False)
    return PlainDialogue(url, hear, client.encode, envelope=client.ENVELOPE)


DIALECTS: dict[str, tuple[Callable[[], Dialogue], Frames]] = {
    "reference": (reference, of_reference),
    "tiny_chat": (described("examples/tiny_chat/chat.toml"), of_tiny_chat),
    "other_chat": (described("tests/support/other_chat/target.toml"), of_other_chat),
    "echo": (echo, of_echo),
}


def event(rng: Random, way: Way, *, odd: float) -> dict[str, Any]:
    """What a platform might say next; `odd`: how often something in it is not usual."""
    what = rng.choices(("message", "ack", "rare"), (6, 3, odd * 2))[0]
    label = rng.choice(tuple(ROOMS))
    own = rng.random() < 0.5
    author, counter = (CLIENT, rng.randint(1, way.session.counter + 1)) if own else (rng.choice((0, 3, 99)), 5)
    text, _ = encode(TAG, author, ROOMS[label], counter, rng.choice((1, 2, 255)), rng.choice((1, 2)), rng.choice(TEXTS))
    pending = list(way.session._pending)
    found = {"what": what, "room": label, "seq": rng.randrange(1, 400), "sender": f"user-{author}", "text": text,
             "id": rng.choice(pending) if pending and rng.random() < 0.9 else f"{TAG}-{CLIENT}-{counter}"}  # fmt: skip
    if rng.random() < odd:
        key, value = rng.choice((
            ("room", rng.choice(LABELS)), ("room", None), ("room", 4), ("seq", "17"), ("seq", -1), ("seq", 1.5),
            ("seq", True), ("seq", 1 << 61), ("seq", 1 << 70), ("sender", "new-" + str(rng.random())), ("sender", 5),
            ("sender", None), ("text", "plain text of a stranger"), ("text", text[:-1] + "?"), ("text", None),
            ("text", text.replace(":1.", ":01.", 1)), ("text", text.replace(TAG, "run2", 1)), ("text", text[:9]),
            ("text", text.replace(":", "::", 1)), ("text", text.upper()), ("id", None), ("id", 8), ("id", "a\\b"),
            ("text", "ew1:run1:7:0:99999999999:1.1:00000000:x"), ("text", "ew1:run1:-7:0:1:1.1:00000000:x"),
            ("text", text + "\ud800"),
        ))  # fmt: skip
        found[key] = value
    return found


def as_json(rng: Random, value: dict[str, Any], *, odd: float) -> str:
    """JSON as somebody else may write it."""
    items = list(value.items())
    if rng.random() < 0.3:
        rng.shuffle(items)
    if rng.random() < odd:
        items.append(
            rng.choice((("extra", [1, -2.5, {"a": [None, True, "\\"]}]), ("", {}), ("é", "ü"), ("deep", [[[[]]]])))
        )
    separators = rng.choice(((",", ":"), (", ", ": "), (" ,\n", " :\t")))
    text = json.dumps(dict(items), ensure_ascii=rng.random() < 0.4, separators=separators)
    if rng.random() < odd / 2:
        text = rng.choice((
            text + " ", " " + text, text[:-1], text + "x", text.replace("{", "{,", 1), f"[{text}]", f"{text}\n{text}",
            text.replace('"text"', '"\\u0074ext"'), text[:-1] + ',"text":"twice"}', text[:-1] + ',"seq":1e3}',
            text[:-1] + ',"n":01}', text.replace("s", "\\x", 1), text.replace("a", "\\ud800", 1), "null", "", "{}",
        ))  # fmt: skip
    return text


def last_frames(data: bytes) -> tuple[list[bytes], ...]:
    """Frames that end the connection."""
    return [frame(data + b"\xff", 0x81)], [frame(b"\x03\xe8bye", 0x88)], [frame(data, 0xC1)]


def frames_of(rng: Random, way: Way, shape: Frames, *, odd: float) -> list[bytes]:
    """Some frames: mostly one message each, sometimes what WebSocket allows beside that, and what it does not."""
    text = as_json(rng, shape(rng, event(rng, way, odd=odd)), odd=odd)
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() >= odd / 3:
        return [frame(data, 0x81)]
    half = len(data) // 2
    return rng.choice((
        [frame(b"hi", 0x89), frame(data, 0x81)], [frame(data[:half], 0x01), frame(b"", 0x89), frame(data[half:], 0x80)],
        [frame(data, 0x82)], [frame(data + b" " * 70000, 0x81)], [frame(data + b" " * 17000, 0x81)],
        [b"\x81\x7f" + len(data).to_bytes(8, "big") + data], [b"\x81\x7e" + len(data).to_bytes(2, "big") + data],
        [frame(data, 0x81), frame(b"", 0x8A)], [frame(b"", 0x81)],
        *(last_frames(data) if rng.random() < 0.1 else ()),
    ))  # fmt: skip


def script(seed: int, shape: Frames, *, odd: float, steps: int) -> Callable[[Way], None]:
    """A conversation, drawn from the seed alone: the same for both ways as long as they behave alike."""

    def play(way: Way) -> None:
        rng, now = Random(seed), 1000
        if rng.random() < 0.3:
            way.session.on_message = way.told.append
        for _ in range(steps):
            now += rng.randrange(1, 10**7)
            stream = b"".join(
                part for _ in range(rng.choice((1, 1, 3, 30))) for part in frames_of(rng, way, shape, odd=odd)
            )
            for _ in range(rng.choice((0, 1, 3))):
                if way.session.connected_now:
                    way.link.say(now, rng.choice(tuple(ROOMS)), rng.choice(TEXTS), rng.choice((None, now - 500, 0)))
            while stream:
                size = rng.choice((len(stream), rng.randrange(1, 40), rng.randrange(1, 2000)))
                way.link.receive(now, stream[:size])
                stream = stream[size:]
            if rng.random() < odd / 5:
                way.session.timeouts(now, 10**7)
            if rng.random() < odd / 10:
                way.link._give_up()
            if way.link.over:
                way.written += way.link.written
                way.connect(now)
                for message_id in way.session.unanswered()[:3]:
                    way.session.retry(now, message_id)

    return play


def played(directory: Path, make: Callable[[], Dialogue], play: Callable[[Way], None], **settings: Any) -> Way:
    """Play the same both ways, compare what they leave, and return the native one."""
    left = []
    for native in (False, True):
        way = Way(directory, make, native=native, **settings)
        play(way)
        left.append(way.left())
    assert_alike(*left)
    return way


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("name", DIALECTS)
def test_odd_streams_cut_anywhere_leave_the_same(tmp_path: Path, name: str, seed: int) -> None:
    make, shape = DIALECTS[name]
    by_echo = Random(seed).random() < 0.4
    played(tmp_path, make, script(seed, shape, odd=0.2, steps=25), ack_by_echo=by_echo)


@pytest.mark.parametrize("name", DIALECTS)
def test_usual_frames_take_the_native_path(tmp_path: Path, name: str) -> None:
    """Texts with escapes and other alphabets are usual; at least 95 of 100 frames are not given to Python."""
    make, shape = DIALECTS[name]
    way = played(tmp_path, make, script(1, shape, odd=0.0, steps=150), ack_by_echo=False)
    moved = way.transport.snapshot()
    print(name, moved["frames_native"], moved["frames_in"] + moved["frames_out"])
    assert moved["frames_native"] >= 0.5 * (moved["frames_in"] + moved["frames_out"])
