"""Values that a dialect and its callers exchange: people, rooms, credentials, rows of a final read, commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from earwitness.harness.client.dialogue import Dialogue

SECRET_MIN = 12
"""Shortest text of the credentials that counts as a secret; a shorter one is a word or a number."""
SECRET_NAMES = ("token", "ticket", "secret", "cookie", "password", "session", "jwt", "key")
"""Words that mark the name of a secret in the answer to a login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Virtual user as the plan describes it.

    `number`: of the user in the plan, from 0. `name` and `email` contain the run's tag, if the plan made them.
    `secret`: the password, "" if there is none.
    """

    number: int
    name: str
    email: str
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Planned conversation.

    `number`: of the conversation in the plan, from 0. `label`: its name in the plan; also its name at the platform, if
    that does not name rooms itself. `members`: persons of the plan.
    """

    number: int
    label: str
    members: tuple[Person, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Result of a login.

    `user_id` is the platform's own id of the person. `token` is presented to sockets and requests. `expires_at`: when
    the token expires, Unix time in seconds, None if unknown. `extra` belongs to the dialect (refresh token, claims …).
    """

    person: Person
    user_id: str
    token: str = field(repr=False)
    expires_at: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def secrets(self) -> tuple[str, ...]:
        """Return every text of the credentials that no record may show, sorted.

        These are the token, the person's secret, and each text in `extra` (also in nested mappings) whose key contains
        one of SECRET_NAMES; texts of fewer than SECRET_MIN characters are left out.
        """
        texts = {self.token, self.person.secret, *_secret_texts(self.extra)}
        return tuple(sorted(text for text in texts if len(text) >= SECRET_MIN))


def _secret_texts(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secret_texts(inner, str(key).lower())
    elif isinstance(value, str) and any(word in name for word in SECRET_NAMES):
        yield value


@dataclass(frozen=True, slots=True)
class Opening:
    """Connection that is about to be opened: for which user and rooms, and which connection it resumes.

    resume    last sequence number received, by room label; None for a new session: the device was not connected before,
              or the contract promises no resuming
    previous  dialogue of the connection that is resumed; None for a new session
    """

    credentials: Credentials
    rooms: Sequence[Room]
    resume: Mapping[str, int] | None = None
    previous: Dialogue | None = None

    @property
    def labels(self) -> list[str]:
        """Return the labels of the rooms."""
        return [room.label for room in self.rooms]

    @property
    def back(self) -> bool:
        """Return whether the device was connected before, and the connection resumes that session."""
        return self.resume is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """Message in a final read. Except for `text`, a field is None (`seq`: -1) where the platform does not state it.

    `sender`: platform's id of the user; `message_id`: the client's id; `conversation`: label of the room.
    """

    text: str
    seq: int = -1
    sender: str | None = None
    message_id: str | None = None
    conversation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Identity of a logged-in person as one place states it.

    place    number of a `checks.history.record.Place`
    user_id  None if the answer has none
    shape    describes the answer without its values, "" if it is not described
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


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a target, and the key of the target file that states it."""

    key: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCommands:
    """Shell commands that switch a fault on and off.

    `check`: exits with status 0 while the fault is on, and with another one while it is off; "" if there is none.
    """

    on: str
    off: str
    check: str = ""
