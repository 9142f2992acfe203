"""Optional capabilities of a target, in addition to the protocol.

A story that cannot use one of them exercises less, and the checks that needed it say so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from earwitness.harness.client.events import Heard
from earwitness.harness.client.flow import Flow
from earwitness.harness.dialects.protocol import Credentials, Person, Room, StoredRow


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """Rows of a history that one read returned.

    fits  False if the platform's own digest of a page is not that of its rows
    """

    rows: list[StoredRow]
    fits: bool = True


class ReadsHistoryAfter(Protocol):
    """Target that can read a room's history from a given number on."""

    def history_after(self, credentials: Credentials, room: Room, after: int) -> Flow[HistoryPart]:
        """Return the messages of a room with a number above `after`, up to its end, oldest first."""
        ...


class RemovesMembers(Protocol):
    """Target that can remove a member from a room."""

    def remove_member(self, credentials: Credentials, room: Room, person: Person) -> Flow[None]:
        """Remove a person from a room; the flow ends when the platform has confirmed it.

        `open_room` invites the person again.
        """
        ...


class AsksAgents(Protocol):
    """Target with agents that answer questions in a room.

    `agents`: sender ids of the platform's own agents.
    """

    agents: Collection[str]

    def encode_question(self, label: str, message_id: str, text: str) -> str | bytes:
        """Return one frame that sends `text` to a room and asks the agent to answer it."""
        ...


class PostsBeside(Protocol):
    """Target that accepts messages as HTTP requests in addition to its sockets."""

    def post_beside(self, credentials: Credentials, label: str, message_id: str, text: str) -> Flow[Sequence[Heard]]:
        """Send a message as a request; return the answer as ACK or NACK.

        Raises FlowError if the message's fate is unknown.
        """
        ...


class ScopesIds(Protocol):
    """Target whose message ids are unique only per sender and room.

    `ids_by_sender`: other senders may use the same client id.
    """

    ids_by_sender: bool
