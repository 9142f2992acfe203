"""Frame cache: a frame that arrives many times is parsed only the first time.

A message to a hundred members arrives a hundred times, byte for byte the same. The key of the cache is the whole frame,
never an id inside it. A copy that differs in one byte is parsed separately, so no error of a platform is overlooked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeAlias

from earwitness.harness.client.body import decode_fields
from earwitness.harness.client.events import MESSAGE, Heard

Hear: TypeAlias = Callable[[str | bytes], Sequence[Heard]]

KEPT: Final = 512
"""Most frames in the cache; more than are in transit at a time.

A full cache is emptied at once, because that is cheaper than tracking the oldest entry.
"""
LONGEST: Final = 2048
"""Longest frame (characters or bytes) that is cached; longer ones cost memory and are rare."""


def hearing(hear: Hear, rooms: Collection[str]) -> Hear:
    """Return a function that decodes frames as `hear` does and caches the messages of `rooms`.

    - `hear`: function of a dialect that decodes a frame into events
    - `rooms`: labels of the rooms whose messages reach this process more than once

    All other frames are parsed each time, among them messages without a planned room, because a dialect may decode them
    differently once it knows the room. The fields of a cached message's body are passed on as the event's `extra`.
    """
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
