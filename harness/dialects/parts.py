"""Optional parts of a target: features that only some platforms have, and facts about a platform.

A story runs without a part that the target lacks. Checks that need the part are then UNKNOWN, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from earwitness.checks.history.record import Place
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.events import Heard
from earwitness.harness.client.flow import Flow
from earwitness.harness.client.sharing import Edit
from earwitness.harness.dialects.tokens import Tokens
from earwitness.harness.dialects.values import Credentials, DatabaseQuery, FaultCommands, Person, Room, StoredRow


@dataclass(frozen=True, slots=True)
class Profile:
    """Account as one place (the auth service or the backend) shows it."""

    user_id: str
    email: str
    name: str


class Accounts(Protocol):
    """Protocol of a target's operations on accounts.

    `rename` and `profile` return None if the platform refused. The caller records the request, and the judge decides
    about the refusal.
    """

    def rename(self, credentials: Credentials, name: str) -> Flow[Profile | None]:
        """Change the name of the logged-in user to `name`; return the changed profile, or None if it was refused."""

    def set_active(self, user_id: str, active: bool) -> Flow[int]:
        """Enable (`active`) or disable the account `user_id`, as an administrator would.

        Return the HTTP status, also of a refusal.
        """
        ...

    def profile(self, credentials: Credentials, place: Place) -> Flow[Profile | None]:
        """Return the profile that `place` (AUTH or BACKEND) shows, or None if it was refused."""
        ...


class Sharing(Protocol):
    """Protocol of state that devices share: read marks, edits of own messages, and who is online.

    `mark_read` and `edit` return None if the platform refused. All flows raise FlowError for an answer that they cannot
    use. State that the platform pushes arrives through the dialogue, as the events MARKED, EDITED and PRESENCE
    (`harness.client.events`).
    """

    def mark_read(self, credentials: Credentials, room: Room, seq: int) -> Flow[int | None]:
        """Mark everything in the room up to `seq` as read; return the read mark after that, or None if it was refused.

        The returned mark is higher than `seq` if another device has read further.
        """
        ...

    def marks(self, credentials: Credentials) -> Flow[Mapping[str, int]]:
        """Return the person's own read marks by room label."""
        ...

    def edit(self, credentials: Credentials, room: Room, seq: int, text: str, version: int | None) -> Flow[Edit | None]:
        """Replace the text of the message with number `seq`; return the edit, or None if it was refused.

        `version`: the version of the message that is edited; the platform refuses if another device has edited it
        meanwhile. None: the last edit wins.
        """
        ...

    def edits_after(self, credentials: Credentials, room: Room, number: int) -> Flow[list[Edit]]:
        """Return the edits of a room whose edit number is above `number`, in order: those that a device has missed."""
        ...

    def watch(self, label: str) -> str | bytes:
        """Return one frame that subscribes the connection to changes of who is online in the room `label`."""
        ...


class Entrance(Protocol):
    """Protocol of two ways to load a platform without valid credentials: begun logins, and tokens of an unknown key."""

    def begin_login(self) -> Flow[int]:
        """Send the first request of a login, as a visitor without credentials; return the HTTP status."""
        ...

    def stranger(self, credentials: Credentials) -> Credentials:
        """Return credentials of the same person with a token that is signed by a key of the tester.

        No service knows this key, so a service that is shown the token must ask the auth service for the key.
        """
        ...


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """Rows that one read of a history returned.

    fits  False if the platform's own digest of a page differs from the digest of its rows
    """

    rows: list[StoredRow]
    fits: bool = True


class ReadsHistoryAfter(Protocol):
    """Protocol of a target that can read a room's history from a given sequence number on."""

    def history_after(self, credentials: Credentials, room: Room, after: int) -> Flow[HistoryPart]:
        """Return the messages of a room with a sequence number above `after`, up to the newest, oldest first.

        Raises FlowError if the platform refuses, or its answer cannot be used.
        """
        ...


class SocketReader(Dialogue, Protocol):
    """Protocol of a dialogue that only reads the history of a room.

    rows  all messages that the platform has stored, oldest first; None until it has read them
    """

    rows: list[StoredRow] | None


class ReadsBySocket(Protocol):
    """Protocol of a target whose history is read over a socket, instead of by `Target.history`."""

    def reader(self, credentials: Credentials, room: Room) -> SocketReader:
        """Return the dialogue of a new socket that reads the history of a room."""
        ...


class RemovesMembers(Protocol):
    """Protocol of a target that can remove a member from a room."""

    def remove_member(self, credentials: Credentials, room: Room, person: Person) -> Flow[None]:
        """Remove a person from a room; the flow ends when the platform has confirmed it.

        `open_room` invites the person again. Raises FlowError for a refusal.
        """
        ...


