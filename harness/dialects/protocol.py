"""Protocol of a dialect: the five facts that describe how to speak to a platform.

A target says how to authenticate, how frames look, how sends are acknowledged, who is a member of what, and how final
state is read. It does no I/O: HTTP steps are flows (`harness.client.flow`), sockets belong to the client. What only
some platforms can do is in its `parts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from earwitness.checks.contract import Contract
from earwitness.harness.client.events import Handshake, Heard
from earwitness.harness.client.flow import Flow
from earwitness.harness.client.network import Network
from earwitness.harness.dialects.parts import Parts
from earwitness.harness.dialects.values import (
    Credentials,
    DatabaseQuery,
    FaultCommands,
    Person,
    Room,
    Statement,
    StoredRow,
)

__all__ = [
    "Credentials",
    "DatabaseQuery",
    "FaultCommands",
    "Parts",
    "Person",
    "Room",
    "Statement",
    "StoredRow",
    "Target",
]


class Target(Protocol):
    """A platform under test.

    allow_load, max_users  guard targets that are not on this machine
    network                has the hosts that were checked for the target
    parts                  has what only some platforms can do, and facts about this one
    """

    name: str
    contract: Contract
    allow_load: bool
    max_users: int | None
    network: Network
    parts: Parts

    def reachable(self) -> Flow[None]:
        """Prove by a real answer (not a health page) that the platform is there.

        Raises FlowError.
        """
        ...

    def login(self, person: Person) -> Flow[Credentials]:
        """Log a person in, from nothing to credentials.

        Raises FlowError.
        """
        ...

    def identity(self, credentials: Credentials) -> Flow[Sequence[Statement]]:
        """Ask every place that can say who the logged-in person is."""
        ...

    def open_room(self, credentials: Credentials, room: Room) -> Flow[None]:
        """Make sure that the room exists with its members.

        Idempotent; every member may call it.
        """
        ...

    def probe(self, credentials: Credentials) -> Flow[int]:
        """Send one cheap authenticated request, to measure responsiveness; return its HTTP status."""
        ...

    def handshake(self, credentials: Credentials, resume: Mapping[str, int] | None = None) -> Handshake:
        """Return how to open a socket with these credentials.

        `resume`: last sequence number received by room label, or None for a new session.
        """
        ...

    def rooms_on_connect(self, credentials: Credentials, rooms: Sequence[Room]) -> Iterable[str | bytes]:
        """Return the frames that subscribe a new connection to the rooms; empty if the server subscribes by itself."""
        ...

    def encode(self, label: str, message_id: str, text: str) -> str | bytes:
        """Return one frame that sends `text` to a room."""
        ...

    def hear(self, data: str | bytes) -> Sequence[Heard]:
        """Return the events of a frame; () for nothing of interest.

        Never raises on bad input: it returns OTHER.
        """
        ...

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Return the complete final state of a room, oldest first."""
        ...
