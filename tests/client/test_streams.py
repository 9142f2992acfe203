"""What a whole streamed answer was, as one connection heard it."""

from __future__ import annotations

from zlib import crc32

import pytest

from earwitness.checks.history.record import Flag
from earwitness.harness.client.streams import CHUNK, COMPLETED, ERROR, OPEN_MAX, STARTED, Streams

WHOLE = "An answer with an é"
PIECES = ["An ", "answer with", " an é"]


def heard(*events: tuple[int, int, str], run: str = "r", streams: Streams | None = None) -> tuple[int, int, int]:
    streams = streams or Streams()
    said = (0, 0, 0)
    for event, number, text in events:
        said = streams.said(run, event, number, text)
    return said


def pieces(*numbers: int) -> list[tuple[int, int, str]]:
    return [(CHUNK, number, PIECES[number]) for number in numbers]


def of(text: str, flags: int = 0) -> tuple[int, int, int]:
    data = text.encode()
    return len(data), crc32(data), flags


@pytest.mark.parametrize("stated", ["", WHOLE])
def test_the_end_carries_what_the_pieces_make(stated: str) -> None:
    """Whether the platform states the answer at the end or not."""
    assert heard((STARTED, 0, ""), *pieces(0, 1, 2), (COMPLETED, 3, stated)) == of(WHOLE)


def test_another_answer_at_the_end() -> None:
    """The pieces count, and that it is another one is marked."""
    assert heard((STARTED, 0, ""), *pieces(0, 1, 2), (COMPLETED, 3, "No.")) == of(WHOLE, int(Flag.CORRUPT))


@pytest.mark.parametrize(
    "events",
    [pieces(1, 2), [(STARTED, 0, ""), *pieces(0, 2)], [(STARTED, 0, ""), *pieces(0, 0, 1, 2)], [(STARTED, 0, "")]],
    ids=["begun before", "a hole", "twice", "no pieces"],
)
def test_what_was_not_heard_whole(events: list[tuple[int, int, str]]) -> None:
    """What is stated at the end is all that is known of it, and nothing is compared."""
    assert heard(*events, (COMPLETED, 3, "No.")) == of("No.")
    assert heard(*events, (COMPLETED, 3, "")) == (0, 0, 0)


def test_a_run_that_failed_is_forgotten() -> None:
    """Its id may come again."""
    streams = Streams()
    heard((STARTED, 0, ""), *pieces(0), (ERROR, 1, "no"), streams=streams)
    assert heard((COMPLETED, 3, "x"), streams=streams) == of("x")


def test_no_more_are_followed_than_a_platform_may_begin() -> None:
    """The oldest one is let go."""
    streams = Streams()
    for number in range(OPEN_MAX + 1):
        heard((STARTED, 0, ""), *pieces(0), run=str(number), streams=streams)
    assert heard((COMPLETED, 1, "other"), run="0", streams=streams) == of("other")
    assert heard((COMPLETED, 1, "other"), run="1", streams=streams) == of(PIECES[0], int(Flag.CORRUPT))