class AsksAgents(Protocol):
    """Protocol of a target with agents that answer questions in a room."""

    def question(self, dialogue: Dialogue, label: str, message_id: str, text: str) -> str | bytes:
        """Return one frame for the socket of `dialogue` that sends `text` to the room `label` and asks the agent.

        `message_id`: the client's id of the message.
        """
        ...


class SharesFrames(Protocol):
    """Protocol of a target that decodes equal frames once for all sockets of a process."""

    def share_frames(self, rooms: Collection[str]) -> None:
        """Decode equal frames with messages of `rooms` only once in this process, from now on.

        `rooms`: labels of the rooms whose messages reach this process more than once.
        """
        ...


class PostsBeside(Protocol):
    """Protocol of a target that accepts messages as HTTP requests in addition to frames of its sockets."""

    def post_beside(self, credentials: Credentials, label: str, message_id: str, text: str) -> Flow[Sequence[Heard]]:
        """Send `text` to the room `label` as an HTTP request; return the answer as one event, ACK or NACK.

        `message_id`: the client's id of the message. Raises FlowError if it is unknown whether the message was
        accepted.
        """
        ...


class SendsByHttp(Protocol):
    """Protocol of a target that accepts messages only as HTTP requests. Deliveries still arrive by its sockets."""

    def post(self, credentials: Credentials, label: str, message_id: str, text: str) -> Flow[Sequence[Heard]]:
        """Send `text` to the room `label` as an HTTP request; return the answer as one event, ACK or NACK.

        `message_id`: the client's id of the message. Raises FlowError if it is unknown whether the message was
        accepted.
        """
        ...


class StreamsAnswers(Protocol):
    """Protocol of a target where each message is an HTTP request, whose response streams an agent's answer."""

    def ask(
        self,
        credentials: Credentials,
        label: str,
        message_id: str,
        text: str,
        happened: Callable[[Sequence[Heard]], None],
    ) -> Flow[Sequence[Heard]]:
        """Send `text` to the room `label`, and call `happened` with the events of the answer while it arrives.

        The flow yields one `StreamedRequest`. `happened` gets ACK as soon as the platform has accepted the message,
        then events AGENT: "started", "chunk" for each piece (numbered from 0), and at the end "completed", "error", or
        "broken" for a stream that ends without its terminator. The flow returns the events that `happened` did not
        get, such as the NACK of a refusal. `message_id`: the client's id of the message.

        Raises FlowError if it is unknown whether the message was accepted, or if the answer is incomplete.
        """
        ...


class HasRooms(Protocol):
    """Protocol of a target whose rooms exist before the run.

    Messages from outside the run are allowed in them.
    """

    def existing_rooms(self, people: Sequence[Person]) -> Sequence[Room]:
        """Return the rooms that exist, each with those of its members that are among `people`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Optional features of a target. A feature that is None, False or empty is not available.

    The fields up to `has_rooms` hold objects with the methods of the protocols above.

    agents         sender ids of the platform's own agents
    ids_by_sender  message ids are unique only per sender and room: other senders may use the same client id
    names_rooms    the platform names rooms itself: each process learns the names by calling `open_room`
    people         accounts that exist, by user number (0, 1, …); () if the tester creates the accounts
    databases      read-only queries of users tables, by Place of the database
    faults         fault commands by name of the fault
    unjudged       warnings by name of a promise: the target file describes data for it, but [contract] does not
                   mention it
    history_limits  numbers that the request for a history contains, each perhaps a limit: a history of exactly so many
                   rows may be incomplete
    """

    tokens: Tokens | None = None
    accounts: Accounts | None = None
    sharing: Sharing | None = None
    entrance: Entrance | None = None
    reads_history_after: ReadsHistoryAfter | None = None
    reads_by_socket: ReadsBySocket | None = None
    removes_members: RemovesMembers | None = None
    asks_agents: AsksAgents | None = None
    shares_frames: SharesFrames | None = None
    posts_beside: PostsBeside | None = None
    sends_by_http: SendsByHttp | None = None
    streams_answers: StreamsAnswers | None = None
    has_rooms: HasRooms | None = None
    agents: Collection[str] = ()
    ids_by_sender: bool = False
    names_rooms: bool = False
    people: tuple[Person, ...] = ()
    databases: Mapping[Place, DatabaseQuery] = field(default_factory=dict)
    faults: Mapping[str, FaultCommands] = field(default_factory=dict)
    unjudged: Mapping[str, str] = field(default_factory=dict)
    history_limits: frozenset[int] = frozenset()
