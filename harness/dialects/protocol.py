"""Protocol of a dialect: the five facts that describe how to speak to a platform.

A target says how to authenticate, how frames look, how sends are acknowledged, who is a member of what, and how final
state is read. It does no I/O: HTTP steps are flows (`harness.client.flow`), sockets belong to the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from earwitness.checks.contract import Contract
from earwitness.harness.client.events import Handshake, Heard
from earwitness.harness.client.flow import Flow
from earwitness.harness.client.network import Network

SECRET_MIN = 12
"""Shortest text of the credentials that counts as a secret; a shorter one is a word or a number."""
SECRET_NAMES = ("token", "ticket", "secret", "cookie", "password", "session", "jwt", "key")
"""Words that mark the name of a secret in the answer to a login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A virtual user as planned.

    `name` and `email` carry the run tag, if the plan made them.
    """

    number: int
    name: str
    email: str
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A planned conversation.

    `label` is the platform's name of it; `members` are persons of the plan.
    """

    number: int
    label: str
    members: tuple[Person, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Result of a login.

    `user_id` is the platform's own id of the person, as the *token* says it. `token` is presented to sockets and
    requests; `extra` belongs to the dialect (refresh token, cookies, expiry).
    """

    person: Person
    user_id: str
    token: str = field(repr=False)
    expires_at: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def secrets(self) -> tuple[str, ...]:
        """Return every text of the credentials that no record may show.

        These are tokens, tickets, cookies and the person's own secret, if they are at least SECRET_MIN characters long.
        """
        texts = {self.token, self.person.secret, *_secret_texts(self.extra)}
        return tuple(sorted(text for text in texts if len(text) >= SECRET_MIN))


def _secret_texts(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secret_texts(inner, str(key).lower())
    elif isinstance(value, str) and any(word in name for word in SECRET_NAMES):
        yield value


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """One message of a final read."""

    text: str
    seq: int = -1
    sender: str | None = None
    message_id: str | None = None
    conversation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Identity of a logged-in person as one place states it.

    place  a `checks.history.record.Place`
    shape  describes the answer without its values
    """

    place: int
    user_id: str | None
    shape: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseQuery:
    """A read-only query of a users table.

    `$1` of `query` is a LIKE pattern of the run's e-mail addresses. The columns id and email are needed; others (name,
    is_active, …) are compared where both tables have them.
    """

    dsn: str = field(repr=False)
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCommands:
    """Shell commands that switch a fault on and off.

    `check` succeeds while the fault is on ("" if there is none).
    """

    on: str
    off: str
    check: str = ""


class Target(Protocol):
    """A platform under test.

    allow_load, max_users  guard targets that are not on this machine
    network                has the hosts that were checked for the target
    """

    name: str
    contract: Contract
    allow_load: bool
    max_users: int | None
    network: Network

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
