"""The native path leaves what the Python path leaves, byte for byte, whatever comes and wherever it is cut."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from seeds import blocks

from benchmarks import client
from earwitness.harness.client import link
from earwitness.harness.client.body import encode
from earwitness.harness.client.dialogue import Dialogue, PlainDialogue
from earwitness.harness.client.events import Handshake, Heard
from earwitness.harness.client.outbox import NotConnected
from earwitness.harness.client.sharing import Shown
from earwitness.harness.client.tally import BUCKETS, Histogram, PlainBuckets
from earwitness.harness.client.wire import Refused
from earwitness.harness.dialects.protocol import Credentials, Person, Room
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.errors import Exceeded
from earwitness.harness.native import HOT
from earwitness.harness.planning.plan import TRICKY
from earwitness.harness.record import journal
from earwitness.harness.record.journal import BLOCK_RECORDS, STEP_RECORDS
from tests.client.both_ways import CLIENT, ROOMS, TAG, Way, assert_alike, frame, unmasked

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


@pytest.mark.parametrize("seed", blocks(25, 8))
@pytest.mark.parametrize("name", DIALECTS)
def test_odd_streams_cut_anywhere_leave_the_same(tmp_path: Path, name: str, seed: int) -> None:
    make, shape = DIALECTS[name]
    rng = Random(seed)
    settings: dict[str, Any] = {"ack_by_echo": rng.random() < 0.4}
    if name == "reference":
        settings |= {
            "agents": ("agent", "user-99"),
            "strangers": rng.choice((None, None, lambda label: label == "alpha")),
        }
    played(tmp_path, make, script(seed, shape, odd=rng.choice((0.05, 0.2)), steps=25), **settings)


@pytest.mark.parametrize("name", DIALECTS)
def test_usual_frames_take_the_native_path(tmp_path: Path, name: str) -> None:
    """Texts with escapes and other alphabets are usual; at least 95 of 100 frames are not given to Python."""
    make, shape = DIALECTS[name]

    def play(way: Way) -> None:
        rng, seq = Random(name), 0
        for now in range(1000, 1400):
            way.link.say(now, "alpha", rng.choice(TRICKY))
            for _ in range(3):
                seq += 1
                text, _ = encode(TAG, 3, ROOMS["alpha"], seq, 1, 1, rng.choice(TRICKY))
                usual = {"room": "alpha", "seq": seq, "sender": "user-3", "text": text, "id": f"{TAG}-3-{seq}"}
                own = usual | {"what": "ack", "id": f"{TAG}-{CLIENT}-{way.session.counter}"}
                for said in (usual | {"what": "message"}, own)[: 1 if name == "echo" else 2]:
                    data = json.dumps(shape(rng, said), ensure_ascii=rng.random() < 0.5)
                    if said["what"] == "message" or own["id"] in way.session._pending:
                        way.link.receive(now, frame(data))

    moved = played(tmp_path, make, play).transport.snapshot()
    assert moved["frames_native"] >= 0.95 * (moved["frames_in"] + moved["frames_out"])


def heard(counter: int) -> bytes:
    """A usual message of the reference platform."""
    text, _ = encode(TAG, 3, ROOMS["alpha"], counter, 1, 1, "hello")
    usual = {"type": "message", "conversation": "alpha", "seq": counter, "id": "x", "sender": "user-3", "text": text}
    return frame(json.dumps(usual))


def test_blocks_and_pages_turn_alike(tmp_path: Path) -> None:
    """More records than a page holds, in reads of many frames: at each block one frame is given to Python, not more."""

    def play(way: Way) -> None:
        way.link.receive(1, heard(1))  # CONNECT is recorded with it
        for first in range(1, STEP_RECORDS + 5 * BLOCK_RECORDS, 500):
            way.link.receive(first, b"".join(heard(counter) for counter in range(first, first + 500)))

    way = played(tmp_path, reference, play)
    moved = way.transport.snapshot()
    assert way.journal.records > STEP_RECORDS + 4 * BLOCK_RECORDS
    assert moved["frames_in"] - moved["frames_native"] <= 2 + way.journal.records // BLOCK_RECORDS


def test_a_full_disk_is_said_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page that cannot be reserved ends the connection after the record is safe; the next one goes on."""
    firsts = range(1, 6 * STEP_RECORDS + 5000, 1000)
    reads = {first: b"".join(heard(counter) for counter in range(first, first + 1000)) for first in firsts}

    def play(way: Way) -> None:
        steps = [1]

        def allocate(fd: int, offset: int, size: int) -> None:
            if steps[0] > 1:
                raise OSError(28, "No space left on device")
            steps[0] += 1
            os.posix_fallocate(fd, offset, size)

        with monkeypatch.context() as patched:
            patched.setattr(journal, "_allocate", allocate)
            for first, read in reads.items():
                if way.link.over:
                    way.told.append((first, type(way.link.error), way.journal.records))
                    way.connect(first)
                way.link.receive(first, read)
        assert len(way.told) > 2, "it was full, and said so"

    played(tmp_path, reference, play)


