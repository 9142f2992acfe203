"""What a target may be able to do beside the protocol. Who needs one of these looks whether it is there: a story that
cannot use it exercises less, and the checks that needed it say so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from earwitness.harness.client.events import Heard
from earwitness.harness.client.flow import Flow
from earwitness.harness.dialects.protocol import Credentials, Person, Room, StoredRow


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """What a read showed, row by row. `fits`: false if the platform's own digest of a page is not that of its rows."""

    rows: list[StoredRow]
    fits: bool = True


class ReadsHistoryAfter(Protocol):
    def history_after(self, credentials: Credentials, room: Room, after: int) -> Flow[HistoryPart]:
        """The messages of a room with a number above `after`, up to its end, oldest first."""
        ...


class RemovesMembers(Protocol):
    def remove_member(self, credentials: Credentials, room: Room, person: Person) -> Flow[None]:
        """Returns when the platform has confirmed that the person is no member any more; `open_room` invites again."""
        ...


class AsksAgents(Protocol):
    """`agents`: sender ids of the platform's own agents."""

    agents: Collection[str]

    def encode_question(self, label: str, message_id: str, text: str) -> str | bytes:
        """One frame that sends `text` to a room and asks the agent to answer it."""
        ...


class PostsBeside(Protocol):
    def post_beside(self, credentials: Credentials, label: str, message_id: str, text: str) -> Flow[Sequence[Heard]]:
        """Send a message as a request, on a platform that has sockets for it too: the answer as ACK or NACK. FlowError
        if its fate is unknown."""
        ...


class ScopesIds(Protocol):
    """`ids_by_sender`: a message's client id names it among those of its sender in its room; others may use it too."""

    ids_by_sender: bool
