"""Sharing: an optional capability of a target (`target.sharing`) for state that the devices of a person share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from earwitness.harness.client.flow import Flow
from earwitness.harness.client.sharing import Edit
from earwitness.harness.dialects.protocol import Credentials, Room


class Sharing(Protocol):
    """Read marks, edits of own messages, and who is online.

    Flows return None if the platform refused. Pushed state arrives through the target's `hear`: MARKED, EDITED,
    PRESENCE (`harness.client.events`).
    """

    def mark_read(self, credentials: Credentials, room: Room, seq: int) -> Flow[int | None]:
        """Mark everything up to `seq` as read; return the mark after that, or None if it was refused.

        The mark may be higher than `seq`, if another device has read more.
        """
        ...

    def marks(self, credentials: Credentials) -> Flow[Mapping[str, int]]:
        """Return the person's own read marks by room label."""
        ...

    def edit(self, credentials: Credentials, room: Room, seq: int, text: str, version: int | None) -> Flow[Edit | None]:
        """Replace the text of message `seq`; return the edit, or None if it was refused.

        `version`: the version that is edited; the platform refuses if another device has edited it meanwhile. None: the
        last edit wins.
        """
        ...

    def edits_after(self, credentials: Credentials, room: Room, number: int) -> Flow[list[Edit]]:
        """Return the edits of a room with a higher number than `number`, in order: those that a device has missed."""
        ...

    def watch(self, label: str) -> str | bytes:
        """Return one frame that asks who of a room is online, from now on."""
        ...


def sharing_of(target: Any) -> Sharing | None:
    """Return the capability, or None if the target does not have it."""
    found: Sharing | None = getattr(target, "sharing", None)
    return found
