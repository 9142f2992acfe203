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
    """Protocol of a platform under test.

    name                   name of the platform in reports
    contract               what the platform promises
    allow_load, max_users  guard targets that are not on this machine: whether a run is allowed, and its most users
    network                reaches the hosts that were checked for the target, and no others
    parts                  optional features of the platform
    """

    name: str
    contract: Contract
    allow_load: bool
    max_users: int | None
    network: Network
    parts: Parts

    def reachable(self) -> Flow[None]:
        """Send a request that only a working platform answers correctly (no health page).

        Raises FlowError if it does not.
        """
        ...

    def login(self, person: Person) -> Flow[Credentials]:
        """Log a person in, from the first request on; return the credentials. Raises FlowError."""
        ...

    def identity(self, credentials: Credentials) -> Flow[Sequence[Statement]]:
        """Ask every place that knows the logged-in person for the user id; return one statement for each place."""
        ...

    def open_room(self, credentials: Credentials, room: Room) -> Flow[None]:
        """Create the room with its members unless it exists; invite members that are missing.

        Idempotent: every member may call it.
        """
        ...

    def probe(self, credentials: Credentials) -> Flow[int]:
        """Send one cheap authenticated request, to measure responsiveness; return its HTTP status."""
        ...

    def handshake(self, credentials: Credentials, resume: Mapping[str, int] | None = None) -> Handshake:
        """Return how to open a socket with these credentials.

        `resume`: for each room label the last sequence number received, or None for a new session.
        """
        ...

    def rooms_on_connect(self, credentials: Credentials, rooms: Sequence[Room]) -> Iterable[str | bytes]:
        """Return the frames that subscribe a new connection to the rooms; empty if the server subscribes by itself."""
        ...

    def encode(self, label: str, message_id: str, text: str) -> str | bytes:
        """Return one frame that sends `text` to the room `label`. `message_id`: the client's id of the message."""
        ...

    def hear(self, data: str | bytes) -> Sequence[Heard]:
        """Decode a received frame into events; () for a frame that matters to no check.

        Never raises: a frame that it cannot decode becomes an event OTHER.
        """
        ...

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Return all messages of a room that the platform has stored, oldest first. Raises FlowError."""
        ...
