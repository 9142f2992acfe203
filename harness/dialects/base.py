"""Start of a dialect in Python: what most platforms have in common, taken from the target file."""

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
    """Dialect of a platform where names are enough to log in and rooms exist as soon as somebody is in them.

    A subclass writes `converse`, and whichever of the other methods its platform needs. `settings` are those of the
    target file.

    says_joined  a dialogue reports JOINED for each room; without it, it is unknown what a user should receive
    logins       how many people can log in; None: any number
    """

    says_joined = True
    logins: int | None = None

    def __init__(self, settings: Settings, parts: Parts | None = None, *, needs: str = "") -> None:
        """Keep the settings.

        - `parts`: optional features of the platform; accounts, faults and databases are added
        - `needs`: http or socket; a file without that address is a mistake
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
        """Return whether the file has the address `key`, http or socket; without it, collect a mistake."""
        found = self.settings.http if key == "http" else self.settings.socket
        if not found:
            self.settings.own.faults.add(f"urls.{key}", "is missing", ADDRESSES[key])
        return bool(found)

    def reachable(self) -> Flow[None]:
        """Implement `Target.reachable`: ask the HTTP address, if there is one, for anything but a server error."""
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
        """Return the account of a planned person with its secret: the plan of a run has none.

        Raises FlowError if the file of accounts is too short.
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
        """Implement `Target.probe`: ask the HTTP address. Any answer below 500 counts as 200.

        Which page is there is not known.
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
        """Return the dialogue of a new socket; each dialect writes its own."""
        raise NotImplementedError

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Implement `Target.history`: raise FlowError. A dialect that promises a history overrides it."""
        yield from ()
        raise FlowError("history", "a dialect that can read it", detail=f"{type(self).__name__} cannot")


def posted(
    name: str, response: HttpResponse, label: str | None, message_id: str, wait_s: float | None = None
) -> Sequence[Heard]:
    """Return what the answer to a request says of the message that it sent: 2xx accepts it, 3xx and 4xx refuse it.

    - `name`: of the request
    - `wait_s`: seconds after which a refusal says to come back

    Raises FlowError for 5xx, which leaves open whether the message was sent.
    """
    if response.status >= 500:
        raise FlowError(name, "200", response)
    if response.status >= 300:
        return ((NACK, label, None, -1, None, message_id, (response.status, wait_s)),)
    return ((ACK, label, None, -1, None, message_id, None),)


__all__ = ["BaseDialect", "posted"]
