"""Positions in the streams of Action Cable's extended protocol, and messages held until a history is confirmed.

https://docs.anycable.io/misc/action_cable_protocol describes actioncable-v1-ext-json. On subscribing, a client states
up to which offset it has received each stream. The server confirms the subscription, sends the missed messages like
new ones, and then confirms or rejects the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from earwitness.harness.client.events import MESSAGE, REPLAYED, Heard

EXTENDED: Final = "actioncable-v1-ext-json"
MOST_STREAMS: Final = 1000
"""Most streams of a subscription whose positions are kept, because a platform may name any number of streams."""


class Positions:
    """Position (epoch and offset) of the last message received in each stream of a subscription."""

    def __init__(self, before: Positions | None = None) -> None:
        """Start with a copy of `before`, the positions of the previous connection; without positions if it is None."""
        known = {} if before is None else before._streams
        self._streams: dict[str, dict[str, dict[str, Any]]] = {key: dict(streams) for key, streams in known.items()}

    def request(self, identifier: str) -> Mapping[str, object] | None:
        """Return the value of `history` in the command that subscribes to `identifier`.

        Return None if no message with a position was received in this subscription.
        """
        streams = self._streams.get(identifier)
        return {"streams": streams} if streams else None

    def noted(self, frame: Mapping[str, Any], heard: Heard) -> Heard:
        """Note the position that `frame` states of a message; return its event `heard`.

        A MESSAGE becomes REPLAYED if its offset is not above the last one of its stream and epoch: a message may come
        both live and from the history, and the protocol leaves it to the client to recognise the second copy.
        """
        stream, epoch, offset = frame.get("stream_id"), frame.get("epoch"), frame.get("offset")
        if type(stream) is not str or type(epoch) is not str or type(offset) is not int:
            return heard
        streams = self._streams.setdefault(frame["identifier"], {})
        last = streams.get(stream)
        if last is not None and last["epoch"] == epoch and offset <= last["offset"]:
            return (REPLAYED, *heard[1:]) if heard[0] == MESSAGE else heard
        if last is not None or len(streams) < MOST_STREAMS:
            streams[stream] = {"offset": offset, "epoch": epoch}
        return heard


class Held:
    """Messages of rooms whose history is not confirmed yet, by label.

    They are reported after the event JOINED, which says whether messages are missing: checks need to know that first.
    """

    def __init__(self) -> None:
        """Start without rooms."""
        self._rooms: dict[str, list[Heard]] = {}

    def begin(self, label: str) -> None:
        """Hold the messages of a room from now on."""
        self._rooms[label] = []

    def holds(self, label: str) -> bool:
        """Return whether the messages of a room are held."""
        return label in self._rooms

    def add(self, label: str, heard: Heard) -> bool:
        """Hold a message; return False if its room's messages are not held."""
        if label in self._rooms:
            self._rooms[label].append(heard)
            return True
        return False

    def end(self, label: str) -> list[Heard]:
        """Return the held messages of a room, and stop holding messages of this room."""
        return self._rooms.pop(label, [])


__all__ = ["EXTENDED", "Held", "Positions"]
