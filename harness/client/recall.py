"""Read once what arrives many times: a message to a hundred members comes a hundred times, byte by byte the same.

What is remembered is found by its whole content, never by an id that it carries: a copy that differs in one byte is
read anew, so nothing that a platform does wrong is overlooked.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final, TypeAlias, TypeVar

from harness.client.events import MESSAGE, Heard

Hear: TypeAlias = Callable[[str | bytes], Sequence[Heard]]
Data = TypeVar("Data", bound=str | bytes)
Answer = TypeVar("Answer")

KEPT: Final = 4096
"""Answers at a time; then all are forgotten at once, which is cheaper than to know which is oldest."""
LONGEST: Final = 2048
"""What is longer is always read: it would cost memory, and there is little of it."""


def recalling(read: Callable[[Data], Answer], worth: Callable[[Answer], bool]) -> Callable[[Data], Answer]:
    """`read`, which depends on nothing but its argument, with those of its last answers remembered that are `worth` it
    (not None). Answers are shared: nobody may change them."""
    known: dict[Data, Answer] = {}

    def recall(data: Data) -> Answer:
        answer = known.get(data)
        if answer is None:
            answer = read(data)
            if len(data) <= LONGEST and worth(answer):
                if len(known) >= KEPT:
                    known.clear()
                known[data] = answer
        return answer

    return recall


def hearing(hear: Hear, rooms: Container[str | None]) -> Hear:
    """A dialect's `hear` that recalls messages of known rooms. All else comes once, or is understood anew later."""

    def worth(events: Sequence[Heard]) -> bool:
        return len(events) == 1 and events[0][0] == MESSAGE and events[0][1] in rooms

    return recalling(hear, worth)
