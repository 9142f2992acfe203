"""How to speak to a platform: the five facts of a dialect behind one protocol.

A target says how to authenticate, how frames look, how sends are acknowledged, who is a member of what, and how
final state is read. It does no I/O: HTTP steps are flows (`harness.client.flow`), sockets belong to the client.
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
"""A shorter text of the credentials (a word, a number) is no secret."""
SECRET_NAMES = ("token", "ticket", "secret", "cookie", "password", "session", "jwt", "key")
"""Words in the name of a secret in what a login answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A virtual user as the plan made them. `name` and `email` carry the run tag."""

    number: int
    name: str
    email: str
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A planned conversation. `label` is what the platform calls it; members are persons by user number."""

    number: int
    label: str
    members: tuple[Person, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a login gave. `user_id` is the platform's own id of the person, as the *token* says it.

    `token` goes to sockets and requests; `extra` is the dialect's own (refresh token, cookies, expiry).
    """

    person: Person
    user_id: str
    token: str = field(repr=False)
    expires_at: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def secrets(self) -> tuple[str, ...]:
        """Every text of it that nobody may read in a record: tokens, tickets, cookies, the person's own secret."""
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
    """What one place says about a logged-in person's identity: `place` is a `checks.history.record.Place`, `shape`
    describes the answer without its values."""

    place: int
    user_id: str | None
    shape: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseQuery:
    """A read-only look at a users table: `$1` of `query` is a LIKE pattern of the run's e-mail addresses; the columns
    id and email are needed, others (name, is_active, …) are compared where both tables have them."""

    dsn: str = field(repr=False)
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCommands:
    """Shell commands that switch a fault on and off; `check` succeeds while it is on ("" if there is none)."""

    on: str
    off: str
    check: str = ""


class Target(Protocol):
    """A platform under test. `allow_load`/`max_users` guard targets that are not on this machine; `network` has the
    hosts that were checked for it."""

    name: str
    contract: Contract
    allow_load: bool
    max_users: int | None
    network: Network

    def reachable(self) -> Flow[None]:
        """Prove by a real answer (not a health page) that the platform is there; raises FlowError."""
        ...

    def login(self, person: Person) -> Flow[Credentials]:
        """Everything a person does to log in, from nothing to credentials."""
        ...

    def identity(self, credentials: Credentials) -> Flow[Sequence[Statement]]:
        """Ask every place that can say who we are."""
        ...

    def open_room(self, credentials: Credentials, room: Room) -> Flow[None]:
        """Make sure that the room exists with its members. Idempotent; every member may call it."""
        ...

    def probe(self, credentials: Credentials) -> Flow[int]:
        """One cheap authenticated request for responsiveness; returns its HTTP status."""
        ...

    def handshake(self, credentials: Credentials, resume: Mapping[str, int] | None = None) -> Handshake:
        """`resume`: last sequence seen by room label, or None for a new session."""
        ...

    def rooms_on_connect(self, credentials: Credentials, rooms: Sequence[Room]) -> Iterable[str | bytes]:
        """Frames that subscribe to the rooms, once connected; empty where the server subscribes by itself."""
        ...

    def encode(self, label: str, message_id: str, text: str) -> str | bytes:
        """One frame that sends `text` to a room."""
        ...

    def hear(self, data: str | bytes) -> Sequence[Heard]:
        """What a frame says; () for nothing of interest. Never raises on bad input: OTHER."""
        ...

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """The complete final state of a room, oldest first."""
        ...
