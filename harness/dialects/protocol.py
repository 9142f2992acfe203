"""Protocol of a dialect: how to speak to one platform.

A target describes how users log in, which frames a socket sends and receives, how rooms get their members, and how
stored messages are read. It does no I/O: HTTP steps are flows (`harness.client.flow`), the frames of a socket are a
dialogue (`harness.client.dialogue`), and the client runs both. What only some platforms can do is in its `parts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from earwitness.checks.contract import Contract
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.flow import Flow
from earwitness.harness.client.network import Network
from earwitness.harness.dialects.parts import Parts
from earwitness.harness.dialects.values import (
    Address,
    Credentials,
    DatabaseQuery,
    FaultCommands,
    Person,
    Room,
    Statement,
    StoredRow,
)

__all__ = [
    "Address",
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
    allow_load             a run may put load on the platform; always True for a platform on this machine
    max_users              most users of a run; None: any number
    network                the only hosts that clients may contact; TLS settings; the longest frame in bytes
    parts                  optional features of the platform
    says_joined            a dialogue reports JOINED when a room is subscribed; if not, it is unknown which messages a
                           user should receive
    logins                 how many people can log in; None: any number
    addresses              every address that a run could use; () for the reference platform, which is on this machine
    stated                 promises that the file or the dialect states, by key of the contract; others have defaults
    """

    name: str
    contract: Contract
    allow_load: bool
    max_users: int | None
    network: Network
    parts: Parts
    says_joined: bool
    logins: int | None
    addresses: tuple[Address, ...]
    stated: frozenset[str]

    def reachable(self) -> Flow[None]:
        """Check by HTTP that the platform responds. Raises FlowError if the platform does not.

        The request should be one that only a working platform answers correctly, so not a health page. Without an HTTP
        address nothing is sent.
        """
        ...

    def login(self, person: Person) -> Flow[Credentials]:
        """Send all requests of a person's login; return the credentials. Raises FlowError if the login fails."""
        ...

    def identity(self, credentials: Credentials) -> Flow[Sequence[Statement]]:
        """Ask every place that knows the logged-in person for the user id; return one statement for each place.

        The result is empty if the dialect knows no such place. Raises FlowError if an answer cannot be used.
        """
        ...

    def open_room(self, credentials: Credentials, room: Room) -> Flow[None]:
        """Create the room with its members unless it exists; invite members that are missing.

        Idempotent: every member may call it. Raises FlowError if the platform refuses.
        """
        ...

    def probe(self, credentials: Credentials) -> Flow[int]:
        """Send one cheap authenticated request, to measure responsiveness; return its HTTP status."""
        ...

    def dialogue(
        self,
        credentials: Credentials,
        rooms: Sequence[Room],
        resume: Mapping[str, int] | None = None,
        previous: Dialogue | None = None,
    ) -> Dialogue:
        """Return the dialogue of a new socket of a logged-in person.

        - `rooms`: the dialogue subscribes the socket to them, unless the server does that by itself
        - `resume`: the last sequence number received, by room label; None for a new session
        - `previous`: the dialogue of the connection that is resumed, which may hold a cursor or a session; None for a
          new session
        """
        ...

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Return all messages of a room that the platform has stored, oldest first.

        Raises FlowError if the platform refuses, or its answer cannot be used.
        """
        ...
