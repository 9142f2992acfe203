from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from earwitness.harness.client.body import decode_fields, encode
from earwitness.harness.client.events import ACK, MESSAGE, Heard
from earwitness.harness.client.frame_cache import KEPT, LONGEST, hearing
from tests.client.spoken import last, message, start


class Reader:
    """A dialect of two kinds of frames, `room text` and `+id`, that knows how often it was asked."""

    def __init__(self) -> None:
        self.read: list[str | bytes] = []

    def __call__(self, data: str | bytes) -> Sequence[Heard]:
        self.read.append(data)
        if data[:1] in ("+", b"+"):
            return ((ACK, None, None, -1, None, str(data), None),)
        label, _, text = str(data).partition(" ")
        return tuple((MESSAGE, label, part, -1, None, None, None) for part in text.split("|"))


def test_a_message_to_many_is_read_once() -> None:
    """The same answer for the same frame; a frame of another type or with another byte is another frame."""
    reader = Reader()
    hear = hearing(reader, ["a"])
    answers = [hear("a hello") for _ in range(100)]
    assert reader.read == ["a hello"]
    assert all(answer is answers[0] for answer in answers)
    assert hear("a hellO")[0][2] == "hellO"
    hear(b"a hello")
    assert reader.read == ["a hello", "a hellO", b"a hello"]


@pytest.mark.parametrize("frame", ["+ack-1", "b another room", "a two|messages", "a " + "x" * LONGEST, "a "])
def test_what_is_read_each_time(frame: str) -> None:
    """Answers; rooms that few are in, or that may be known later; frames of several messages; long ones; empty ones."""
    reader = Reader()
    hear = hearing(reader, ["a"])
    assert hear(frame) == hear(frame)
    assert len(reader.read) == 2


def test_no_more_is_remembered_than_is_said() -> None:
    """With one more than KEPT all are forgotten, and the newest is remembered again."""
    reader = Reader()
    hear = hearing(reader, ["a"])
    for number in range(KEPT + 1):
        hear(f"a {number}")
    reader.read.clear()
    hear(f"a {KEPT}")
    assert reader.read == []
    hear("a 0")
    assert reader.read == ["a 0"]


def test_who_hears_nothing_twice_pays_nothing() -> None:
    reader = Reader()
    assert hearing(reader, []) is reader


def test_the_body_is_read_with_the_frame() -> None:
    """Its fields come with the event; of what is no body of ours there are none."""
    hear = hearing(Reader(), ["a"])
    text, _ = encode("r", 1, 2, 3, 4, 1, "hello")
    assert hear(f"a {text}")[0][6] == decode_fields(text)
    assert hear("a hello")[0][6] is None


def test_a_session_records_the_same_with_and_without(make_stage: Any) -> None:
    """The second hearing of a frame, a damaged copy, and a copy in another room are what they are."""
    rows = []
    for rooms in ([], ["a", "b"]):
        stage = make_stage()
        start(stage)
        stage.session._hear = hearing(stage.session._hear, rooms)
        sent = message(7, 1, seq=5)
        for frame in (sent, sent, sent.replace("hello", "hellO"), sent, message(7, 1, label="b", seq=5)):
            stage.session.heard(200, frame)
            row = last(stage)
            rows.append([int(row[name]) for name in row.dtype.names if name not in ("index", "conn")])
    assert rows[:5] == rows[5:]
    assert rows[0] == rows[1] != rows[2]
