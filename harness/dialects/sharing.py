"""What a platform lets the devices of a person share: an optional capability of a target (`target.sharing`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from earwitness.harness.client.flow import Flow
from earwitness.harness.client.sharing import Edit
from earwitness.harness.dialects.protocol import Credentials, Room


class Sharing(Protocol):
    """Read marks, edits of own messages, and who is online. None answers a refusal. What is pushed comes by the
    target's `hear`: MARKED, EDITED, PRESENCE (`harness.client.events`)."""

    def mark_read(self, credentials: Credentials, room: Room, seq: int) -> Flow[int | None]:
        """Everything up to `seq` was read; the mark after that, which may be a higher one of another device."""
        ...

    def marks(self, credentials: Credentials) -> Flow[Mapping[str, int]]:
        """The own marks by room label."""
        ...

    def edit(self, credentials: Credentials, room: Room, seq: int, text: str, version: int | None) -> Flow[Edit | None]:
        """Message `seq` gets another text. `version`: the one that is edited; the platform refuses if another device
        has edited it meanwhile. None: the last edit stands."""
        ...

    def edits_after(self, credentials: Credentials, room: Room, number: int) -> Flow[list[Edit]]:
        """The edits of a room with a higher number, in order: what a device has missed."""
        ...

    def watch(self, label: str) -> str | bytes:
        """One frame that asks who of a room is online, from now on."""
        ...


def sharing_of(target: Any) -> Sharing | None:
    """The capability, if the target has it."""
    found: Sharing | None = getattr(target, "sharing", None)
    return found