def test_refused_sends_record_nothing(tmp_path: Path) -> None:
    """An unplanned room, a text that is no Unicode, no connection: the error is Python's, and nothing is left."""

    def play(way: Way) -> None:
        for label, payload in (("unplanned", "x"), ("alpha", "\ud800"), ("alpha", "fine")):
            try:
                way.link.say(5, label, payload)
            except (KeyError, UnicodeEncodeError) as error:
                way.told.append(repr(error))
        way.link._give_up()
        with pytest.raises(NotConnected):
            way.link.say(6, "alpha", "x")

    assert played(tmp_path, reference, play).session.counter == 1


@pytest.mark.parametrize("failing", ["on_answer", "on_message"])
@pytest.mark.parametrize("error", [RuntimeError("a mistake of ours"), Exceeded("too much"), Refused("no more")])
def test_an_error_of_a_hook_ends_the_connection_alike(tmp_path: Path, failing: str, error: Exception) -> None:
    """It is counted as the frame at which it happened, in the middle of a read."""

    def play(way: Way) -> None:
        def fail(*_: object) -> None:
            if way.session.heard_count == 3 or way.session.acked == 2:
                raise error

        for _ in range(4):
            way.link.say(5, "alpha", "x")
        setattr(way.session, failing, fail)
        acks = [{"type": "ack", "id": f"{TAG}-{CLIENT}-{n}", "conversation": "alpha", "seq": n} for n in range(1, 5)]
        parts = [heard(1), heard(2), *(frame(json.dumps(ack)) for ack in acks), heard(3), heard(4)]
        way.link.receive(9, b"".join(parts))

    played(tmp_path, reference, play)


def test_a_hook_may_send(tmp_path: Path) -> None:
    """As stories do: the next message goes out while the answer to the last one is recorded."""

    def play(way: Way) -> None:
        way.session.on_answer = lambda: way.link.say(50, "alpha", f"after {way.session.acked}")
        way.link.say(5, "alpha", "first")
        for n in range(1, 20):
            ack = {"type": "ack", "id": f"{TAG}-{CLIENT}-{n}", "conversation": "alpha", "seq": n}
            way.link.receive(60 + n, frame(json.dumps(ack)) + heard(n))

    assert played(tmp_path, reference, play).session.counter == 20


def test_a_closed_or_forked_journal_is_not_written(tmp_path: Path) -> None:
    """A halted journal has no room: the frame is given to Python, which says that it is closed."""
    way = Way(tmp_path, reference, native=True)
    way.link.receive(5, heard(1) + heard(2))
    way.journal.close({})
    way.link.receive(6, heard(3))
    assert "closed" in str(way.link.error)


@pytest.mark.parametrize("seed", range(20))
def test_histograms_count_alike(seed: int) -> None:
    rng = Random(seed)
    values = [rng.randrange(-5, 1 << rng.randrange(1, 50)) for _ in range(500)] + [0, 255 << 6, 256 << 6, (1 << 61) - 1]
    plain, native = PlainBuckets(), Histogram()
    for value in values:
        plain.add(value)
        native.add(value)
    assert (taken := native.take()) == plain.take()
    assert max(taken[0]) < BUCKETS
    assert native.take()[0] == {}


