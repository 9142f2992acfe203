"""What platforms say, drawn from a seed, played to the native and to the Python path."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import client
from earwitness.harness.client.body import encode
from earwitness.harness.client.dialogue import Dialogue, PlainDialogue
from earwitness.harness.client.events import Handshake, Heard
from earwitness.harness.client.sharing import Shown
from earwitness.harness.dialects.protocol import Credentials, Person, Room
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.planning.plan import TRICKY
from tests.client.both_ways import CLIENT, ROOMS, TAG, Way, assert_alike, frame

ROOT = Path(__file__).resolve().parents[2]
ANN = Person(number=CLIENT, name="ann", email="ann@people.example")
ENDPOINTS = {"edge": "http://127.0.0.1:1", "auth": "http://127.0.0.1:2", "frontend": "http://127.0.0.1:3"}
TEXTS = (*TRICKY, "", "x", "a:b:c", 'he said: "no"\\', "\x7f", "line\nbreak", "\u2028", "\x01", "y" * 300, "ü" * 200)
LABELS = (*ROOMS, "unplanned")


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
    return rare_of_reference(rng, e)


def greeting(rng: Random) -> dict[str, Any]:
    heads = {label: rng.randrange(9) for label in LABELS if rng.random() < 0.7}
    marks = {label: rng.randrange(5) for label in heads if rng.random() < 0.9}
    found = {"type": "welcome", "user": "u7", "name": "ann", "replica": rng.choice(("b1", "b2")), "session": "s",
             "conversations": heads, "read": marks, **rng.choice(({}, {"resume": True}))}  # fmt: skip
    if rng.random() < 0.1:
        found[rng.choice(list(found))] = rng.choice((None, 1, "x", [], {}, {"alpha": "x"}, {"alpha": -1}, False))
    return found


def rare_of_reference(rng: Random, e: dict[str, Any]) -> dict[str, Any]:
    """A frame that is no message, mostly as the platform sends it."""
    room, seq, numbers = {"conversation": e["room"]}, rng.randrange(1, 6), e["numbers"]
    name = rng.choice(("started", "thinking", *["chunk"] * 8, "completed", "error", "odd"))
    run = f"{rng.choice('rs')}#{seq}" if rng.random() < 0.95 else rng.choice(("r", "r#", "r#x", "r#00000000000000001"))
    numbers[run] = 0 if name == "started" else numbers[run] + (name == "chunk")
    piece = numbers[run] - (name == "chunk") if rng.random() < 0.9 else rng.randrange(4)
    numbers[e["room"]] += rng.random() < 0.2
    edit = max(1, numbers[e["room"]] + rng.choice((0, 0, 0, 0, -1, 1)))
    text, _ = encode(TAG, CLIENT, 0, seq, 1, 1, f"edit {seq}")
    users: dict[str, Any] = {f"user-{n}": rng.random() < 0.5 for n in (3, 7, 99, 0) if rng.random() < 0.6}
    frames: list[dict[str, Any]] = [
        {"type": "nack", "id": e["id"], "code": 429, "retry_after": rng.choice((0.5, 0.001, 7, None))},
        {"type": "nack", "id": e["id"], "code": rng.choice((403, "403", None)), "reason": "no"},
        {"type": "nack", "id": rng.choice((None, e["id"])), "code": 403, "reason": "no", "of": "watch"},
        greeting(rng),
        {"type": "joined", **room, "head": seq, "complete": rng.choice((True, False, None))},
        {"type": "left", "conversation": rng.choice(LABELS)},
        {"type": "read", **room, "seq": seq}, {"type": "read", "conversation": rng.choice(LABELS), "seq": seq},
        *[{"type": "edited", **room, "n": edit, "seq": seq, "version": rng.randrange(5), "text": text}] * 3,
        {"type": "presence", **room, "users": users, "whole": True},
        {"type": "presence", "conversation": rng.choice(LABELS), "users": {"user-3": rng.choice((True, 1, None))}},
        {"type": "user", "user": {"id": "u7", "email": "a@b", "name": rng.choice(("ann", "ü", 'a"b')), "more": True}},
        {"type": "pong", "id": 1}, {"type": ["message"]}, {"no": "type"},
        *[{"type": "agent", **room, "run": run, "event": name, "n": piece, "text": rng.choice(TEXTS)}] * 6,
    ]  # fmt: skip
    found = rng.choice(frames)
    if rng.random() < 0.1:
        found[rng.choice(list(found))] = rng.choice((None, 1, "x", [], {}, -1, 1.5, {"a": 1}, {"user-3": True}, True))
    return found


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
    what = rng.choices(("message", "ack", "rare"), (6, 3, rng.choice((odd * 2, 6))))[0]
    label = rng.choice(tuple(ROOMS))
    own = rng.random() < 0.5
    author, counter = (CLIENT, rng.randint(1, way.session.counter + 1)) if own else (rng.choice((0, 3, 99)), 5)
    text, _ = encode(TAG, author, ROOMS[label], counter, rng.choice((1, 2, 255)), rng.choice((1, 2)), rng.choice(TEXTS))
    pending = list(way.session._pending)
    found = {"numbers": way.numbers, "what": what, "room": label,
             "seq": rng.randrange(1, 400), "sender": f"user-{author}", "text": text,
             "id": rng.choice(pending) if pending and rng.random() < 0.9 else f"{TAG}-{CLIENT}-{counter}"}  # fmt: skip
    if rng.random() < odd:
        key, value = rng.choice((
            ("sender", "agent"), ("text", "an answer of the agent"), ("room", rng.choice(LABELS)), ("room", None),
            ("room", 4), ("seq", "17"), ("seq", -1), ("seq", 1.5),
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


def question(label: str, message_id: str, text: str) -> str:
    """A question to the agent of the reference platform."""
    target = ReferenceTarget(ENDPOINTS)
    return target.question(reference(), label, message_id, text)


def listen(rng: Random, way: Way) -> None:
    """Set some hooks, which note what they are called with."""

    def noting(name: str) -> Callable[..., None]:
        return lambda *what: way.told.append((name, *what))

    for name in ("message", "agent", "left", "joined", "refused"):
        if rng.random() < 0.4:
            setattr(way.session, f"on_{name}", noting(name))
    if rng.random() < 0.1:
        way.session.on_welcome = noting("welcome")
    if rng.random() < 0.6:
        way.session.shown = Shown(way.journal, CLIENT, TAG, dict(ROOMS))


def greeted(rng: Random, shape: Frames, way: Way) -> bytes:
    """A greeting, mostly, if nothing was received on the connection yet."""
    if shape is not of_reference or way.session._due is None or rng.random() < 0.2:
        return b""
    return frame(as_json(rng, greeting(rng), odd=0.05))


def script(seed: int, shape: Frames, *, odd: float, steps: int) -> Callable[[Way], None]:
    """A conversation, drawn from the seed alone: the same for both ways as long as they behave alike."""

    def play(way: Way) -> None:
        rng, now = Random(seed), 1000
        listen(rng, way)
        for _ in range(steps):
            now += rng.randrange(1, 10**7)
            stream = greeted(rng, shape, way) + b"".join(
                part for _ in range(rng.choice((1, 1, 3, 30))) for part in frames_of(rng, way, shape, odd=odd)
            )
            for _ in range(rng.choice((0, 1, 3))):
                if way.session.connected_now:
                    ask = question if shape is of_reference and rng.random() < 0.3 else None
                    planned_ns = rng.choice((None, now - 500, 0))
                    way.link.say(now, rng.choice(tuple(ROOMS)), rng.choice(TEXTS), planned_ns, ask=ask)
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
                    way.link.say_again(now, message_id)

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


def heard(counter: int) -> bytes:
    """A usual message of the reference platform."""
    text, _ = encode(TAG, 3, ROOMS["alpha"], counter, 1, 1, "hello")
    usual = {"type": "message", "conversation": "alpha", "seq": counter, "id": "x", "sender": "user-3", "text": text}
    return frame(json.dumps(usual))
