from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.client.body import decode_fields, encode
from harness.client.events import ACK, MESSAGE, Heard
from harness.client.recall import KEPT, LONGEST, hearing, recalling


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
    hear = hearing(reader, {"a": 0})
    answers = [hear("a hello") for _ in range(100)]
    assert reader.read == ["a hello"]
    assert all(answer is answers[0] for answer in answers)
    assert hear("a hellO")[0][2] == "hellO"
    hear(b"a hello")
    assert reader.read == ["a hello", "a hellO", b"a hello"]


@pytest.mark.parametrize("frame", ["+ack-1", "b room that is not known", "a two|messages", "a " + "x" * LONGEST])
def test_what_is_read_each_time(frame: str) -> None:
    """Answers; rooms that may be known later; frames of several messages; long ones."""
    reader = Reader()
    hear = hearing(reader, {"a": 0})
    assert hear(frame) == hear(frame)
    assert len(reader.read) == 2


def test_no_more_is_remembered_than_is_said() -> None:
    """With one more than KEPT all are forgotten, and the newest is remembered again."""
    asked: list[str] = []
    recall = recalling(lambda text: asked.append(text) or len(text), lambda _: True)
    texts = [f"{number}" for number in range(KEPT + 1)]
    for text in texts:
        recall(text)
    asked.clear()
    assert recall(texts[-1]) == len(texts[-1])
    assert asked == []
    recall(texts[0])
    assert asked == [texts[0]]


def test_a_body_with_another_byte_is_not_sound() -> None:
    """Also when the true one was heard just before: what is recalled is found by all of its text."""
    text, digest = encode("r", 1, 2, 3, 4, 1, "hello")
    for _ in range(2):
        fields = decode_fields(text)
        assert fields is not None
        assert fields[6:] == (digest, True)
        damaged = decode_fields(text.replace("hello", "hellO"))
        assert damaged is not None
        assert damaged[6:] != (digest, True)
        assert not damaged[7]
        assert decode_fields("no body") is None
