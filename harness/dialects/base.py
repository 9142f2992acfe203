"""Base class of dialects in Python: a default for each method, and the settings of the target file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.events import ACK, NACK, Heard
from earwitness.harness.client.flow import Flow, FlowError, HttpRequest, HttpResponse
from earwitness.harness.dialects.protocol import Credentials, Parts, Person, Room, Statement, StoredRow
from earwitness.harness.dialects.settings import Settings
from earwitness.harness.dialects.values import Opening

ADDRESSES: Final = {"http": 'http = "http://127.0.0.1:8000"', "socket": 'socket = "ws://127.0.0.1:8000/ws"'}


class BaseDialect:
    """Base class of dialects. Its defaults fit a platform where a name is enough to log in, and joining makes a room.

    A subclass writes `converse`, and overrides the methods for which its platform needs something else. `settings` are
    those of the target file.

    says_joined  whether a dialogue reports JOINED for each room. If not, it is unknown what a user should receive
    logins       how many people can log in; None: any number
    """

    says_joined = True
    logins: int | None = None

    def __init__(self, settings: Settings, parts: Parts | None = None, *, needs: str = "") -> None:
        """Keep the settings.

        - `parts`: optional features of the platform; `people`, `databases` and `faults` come from the settings
        - `needs`: "http" or "socket": a file without that address is a mistake; "" if the dialect needs neither
        """
        self.settings = settings
        self.name, self.contract = settings.name, settings.contract
        self.allow_load, self.max_users = settings.allow_load, settings.max_users
        self.network, self.addresses, self.stated = settings.network, settings.addresses, settings.stated
        self.parts = replace(
            parts or Parts(), people=settings.people, databases=settings.databases, faults=settings.faults
        )
        if settings.people:
            self.logins = len(settings.people)
        if needs:
            self.has_address(needs)

    def has_address(self, key: str) -> bool:
        """Return whether the file has the address `key` ("http" or "socket"); collect a mistake if it is missing."""
        found = self.settings.http if key == "http" else self.settings.socket
        if not found:
            self.settings.own.faults.add(f"urls.{key}", "is missing", ADDRESSES[key])
        return bool(found)

    def reachable(self) -> Flow[None]:
        """Implement `Target.reachable`: request the HTTP address, if there is one.

        Raises FlowError for a status of 500 or more.
        """
        if self.settings.http:
            response = yield HttpRequest("GET", self.settings.http, name="reachable")
            if response.status >= 500:
                raise FlowError(f"asking {self.name} whether it responds", "no server error", response)

    def login(self, person: Person) -> Flow[Credentials]:
        """Implement `Target.login`: return the name as user id and the account's secret as token; nothing is sent."""
        yield from ()
        known = self.account(person)
        return Credentials(person=known, user_id=known.name, token=known.secret)

    def account(self, person: Person) -> Person:
        """Return the account that a planned person uses, with its secret: persons of a plan have none.

        It is the row of the file of accounts with the person's number; `person` itself if there is no such file. Raises
        FlowError if the file has too few rows.
        """
        if not self.settings.people:
            return person
        if person.number >= len(self.settings.people):
            known = f"the file of accounts has {len(self.settings.people)}"
            raise FlowError("login", f"an account for user {person.number}", detail=known)
        return self.settings.people[person.number]

    def identity(self, credentials: Credentials) -> Flow[Sequence[Statement]]:
        """Implement `Target.identity`: return no statements; no request is sent."""
        yield from ()
        return ()

    def open_room(self, credentials: Credentials, room: Room) -> Flow[None]:
        """Implement `Target.open_room`: do nothing, because rooms exist as soon as a user joins them."""
        yield from ()

    def probe(self, credentials: Credentials) -> Flow[int]:
        """Implement `Target.probe`: request the HTTP address; return 200 without a request if there is none.

        It is not known which page is there, so any status below 500 counts as 200.
        """
        if not self.settings.http:
            return 200
        response = yield HttpRequest("GET", self.settings.http, {}, b"", "probe")
        return response.status if response.status >= 500 else 200

    def dialogue(
        self,
        credentials: Credentials,
        rooms: Sequence[Room],
        resume: Mapping[str, int] | None = None,
        previous: Dialogue | None = None,
    ) -> Dialogue:
        """Implement `Target.dialogue` by `converse`."""
        return self.converse(Opening(credentials, rooms, resume, previous))

    def converse(self, opening: Opening) -> Dialogue:
        """Return the dialogue of a new socket (hook). Raises NotImplementedError here: each dialect writes its own."""
        raise NotImplementedError

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Implement `Target.history`: raise FlowError. A dialect that promises a history overrides it."""
        yield from ()
        raise FlowError("history", "a dialect that can read it", detail=f"{type(self).__name__} cannot")


def posted(
    name: str, response: HttpResponse, label: str | None, message_id: str, wait_s: float | None = None
) -> Sequence[Heard]:
    """Return the event that the answer to a sent message means: ACK for 2xx, NACK for 3xx and 4xx.

    - `name`: of the request, for the error
    - `label`: of the message's room, None to name none; `message_id`: the client's id of the message
    - `wait_s`: seconds to wait that a refusal states, None if it states none

    Raises FlowError for 5xx, which leaves open whether the message was sent.
    """
    if response.status >= 500:
        raise FlowError(name, "200", response)
    if response.status >= 300:
        return ((NACK, label, None, -1, None, message_id, (response.status, wait_s)),)
    return ((ACK, label, None, -1, None, message_id, None),)


__all__ = ["BaseDialect", "posted"]
