"""Dialogue of a target file: the frames of one socket as [socket], [rooms], [send] and [frames] describe them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from earwitness.harness.client.dialogue import BaseDialogue
from earwitness.harness.client.events import WELCOME, Handshake, Heard

Hear = Callable[[str | bytes], Sequence[Heard]]


class GreetedDialogue(BaseDialogue):
    """Dialogue that subscribes to its rooms as soon as the platform has greeted it."""

    def __init__(
        self,
        handshake: Handshake,
        hear: Hear,
        send: Callable[[str, str, str], str],
        first: Sequence[str],
        join: Sequence[str],
    ) -> None:
        """Decode with `hear` and encode with `send`; `first` is sent when the socket opens, `join` after WELCOME."""
        super().__init__(handshake, first)
        self._hear, self._join = hear, join
        self.send = send

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`."""
        events = self._hear(data)
        if self._join and any(event[0] == WELCOME for event in events):
            self.out += self._join
            self._join = ()
        return events