def test_a_record_out_of_range_is_refused(tmp_path: Path) -> None:
    """`struct.error` as Python has it, and nothing is appended."""
    way = Way(tmp_path, reference, native=True)
    before = way.journal.records
    for position, value in ((1, 256), (5, -1), (5, 1 << 32), (10, 1 << 63), (0, 1.5), (12, "x")):
        record: list[Any] = [1] * 14
        record[position] = value
        with pytest.raises(struct.error):
            way.journal.write(*record)
    with pytest.raises(TypeError):
        way.journal.write(1, 2, 3)  # type: ignore[call-arg]
    assert way.journal.records == before


USUAL = json.dumps({
    "type": "message", "conversation": "alpha", "seq": 3, "id": "x", "sender": "user-3",
    "text": encode(TAG, 3, ROOMS["alpha"], 3, 1, 1, "hello")[0],
})  # fmt: skip
ODD = {
    "text twice": USUAL[:-1] + ', "text": "other"}',
    "number twice": USUAL[:-1] + ', "seq": 9}',
    "number twice, then none": USUAL[:-1] + ', "seq": null}',
    "kind twice": USUAL[:-1] + ', "type": "pong"}',
    "an escaped key": USUAL[:-1] + ', "se\\u0071": 9}',
    "no UTF-8 in a value beside": USUAL.encode()[:-1] + b', "at": "\xff"}',
    "an overlong character": USUAL.encode()[:-1] + b', "at": "\xc0\xaf"}',
    "a surrogate in UTF-8": USUAL.encode()[:-1] + b', "at": "\xed\xa0\x80"}',
    "a cut character": USUAL.encode()[:-1] + b', "at": "\xe2\x82"}',
    "a control character": USUAL[:-1] + ', "at": "a\tb"}',
    "half a surrogate": USUAL[:-1] + ', "at": "\\ud83e"}',
    "a high surrogate and a letter": USUAL[:-1] + ', "at": "\\ud83e\\u0041"}',
    "a low surrogate": USUAL[:-1] + ', "at": "\\uddf5"}',
    "a cut escape": USUAL[:-1] + ', "at": "\\u00"}',
    "a long number": USUAL[:-1] + ', "at": 123456789012345678901234567890}',
    "an infinite number": USUAL[:-1] + ', "at": 1e999}',
    "half a number": USUAL[:-1] + ', "at": 1.}',
    "a comma too many": USUAL[:-1] + ",}",
    "deep": USUAL[:-1] + ', "at": ' + "[" * 40 + "]" * 40 + "}",
    "not closed": USUAL[:-1],
    "more behind it": USUAL + "{}",
    "another word": USUAL[:-1] + ', "at": nul}',
    "an agent's": USUAL.replace("user-3", "agent"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_frame_among_usual_ones(tmp_path: Path, name: str) -> None:
    """What JSON forbids, and what it leaves open, is decided by Python's library alone."""
    odd = ODD[name] if isinstance(ODD[name], bytes) else ODD[name].encode()

    def play(way: Way) -> None:
        way.link.receive(1, heard(1))
        way.link.receive(2, heard(2) + frame(odd, 0x81) + heard(4))

    native = played(tmp_path, reference, play).transport.frames_native
    assert native <= 2, "the odd one is given to Python"


def test_an_open_question_is_for_python(tmp_path: Path) -> None:
    """Its acknowledgement states the number by which the answer of the agent names it."""

    def play(way: Way) -> None:
        way.link.receive(1, heard(1))
        way.session.send(5, "alpha", "a question", asks=True)
        ack = {"type": "ack", "id": f"{TAG}-{CLIENT}-1", "conversation": "alpha", "seq": 4}
        chunk = {"type": "agent", "conversation": "alpha", "run": "r#4", "event": "chunk", "n": 1, "text": "well"}
        way.link.receive(6, frame(json.dumps(ack)) + frame(json.dumps(chunk)))

    assert "first token, from its planned start" in played(tmp_path, reference, play).latencies


ALPHA = {"conversation": "alpha"}


def of_an_answer(run: str, text: str = "", *, edits: int = 0) -> list[dict[str, Any]]:
    """An agent's whole answer in pieces, and `edits` of a message among them; `text`: that the end carries."""
    pieces = ("", "You asked", ' "in"', " ünï words")
    said = [("started", 0, ""), ("thinking", 0, "hm"), *(("chunk", n, piece) for n, piece in enumerate(pieces))]
    said.append(("completed", len(pieces), text))
    found: list[dict[str, Any]] = [
        {"type": "agent", **ALPHA, "run": run, "event": event, "n": n, "text": piece} for event, n, piece in said
    ]
    body, _ = encode(TAG, 3, ROOMS["alpha"], 5, 1, 1, "better")
    found[3:3] = [
        {"type": "edited", **ALPHA, "n": n, "seq": 1, "version": n + 1, "text": body, "at": "now"}
        for n in range(1, edits + 1)
    ]
    return found


WELCOME = {
    "type": "welcome", "user": "u7", "name": "ann", "replica": "b1", "session": "s",
    "conversations": {"alpha": 3, "room-3": 0}, "read": {"alpha": 2, "room-3": 0},
}  # fmt: skip


@pytest.mark.parametrize("shown", [False, True])
def test_usual_frames_that_are_no_messages_take_the_native_path(tmp_path: Path, shown: bool) -> None:
    """On a second connection, when the names are known, Python gets only what comes once in an answer."""
    own = f"{TAG}-{CLIENT}-"
    frames: list[dict[str, Any]] = [
        {"type": "joined", **ALPHA, "head": 4, "complete": True},
        {"type": "joined", "conversation": "room-3", "head": 4, "complete": False},
        {"type": "left", "conversation": "room-3"}, {"type": "read", **ALPHA, "seq": 3},
        {"type": "presence", **ALPHA, "users": {"user-3": True, "u7": False}, "whole": True},
        {"type": "user", "user": {"id": "u7", "email": "a@b", "name": "änn", "is_active": True}},
        {"type": "ack", "id": f"{own}1", **ALPHA, "seq": 7},  # a question
        {"type": "nack", "id": f"{own}2", "code": 429, "reason": "slow", "retry_after": 1.2345},
        *of_an_answer("x#7", 'You asked "in" ünï words'), *of_an_answer("y#6", edits=4), *of_an_answer("z#5", "other"),
        {"type": "message", **ALPHA, "seq": 8, "id": "i", "sender": "agent", "text": "an answer", "at": "now"},
    ]  # fmt: skip

    def play(way: Way) -> None:
        listen(Random(1), way)
        way.session.shown = Shown(way.journal, CLIENT, TAG, dict(ROOMS)) if shown else None
        names = ({"type": "presence", **ALPHA, "users": {"user-3": False}}, *of_an_answer("x#1"), frames[-1])
        for name in ("user-3", "agent", "x#7", "y#6", "z#5"):
            way.journal.intern(name)
        way.link.receive(1, b"".join(frame(json.dumps(said)) for said in (WELCOME, *names)))
        way.link._give_up()
        way.session.asked = {"alpha": 2}
        way.before = way.transport.snapshot()
        way.connect(50)
        way.link.receive(60, frame(json.dumps(WELCOME)))
        way.link.say(70, "alpha", "a question", 65, ask=question)
        way.link.say(70, "alpha", "too much")
        for now, said in enumerate(frames, 80):
            way.link.receive(now, frame(json.dumps(said, ensure_ascii=now % 2 == 0)))

    moved = (way := played(tmp_path, reference, play, agents=("agent",))).transport.since(way.before)
    assert moved["frames_in"] == 1 + len(frames)
    # the answer that begins while a question is open, and the first token
    assert moved["frames_in"] + moved["frames_out"] - moved["frames_native"] == 2


@pytest.mark.parametrize("continued", [True, False, None])
def test_a_connection_resumes_natively(tmp_path: Path, continued: bool | None) -> None:
    """It says where it continues, is told whether it may, and what was missed comes again: all of it natively."""
    points: dict[str, int] = {}

    def make() -> Dialogue:
        target, mine = ReferenceTarget(ENDPOINTS), Credentials(person=ANN, user_id="u7", token="t")
        return target.dialogue(mine, (), dict(points) or None)

    def play(way: Way) -> None:
        for name in ("u7", "b1", "user-3"):
            way.journal.intern(name)
        way.link.receive(1, b"".join((frame(json.dumps(WELCOME)), heard(4), heard(5))))
        way.link.say(2, "alpha", "lost")
        points.update(way.session.resume_points())
        way.session.asked = dict(points)
        way.link._give_up()
        way.before = way.transport.snapshot()
        way.connect(10)
        way.told.append(unmasked(b"".join(way.link.written)))
        joined = [
            {"type": "joined", "conversation": label, "head": seq, "complete": continued if label == "alpha" else None}
            for label, seq in (("alpha", 7), ("room-3", 0), ("unplanned", 3))
        ]
        stream = [frame(json.dumps(said)) for said in (WELCOME | {"resume": True}, *joined)]
        way.link.receive(11, b"".join((*stream, heard(6), heard(7), heard(6))))
        way.link.say_again(12, f"{TAG}-{CLIENT}-1")
        way.link.receive(13, frame(json.dumps({"type": "ack", "id": f"{TAG}-{CLIENT}-1", **ALPHA, "seq": 8})))
        points.clear()

    way = played(tmp_path, make, play)
    assert way.session.resume_points() == {"alpha": 7, "room-3": 0}
    moved = way.transport.since(way.before)
    assert (moved["frames_in"], moved["frames_out"]) == (8, 2)
    assert moved["frames_native"] == 10
    assert ("resume", {"alpha": 5, "room-3": 0}) in [
        (said["type"], said["from"]) for sent in way.told if isinstance(sent, list) for said in [json.loads(sent[0][1])]
    ]


def test_a_message_is_sent_again_natively(tmp_path: Path) -> None:
    """After a lost connection: the same id, another attempt, and the next one if that is lost too."""

    def play(way: Way) -> None:
        way.link.receive(1, frame(json.dumps(WELCOME)))
        way.link.say(5, "alpha", "lost")
        for now in (10, 20):
            way.link._give_up()
            way.written += way.link.written
            way.connect(now)
            way.link.receive(now + 1, frame(json.dumps(WELCOME)))
            way.link.say_again(now + 2, f"{TAG}-{CLIENT}-1")
        with pytest.raises(KeyError):
            way.link.say_again(30, "unknown")
        ack = {"type": "ack", "id": f"{TAG}-{CLIENT}-1", **ALPHA, "seq": 7}
        way.link.receive(40, frame(json.dumps(ack)))

    assert played(tmp_path, reference, play).transport.frames_native == 6


def test_an_answer_that_overtakes_the_acknowledgement_finds_its_question(tmp_path: Path) -> None:
    """Its first event has no question yet; the one after the acknowledgement has."""

    def play(way: Way) -> None:
        for name in ("u7", "b1", "x#7"):
            way.journal.intern(name)
        way.link.receive(1, frame(json.dumps(WELCOME)))
        way.link.say(5, "alpha", "a question", ask=question)
        first, *others = of_an_answer("x#7")
        ack = {"type": "ack", "id": f"{TAG}-{CLIENT}-1", **ALPHA, "seq": 7}
        for now, said in enumerate((first, ack, *others), 10):
            way.link.receive(now, frame(json.dumps(said)))

    way = played(tmp_path, reference, play)
    assert way.latencies["first token, from its planned start"].n == 1


@pytest.mark.parametrize("first", ["a message", "an escaped room", "a room twice", "a message that is sent"])
def test_a_connection_begins_alike(tmp_path: Path, first: str) -> None:
    """CONNECT comes before all else, whatever is received or sent first; one of both understands the greeting."""
    escaped = frame(json.dumps(WELCOME).replace('"alpha"', '"\\u0061lpha"'))
    twice = frame(json.dumps(WELCOME).replace('"room-3"', '"alpha"'))
    begun = {"a message": heard(1), "an escaped room": escaped, "a room twice": twice, "a message that is sent": b""}

    def play(way: Way) -> None:
        for name in ("u7", "b1", "user-3"):
            way.journal.intern(name)
        if not begun[first]:
            way.link.say(3, "alpha", "early")
        way.link.receive(5, begun[first] + frame(json.dumps(WELCOME)) + heard(2))

    assert played(tmp_path, reference, play).session.welcomed
