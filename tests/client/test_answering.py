"""A streamed answer as events, and the two signs of an answer that belongs to another user."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from earwitness.harness.client.answering import KEPT_IDS, AnswerIds, StreamedAnswer, repeated
from earwitness.harness.client.body import encode
from earwitness.harness.client.events import ACK, AGENT, MESSAGE, Heard
from earwitness.harness.client.flow import FlowError, Unbounded
from earwitness.harness.dialects.guarded import event_fault

OWN = encode("run1", 3, 1, 7, 1, 1, 'she said "no" \U0001f9f5')[0]
OTHER, DIGEST = encode("run1", 4, 0, 2, 1, 1, "a secret of somebody else")


class Stand:
    """An answer, and what it reported."""

    def __init__(self, ids: AnswerIds, label: str = "b", message_id: str = "run1-3-7") -> None:
        self.told: list[Heard] = []
        self.answer = StreamedAnswer((label, message_id, OWN), self.happened, ids, lacks="no [DONE]")

    def happened(self, events: Sequence[Heard]) -> None:
        self.told += events

    @property
    def agent(self) -> list[tuple[Any, ...]]:
        """Room, text, run, name and number of each event of an answer."""
        return [(one[1], one[2], *one[6]) for one in self.told if one[0] == AGENT]


@pytest.fixture
def stand() -> Callable[..., Stand]:
    ids = AnswerIds()
    return lambda *of: Stand(ids, *of)


def test_a_whole_answer(stand: Callable[..., Stand]) -> None:
    """Accepted, started, pieces numbered from 0 without the empty ones, completed; all name the question."""
    one = stand()
    one.answer.opened()
    for text in ("", "You", "", " said"):
        one.answer.piece(text, "chatcmpl-1")
    assert one.answer.missing() == "no [DONE]"
    one.answer.completed()
    assert one.answer.missing() == ""
    run = "run1-3-7"
    assert one.told[0] == (ACK, "b", None, -1, None, run, None)
    assert one.agent == [
        ("b", None, run, "started", 0), ("b", "You", run, "chunk", 0), ("b", " said", run, "chunk", 1),
        ("b", None, run, "completed", 0),
    ]  # fmt: skip
    assert {heard[5] for heard in one.told} == {run}
    assert not [fault for fault in map(event_fault, one.told) if fault]


@pytest.mark.parametrize(
    ("error", "last"),
    [(None, "broken"), (FlowError("question", "an answer"), "broken"), (Unbounded("question", "less"), "chunk")],
)
def test_an_answer_without_end(stand: Callable[..., Stand], error: FlowError | None, last: str) -> None:
    """It is broken off, unless a limit of ours ended it; one that never began is not."""
    one, two = stand(), stand()
    one.answer.opened()
    one.answer.piece("You")
    for each in (one, two):
        each.answer.ended(error, exactly=False)
    assert one.agent[-1][3] == last
    assert two.agent == []


def test_an_error_is_the_end(stand: Callable[..., Stand]) -> None:
    """A terminator after it completes nothing, and the answer lacks what the error says."""
    one = stand()
    one.answer.opened()
    one.answer.failed("the server had an error")
    one.answer.completed()
    one.answer.ended(exactly=False)
    assert [event[3] for event in one.agent] == ["started", "error"]
    assert one.answer.missing() == "an error inside the stream: the server had an error"


def test_a_piece_of_another_answer(stand: Callable[..., Stand]) -> None:
    """It has the other one's id: reported in the room of that one's question, as a run that did not begin here."""
    one, two = stand("b", "run1-3-7"), stand("a", "run1-4-2")
    one.answer.piece("mine", "chatcmpl-1")
    two.answer.piece("yours", "chatcmpl-2")
    one.answer.piece("yours", "chatcmpl-2")
    one.answer.piece("mine too", "chatcmpl-1")
    assert one.agent[1] == ("a", "yours", "run1-3-7/'chatcmpl-2'", "chunk", 0)
    assert one.agent[2] == ("b", "mine too", "run1-3-7", "chunk", 1)
    one.answer.piece("whose?", "chatcmpl-9")
    assert one.agent[3][:3] == ("b", "whose?", "run1-3-7/'chatcmpl-9'")


def test_one_id_for_all_answers_says_nothing(stand: Callable[..., Stand]) -> None:
    """A server that always states the same id, or none, mixes up nobody."""
    one, two = stand("b", "run1-3-7"), stand("a", "run1-4-2")
    for answer_id in ("chatcmpl-123", None):
        one.answer.piece("mine", answer_id)
        two.answer.piece("yours", answer_id)
    assert {event[0] for event in one.agent} == {"b"}
    assert {event[0] for event in two.agent} == {"a"}


def test_ids_are_bounded() -> None:
    """The oldest are forgotten."""
    ids = AnswerIds()
    for number in range(2 * KEPT_IDS):
        ids.room_of(str(number), "a")
    assert len(ids._rooms) == KEPT_IDS
    assert ids.room_of("0", "new") == "new"
    assert ids.room_of(str(2 * KEPT_IDS - 1), "new") == "a"


def texts(answer: str, exactly: bool = False) -> list[tuple[Any, ...]]:
    found = list(repeated(answer, OWN, "b", "m", exactly=exactly))
    assert all(heard[:2] == (MESSAGE, "b") and heard[5] == "m" and event_fault(heard) is None for heard in found)
    return [(heard[2], heard[6]) for heard in found]


def test_the_own_question() -> None:
    """Whole: a message. Changed: only where the platform promises to repeat it."""
    assert texts(f"You said: {OWN}!") == [(OWN, None)]
    assert texts("nothing of ours") == []
    changed = OWN.replace("no", "yes")
    assert texts(f"You said: {changed}") == []
    assert texts(f"You said: {changed} ", exactly=True) == [(changed, None)]


@pytest.mark.parametrize("whole", [True, False])
def test_half_an_answer_repeats_half_a_question(stand: Callable[..., Stand], whole: bool) -> None:
    """It changes nothing: only a whole answer shows whether the question came back as it was sent."""
    one = stand()
    one.answer.opened()
    one.answer.piece(OWN[:-3])
    if whole:
        one.answer.completed()
    one.answer.ended(exactly=True)
    assert [heard[2] for heard in one.told if heard[0] == MESSAGE] == ([OWN[:-3].rstrip()] if whole else [])


def test_the_question_of_somebody_else() -> None:
    """Whole: as it was sent. In part: as its head says, beside the own one."""
    assert texts(f"You said: {OTHER}") == [(OTHER, None)]
    head = OTHER[: OTHER.index("secret")]
    assert texts(f"{OWN} and {head}, then {OTHER}") == [
        (OWN, None),
        (f"{head}, then", ("run1", 4, 0, 2, 1, 1, DIGEST, True)),
        (OTHER, None),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_any_text_is_searched(seed: int) -> None:
    """Mutated bodies: no exception, only events that a record can hold."""
    rng = random.Random(seed)
    for _ in range(700):
        text = list(f"{OWN} {OTHER} ew1:x:1:2:3:300.999:00000000:")
        for _ in range(rng.randint(1, 8)):
            text[rng.randrange(len(text))] = rng.choice("e:w1:.09\ud800\n \u0663")
        for _, body in texts("".join(text), rng.random() < 0.5):
            assert body is None or (body[1] | body[2] < 1 << 31 and body[3] < 1 << 32 and max(body[4:6]) < 256)
