"""Protocol of a dialect: the five facts that describe how to speak to a platform.

A target says how to authenticate, what is said on a socket, who is a member of what, and how final state is read. It
does no I/O: HTTP steps are flows (`harness.client.flow`), what is said on a socket is a dialogue
(`harness.client.dialogue`), and both are carried out by the client. What only some platforms can do is in its `parts`.
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
    allow_load, max_users  guard targets that are not on this machine: whether a run is allowed, and its most users
    network                reaches the hosts that were checked for the target, and no others
    parts                  optional features of the platform
    says_joined            a dialogue reports when a room is subscribed; if not, it is unknown what a user is owed
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

    def dialogue(
        self,
        credentials: Credentials,
        rooms: Sequence[Room],
        resume: Mapping[str, int] | None = None,
        previous: Dialogue | None = None,
    ) -> Dialogue:
        """Return what will be said on a new socket of a logged-in person.

        - `rooms`: the dialogue subscribes the socket to them, unless the server does that by itself
        - `resume`: for each room label the last sequence number received, or None for a new session
        - `previous`: the dialogue of the connection before, where one is resumed: it may hold a cursor or a session
        """
        ...

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Return all messages of a room that the platform has stored, oldest first. Raises FlowError."""
        ...
