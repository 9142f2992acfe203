"""The native path leaves what the Python path leaves, byte for byte, whatever comes and wherever it is cut."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from seeds import blocks

from earwitness.harness.client.body import encode
from earwitness.harness.native import HOT
from earwitness.harness.planning.plan import TRICKY
from tests.client.both_ways import CLIENT, ROOMS, TAG, Way, frame
from tests.client.native_streams import (
    DIALECTS,
    heard,
    played,
    reference,
    script,
)

pytestmark = [
    pytest.mark.skipif(HOT is None, reason="the native path is not compiled: make setup"),
    pytest.mark.usefixtures("clock"),
]


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


@pytest.mark.parametrize(
    "piece", [b"\t", b"\x1f", b"\xff", b"\xc3\xbc", b'\\"', b"\\\\", b"\\x", b"\x7f", b"!", b"#", b"[", b"]"]
)
def test_a_character_anywhere_in_a_long_text(tmp_path: Path, piece: bytes) -> None:
    """Texts are read eight bytes at a time: wherever something in one of them has a meaning, it has the same."""

    def play(way: Way) -> None:
        way.link.receive(1, heard(1))
        for at in range(36):
            text = b"x" * (at // 2) + piece + (b"y" * 20 if at % 2 else b"")
            way.link.receive(2 + at, frame(b'{"at": "' + text + b'", ' + USUAL.encode()[1:], 0x81))

    played(tmp_path, reference, play)


def test_a_long_text_of_usual_characters_is_native(tmp_path: Path) -> None:
    def play(way: Way) -> None:
        way.link.receive(1, heard(1))
        for at in range(18):
            text = "x" * at + "ü !#[]~" + "y" * (17 - at)
            way.link.receive(2 + at, frame((json.dumps({"at": text})[:-1] + ", " + USUAL[1:]).encode(), 0x81))

    assert played(tmp_path, reference, play).transport.frames_native == 18
