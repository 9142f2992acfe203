"""Optional parts of a target, in addition to the protocol: what only some platforms can do, and facts about one.

A story that cannot use one of them exercises less, and the checks that needed it say so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from earwitness.checks.history.record import Place
from earwitness.harness.client.events import Heard
from earwitness.harness.client.flow import Flow
from earwitness.harness.client.sharing import Edit
from earwitness.harness.dialects.tokens import Tokens
from earwitness.harness.dialects.values import Credentials, DatabaseQuery, FaultCommands, Person, Room, StoredRow


@dataclass(frozen=True, slots=True)
class Profile:
    """An account as one place shows it."""

    user_id: str
    email: str
    name: str


class Accounts(Protocol):
    """Changing and reading an account.

    Flows return None if the platform refused; the caller records the request, and the judge decides about it.
    """

    def rename(self, credentials: Credentials, name: str) -> Flow[Profile | None]:
        """Change the name of the logged-in user; return the profile after it, or None if it was refused."""

    def set_active(self, user_id: str, active: bool) -> Flow[int]:
        """Close an account, or open it again, as an administrator; return the HTTP status."""
        ...

    def profile(self, credentials: Credentials, place: Place) -> Flow[Profile | None]:
        """Return the profile that `place` (AUTH or BACKEND) shows, or None if it was refused."""
        ...


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


class Entrance(Protocol):
    """Platform whose logins begin at a page of its own."""

    def begin_login(self) -> Flow[int]:
        """Take the first step of a login, as a visitor does, without credentials; return the HTTP status."""
        ...

    def stranger(self, credentials: Credentials) -> Credentials:
        """Return credentials of the same person with a token signed by an unknown key.

        To judge that token, a service must ask the auth service.
        """
        ...


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
    """Target with agents that answer questions in a room."""

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


class SendsByHttp(Protocol):
    """Target that accepts messages as HTTP requests instead of frames; what is heard still comes by its sockets."""

    def post(self, credentials: Credentials, label: str, message_id: str, text: str) -> Flow[Sequence[Heard]]:
        """Send a message as a request; return the answer as ACK or NACK.

        Raises FlowError if the message's fate is unknown.
        """
        ...


class HasRooms(Protocol):
    """Target whose rooms exist before the run: other people's messages in them are no leftovers."""

    def existing_rooms(self, people: Sequence[Person]) -> Sequence[Room]:
        """Return the rooms with their members among `people`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a target has beside the protocol; a part that is not given, it does not have.

    agents         sender ids of the platform's own agents
    ids_by_sender  message ids are unique only per sender and room: other senders may use the same client id
    names_rooms    the platform names rooms itself: each process learns the names by calling `open_room`
    people         accounts that exist, as user numbers 0, 1, …; () where the tester makes its own
    databases      read-only queries of users tables, by Place
    faults         commands by the name of a fault
    unjudged       by promise: a sentence about what is described and not mentioned in the contract
    """

    tokens: Tokens | None = None
    accounts: Accounts | None = None
    sharing: Sharing | None = None
    entrance: Entrance | None = None
    reads_history_after: ReadsHistoryAfter | None = None
    removes_members: RemovesMembers | None = None
    asks_agents: AsksAgents | None = None
    posts_beside: PostsBeside | None = None
    sends_by_http: SendsByHttp | None = None
    has_rooms: HasRooms | None = None
    agents: Collection[str] = ()
    ids_by_sender: bool = False
    names_rooms: bool = False
    people: tuple[Person, ...] = ()
    databases: Mapping[Place, DatabaseQuery] = field(default_factory=dict)
    faults: Mapping[str, FaultCommands] = field(default_factory=dict)
    unjudged: Mapping[str, str] = field(default_factory=dict)
