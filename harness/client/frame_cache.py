"""Read once what arrives many times: a message to a hundred members comes a hundred times, byte by byte the same.

What is remembered is found by its whole content, never by an id that it carries: a copy that differs in one byte is
read anew, so nothing that a platform does wrong is overlooked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeAlias

from earwitness.harness.client.body import decode_fields
from earwitness.harness.client.events import MESSAGE, Heard

Hear: TypeAlias = Callable[[str | bytes], Sequence[Heard]]

KEPT: Final = 512
"""Messages at a time, more than are on their way; then all are forgotten at once, which is cheaper than to know which
is oldest."""
LONGEST: Final = 2048
"""What is longer is always read: it would cost memory, and there is little of it."""


def hearing(hear: Hear, rooms: Collection[str]) -> Hear:
    """A dialect's `hear` that recalls messages of `rooms`: those whose messages come more than once to this process.
    All else is read each time, and so is what may be understood otherwise when the room is known. What it has read of
    a body it hands on as the event's `extra`."""
    if not rooms:
        return hear
    known: dict[str | bytes, Sequence[Heard]] = {}

    def recall(data: str | bytes) -> Sequence[Heard]:
        events = known.get(data)
        if events is None:
            events = hear(data)
            if len(events) == 1 and len(data) <= LONGEST:
                what, label, text, seq, sender, message_id, _ = events[0]
                if what == MESSAGE and label in rooms and text:
                    events = ((what, label, text, seq, sender, message_id, decode_fields(text)),)
                    if len(known) >= KEPT:
                        known.clear()
                    known[data] = events
        return events

    return recall
