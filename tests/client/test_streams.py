"""What a whole streamed answer was, as one connection heard it."""

from __future__ import annotations

from zlib import crc32

import pytest

from earwitness.checks.history.record import NONE, Flag
from earwitness.harness.client.streams import CHUNK, COMPLETED, ERROR, OPEN_MAX, STARTED, Questions, Streams
from earwitness.harness.client.tally import Histogram

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


def asking() -> tuple[Questions, Histogram]:
    times = Histogram()
    questions = Questions(times)
    questions.asked("m-1", 4, 1_000_000)
    return questions, times


def test_a_question_named_by_its_message() -> None:
    """All events of the answer have its counter; the first piece with text is timed from the planned start, once."""
    questions, times = asking()
    events = (
        (STARTED, "m-1", ""),
        (CHUNK, None, ""),
        (CHUNK, None, "An "),
        (CHUNK, None, "answer"),
        (COMPLETED, None, ""),
    )
    found = [
        questions.answered(5_000_000 + 1_000_000 * at, "r", event, text, (named, "a", NONE))
        for at, (event, named, text) in enumerate(events)
    ]
    assert found == [4] * 5
    assert (times.drain().total_ns, questions.open) == (6_000_000, {})
    assert questions.answered(9_000_000, "r", CHUNK, "behind the end", ("m-1", "a", NONE)) == NONE


def test_a_question_named_by_its_number_is_known_from_its_acknowledgement() -> None:
    """Events that overtake the acknowledgement have no question; the time to the first token is still right."""
    questions, times = asking()
    assert questions.answered(3_000_000, "r", CHUNK, "early", (None, "a", 17)) == NONE
    questions.numbered("m-1", "a", 17)
    assert questions.answered(9_000_000, "r", CHUNK, "late", (None, "a", 17)) == 4
    assert times.drain().total_ns == 2_000_000


def test_what_others_asked_is_not_counted() -> None:
    questions, times = asking()
    questions.numbered("of another kind", "a", 16)
    questions.numbered("m-1", "a", NONE)
    for named in ((None, "a", 16), ("x-9", "a", NONE), (None, "b", 17), (None, None, NONE)):
        assert questions.answered(3_000_000, "s", CHUNK, "text", named) == NONE
    assert times.drain().n == 0


def test_questions_and_answers_that_are_kept_are_bounded() -> None:
    """A platform that answers nothing, or begins without end, takes no more memory."""
    questions, _ = asking()
    for n in range(OPEN_MAX + 50):
        questions.asked(f"q-{n}", n, 0)
        questions.numbered(f"q-{n}", "a", n)
        questions.answered(1, f"other-{n}", STARTED, "", (None, "a", -5))
    assert len(questions.open) == len(questions._by_number) == len(questions._answers) == OPEN_MAX
