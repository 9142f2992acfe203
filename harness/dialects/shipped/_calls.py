"""Base of dialects whose frames are named events with arguments and numbered answers: Socket.IO and SignalR.

The target file names the events of its application in [options]. A `Talk` keeps the state of one socket: which
answers are awaited, by number, and which rooms are joined. The dialects encode and decode the frames.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

import orjson

from earwitness.checks.declared import Open
from earwitness.harness.client.dialogue import BaseDialogue
from earwitness.harness.client.events import ACK, JOINED, MESSAGE, NACK, OTHER, Handshake, Heard
from earwitness.harness.client.flow import Flow, hiding
from earwitness.harness.described import Table
from earwitness.harness.dialects.base import BaseDialect
from earwitness.harness.dialects.parts import Parts, SocketReader
from earwitness.harness.dialects.settings import Settings
from earwitness.harness.dialects.shipped._messages import ask_history
from earwitness.harness.dialects.toml.history import HistoryRules, read_history
from earwitness.harness.dialects.toml.logins import Login, read_login
from earwitness.harness.dialects.toml.paths import Getter, compile_path, seq_or_none, text_or_none
from earwitness.harness.dialects.toml.requests import LOGGED_IN, checked, read_headers, read_path, read_texts
from earwitness.harness.dialects.toml.template import Template
from earwitness.harness.dialects.values import Credentials, Opening, Person, Room, StoredRow

IN_ROOM = LOGGED_IN | {"label", "room"}
PARTS = ("text", "room", "sender", "id", "seq")
EVENT = Open(list, "the name of an event and its arguments", '["join", "{room}"]')
ABSENT: Getter = lambda value: None  # noqa: E731


@dataclass(frozen=True, slots=True)
class Call:
    """Event that the client sends: its name as JSON, and a template of its list of arguments."""

    name: str
    arguments: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Events of an application, as [options] names them. Paths begin at the list of an event's or answer's arguments.

    login          how users log in; None: by name, without a request
    headers        of the socket's handshake, and of requests; `query`: of the socket's address
    join           event that joins a room; None: the server joins connections by itself
    joined         name of the event that says that a room is joined; "": the answer to `join` says so
    joined_room    path of the room in that event
    joined_seq     path of the room's last sequence number in that event or answer
    send           event that sends a message
    messages       name of an event -> paths of the parts of a message
    answer_seq     path of the sequence number in the answer to a message
    answer_error   path in an answer to a value that is there only if the platform refuses
    history        how the stored messages are read
    """

    login: Login | None
    headers: Mapping[str, Template]
    query: Mapping[str, Template]
    join: Call | None
    joined: str
    joined_room: Getter
    joined_seq: Getter
    send: Call
    messages: Mapping[str, Mapping[str, Getter]]
    answer_seq: Getter
    answer_error: Getter
    history: History


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How stored messages are read: by an event whose answer lists them, by requests, or not at all.

    event     the event that asks for them; None: none does
    items     path of the list in its answer; `row`: paths of the parts of its items
    requests  rules of the requests; None: there are none
    """

    event: Call | None = None
    items: Getter = ABSENT
    row: Mapping[str, Getter] = field(default_factory=dict)
    requests: HistoryRules | None = None

    @property
    def limits(self) -> frozenset[int]:
        """Return the numbers in the request or event, one of which may limit its rows, such as 50 in `limit=50`."""
        if self.requests is not None:
            return self.requests.limits
        return self.event.arguments.numbers if self.event is not None else frozenset()


def read_rules(settings: Settings) -> Rules:
    """Return the rules of the table [options]. Mistakes are collected there and raised together later."""
    own = settings.own
    if not settings.socket.startswith(("ws://", "wss://")):
        own.faults.add("urls.socket", "is missing, or no ws address", 'socket = "ws://127.0.0.1:3000"')
    login = own.table("login", example='{ by = "mint", … }')
    joined = own.table("joined", example='{ event = "joined", room = "0.room" }') or Table({}, own.faults, "joined")
    answer = own.table("answer", example='{ seq = "0.seq", error = "0.error" }') or Table({}, own.faults, "answer")
    event = joined.text("event", example="joined")
    rules = Rules(
        login=read_login(login, settings.path.parent) if login else None,
        headers=read_headers(own, "headers", LOGGED_IN, example='{ Authorization = "Bearer {token}" }'),
        query=read_texts(own, "query", LOGGED_IN, example='{ token = "{token}" }'),
        join=read_call(own, "join", IN_ROOM, '["join", "{room}"]'),
        joined=event,
        joined_room=read_path(joined, "room", "0.room", required=bool(event)) or ABSENT,
        joined_seq=read_path(joined, "seq", "0.seq") or ABSENT,
        send=read_call(own, "send", IN_ROOM | {"id", "text"}, '["send", "{room}", "{text}"]', required=True)
        or Call('""', Template([])),
        messages=read_messages(own),
        answer_seq=read_path(answer, "seq", "0.seq") or ABSENT,
        answer_error=read_path(answer, "error", "0.error") or ABSENT,
        history=read_stored(own),
    )
    joined.finish()
    answer.finish()
    return rules


def read_stored(own: Table) -> History:
    """Return the rules of the table [options.history]; rules without event and requests if there is no such table.

    Mistakes are collected in `own`.
    """
    table = own.table("history", example='{ event = ["history", "{room}"], text = "text" }')
    if table is None:
        return History()
    if not table.has("event"):
        return History(requests=read_history(table))
    history = History(
        event=read_call(table, "event", IN_ROOM, '["history", "{room}"]'),
        items=read_path(table, "items", "0.messages") or compile_path("0"),
        row=read_parts(table, needed=True),
    )
    table.finish()
    return history


def read_call(table: Table, name: str, known: Collection[str], example: str, *, required: bool = False) -> Call | None:
    """Return an event to send from a list of its name and arguments, None if it is absent.

    Mistakes are collected in `table`. `known`: placeholders that have values.
    """
    value = table.value(name, EVENT, example=example, required=required)
    if value is None:
        return None
    if not value or not isinstance(value[0], str):
        table.fault(name, "does not begin with the name of an event", f"{name} = {example}")
        return None
    return Call(orjson.dumps(value[0]).decode(), checked(table, name, value[1:], known, example=example))


def read_messages(own: Table) -> dict[str, dict[str, Getter]]:
    """Return event name -> part -> getter, for each event that carries a message. Mistakes are collected in `own`."""
    example = '{ event = "message", text = "0.text", room = "0.room" }'
    found = {}
    for table in own.tables("message", example=example):
        found[table.text("event", example="message", required=True)] = read_parts(table, needed=True)
        table.finish()
    if not found:
        own.fault("message", "is missing: which event is a message?", f"message = {example}")
    return found


def read_parts(table: Table, *, needed: bool) -> dict[str, Getter]:
    """Return a getter for each of PARTS; it finds nothing for a part without a path in `table`.

    A missing path of the text is collected as a mistake if `needed`.
    """
    paths = {part: read_path(table, part, f"0.{part}", part == "text" and needed) for part in PARTS}
    return {part: getter or ABSENT for part, getter in paths.items()}


def decoded(text: str) -> Any:
    """Return the value of a JSON text, None if the text is not JSON."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None


def other(what: object) -> Heard:
    """Return the event OTHER for a frame that is not understood. `what`: the frame, or the part of it."""
    return (OTHER, None, None, -1, None, None, what)


class Asked(NamedTuple):
    """Reason for which an answer is awaited.

    `what`: ACK for a message, JOINED for a room to join, READING for a history. `message_id`: None except for messages.
    """

    what: int
    label: str
    message_id: str | None


READING = -1
"""Value of `Asked.what` for a history; the others are ACK and JOINED."""


class Talk:
    """State of one socket: the answers that are awaited, and the rooms that are joined.

    joined  labels of the rooms that are joined
    reads   label of the room whose history is asked for once it is joined, and stored as `rows` of the dialogue; None
            if none is to be read
    """

    def __init__(self, dialogue: CallingDialogue, rules: Rules, rooms: Sequence[Room]) -> None:
        """Start with no room joined and no answer awaited. Frames to send are put into `out` of `dialogue`."""
        self._rules, self._dialogue = rules, dialogue
        self._rooms = tuple(room.label for room in rooms)
        self._asked: dict[int, Asked] = {}
        self._number = -1
        self._continued: bool | None = None
        self.joined: set[str] = set()
        self.reads: str | None = None

    def begin(self, kept: Collection[str] = (), *, lost: bool = False, answers: bool = True) -> list[Heard]:
        """Join the rooms on a connection that was accepted; return JOINED for each that is joined without an answer.

        kept     rooms that the platform has kept joined in a session that continues
        lost     a session that should have continued does not continue
        answers  the server answers `join`; if not, the caller calls `have_joined` later
        """
        self._continued = False if lost else None
        events = [self._have_joined(label, -1, True) for label in self._rooms if label in kept]
        rules, asks = self._rules, answers and not self._rules.joined
        if rules.join is None:
            return events if rules.joined else events + self.have_joined()
        for label in self._rooms:
            if label not in self.joined:
                self._ask(rules.join, JOINED, label, asks=asks)
        return events

    def have_joined(self) -> list[Heard]:
        """Note that all rooms are joined; return JOINED for those that were not joined before."""
        missing = [label for label in self._rooms if label not in self.joined]
        return [self._have_joined(label, -1, self._continued) for label in missing]

    def _have_joined(self, label: str, seq: int, continued: bool | None) -> Heard:
        self.joined.add(label)
        if label == self.reads and self._rules.history.event is not None:
            self.reads = None
            self._ask(self._rules.history.event, READING, label)
        return (JOINED, label, None, seq, None, None, continued)

    def _ask(self, call: Call, what: int, label: str, *, asks: bool = True) -> None:
        self._dialogue.out.append(self._call(call, {"label": label, "room": label}, what, label, asks=asks))

    def send(self, label: str, message_id: str, text: str, *, asks: bool) -> str:
        """Return the frame of a message; `asks`: its answer is awaited."""
        values = {"label": label, "room": label, "id": message_id, "text": text}
        return self._call(self._rules.send, values, ACK, label, message_id, asks=asks)

    def _call(
        self,
        call: Call,
        values: Mapping[str, object],
        what: int,
        label: str,
        message_id: str | None = None,
        *,
        asks: bool = True,
    ) -> str:
        number = None
        if asks:
            self._number = number = self._number + 1
            self._asked[number] = Asked(what, label, message_id)
        arguments = call.arguments.render({**self._dialogue.values, **values})
        return self._dialogue.frame(call.name, arguments, number)

    def event(self, name: object, arguments: list[Any]) -> list[Heard] | None:
        """Return, as a list of `Heard`, what the server's event `name` with its `arguments` means.

        Return None for an event that [options] does not name, or one without the values that it needs.
        """
        rules = self._rules
        at = rules.messages.get(name) if isinstance(name, str) else None
        if at is not None:
            return self._message(at, arguments)
        if name == rules.joined and rules.joined:
            label = text_or_none(rules.joined_room(arguments))
            return None if label is None else [self._has_joined(label, arguments)]
        return None

    def _message(self, at: Mapping[str, Getter], arguments: list[Any]) -> list[Heard] | None:
        text, seq = at["text"](arguments), seq_or_none(at["seq"](arguments))
        if type(text) is not str:
            return None
        label = text_or_none(at["room"](arguments))
        if label is None and at["room"] is ABSENT and len(self._rooms) == 1:
            label = self._rooms[0]  # a socket of one room
        sender, message_id = text_or_none(at["sender"](arguments)), text_or_none(at["id"](arguments))
        return [(MESSAGE, label, text, -1 if seq is None else seq, sender, message_id, None)]

    def answer(self, number: int, values: list[Any], error: object = None) -> list[Heard] | None:
        """Return, as a list of `Heard`, what the answer `values` to the event with this `number` means.

        The rows of a history are stored in `rows` of the dialogue. Return None if no answer with this number is
        awaited, or if it refuses a join or a history. `error`: reason that the protocol itself states for a refusal,
        None if it states none.
        """
        asked = self._asked.pop(number, None)
        if asked is None:
            return None
        if error is None:
            error = self._rules.answer_error(values)
        refused = error is not None and error is not False and error != ""
        if asked.what == ACK:
            if refused:
                code = seq_or_none(error) or 0
                return [(NACK, asked.label, None, -1, None, asked.message_id, (code, None))]
            seq = seq_or_none(self._rules.answer_seq(values))
            return [(ACK, asked.label, None, -1 if seq is None else seq, None, asked.message_id, None)]
        if refused:
            return None
        if asked.what == JOINED:
            return [self._has_joined(asked.label, values)]
        self._dialogue.rows = self._read_rows(values)
        return []

    def _has_joined(self, label: str, values: list[Any]) -> Heard:
        seq = seq_or_none(self._rules.joined_seq(values))
        return self._have_joined(label, -1 if seq is None else seq, self._continued)

    def _read_rows(self, values: list[Any]) -> list[StoredRow] | None:
        items, at = self._rules.history.items(values), self._rules.history.row
        if type(items) is not list or not all(type(at["text"](item)) is str for item in items):
            return None
        return [
            StoredRow(
                text=str(at["text"](item)),
                seq=-1 if (seq := seq_or_none(at["seq"](item))) is None else seq,
                sender=text_or_none(at["sender"](item)),
                message_id=text_or_none(at["id"](item)),
                conversation=text_or_none(at["room"](item)),
            )
            for item in items
        ]


class CallingDialogue(BaseDialogue):
    """Dialogue of named events on one socket; a subclass writes `received` and `frame`.

    values        placeholders of the person
    acknowledges  the platform answers messages
    rows          rows of the history, if the dialogue reads one; None until the rows have been received
    """

    def __init__(self, handshake: Handshake, dialect: CallingDialect, credentials: Credentials, rooms: Sequence[Room]):
        """Start with no room joined and no answer awaited."""
        super().__init__(handshake)
        self.values = dialect.values(credentials)
        self.acknowledges = dialect.contract.acknowledges
        self.rows: list[StoredRow] | None = None
        self.talk = Talk(self, dialect.rules, rooms)

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received` (hook). Raises NotImplementedError here."""
        raise NotImplementedError

    def send(self, label: str, message_id: str, text: str) -> str:
        """Implement `Dialogue.send`: return the frame of the event that sends a message."""
        return self.talk.send(label, message_id, text, asks=self.acknowledges)

    def frame(self, name: str, arguments: str, number: int | None) -> str:
        """Return the frame of an event (hook). Raises NotImplementedError here.

        - `name`: the event's name, as JSON; `arguments`: its list of arguments, as JSON
        - `number`: the number that the answer will repeat; None if no answer is awaited
        """
        raise NotImplementedError


class CallingDialect(BaseDialect):
    """Dialect of named events; a subclass writes `converse`."""

    def __init__(self, settings: Settings, rules: Rules) -> None:
        """Keep the rules. A history that is read by an event becomes the part `reads_by_socket`."""
        limits = rules.history.limits
        super().__init__(settings, Parts(reads_by_socket=self if rules.history.event else None, history_limits=limits))
        self.rules = rules
        if rules.login is not None and rules.login.most is not None:
            self.logins = rules.login.most if self.logins is None else min(self.logins, rules.login.most)

    def login(self, person: Person) -> Flow[Credentials]:
        """Implement `Target.login` by the table [options.login], or by `BaseDialect.login` without it."""
        if self.rules.login is None:
            credentials = yield from super().login(person)
            return credentials
        known = self.account(person)
        flow = self.rules.login.flow(known, person_values(known), self.settings.http)
        credentials = yield from hiding(flow, [known.secret])
        return credentials

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Implement `Target.history` by the requests of [options.history]. Raises FlowError without them."""
        rules = self.rules.history.requests
        if rules is None:
            rows = yield from super().history(credentials, room)
            return rows
        flow = ask_history(rules, self.settings.http, self.values(credentials), self.headers(credentials), room)
        rows = yield from hiding(flow, credentials.secrets())
        return rows

    def reader(self, credentials: Credentials, room: Room) -> SocketReader:
        """Implement `ReadsBySocket.reader`: join the room and ask for its history."""
        dialogue = self.converse(Opening(credentials, [room]))
        dialogue.talk.reads = room.label
        return dialogue

    def converse(self, opening: Opening) -> CallingDialogue:
        """Implement `BaseDialect.converse` (hook). Raises NotImplementedError here."""
        raise NotImplementedError

    def values(self, credentials: Credentials) -> dict[str, object]:
        """Return placeholder -> value for a logged-in person: number, name, email, secret, token, user_id."""
        known = person_values(self.account(credentials.person))
        return known | {"token": credentials.token, "user_id": credentials.user_id}

    def headers(self, credentials: Credentials) -> dict[str, str]:
        """Return the headers of a person's sockets and requests."""
        values = self.values(credentials)
        return {name: template.render(values) for name, template in self.rules.headers.items()}

    def address(self, credentials: Credentials, path: str, query: Mapping[str, str]) -> str:
        """Return the address of the socket; the parameter and the option `query` are added to its query.

        `path`: its path if the address in the file has none.
        """
        values, parts = self.values(credentials), urlsplit(self.settings.socket)
        given = {**query, **{name: template.render(values) for name, template in self.rules.query.items()}}
        whole = "&".join(filter(None, (parts.query, urlencode(given))))
        return urlunsplit((parts.scheme, parts.netloc, parts.path if parts.path.strip("/") else path, whole, ""))


def person_values(person: Person) -> dict[str, object]:
    """Return the values of the placeholders that describe a person: number, name, email, secret."""
    return {"number": person.number, "name": person.name, "email": person.email, "secret": person.secret}


__all__ = ["Call", "CallingDialect", "CallingDialogue", "Rules", "Talk", "decoded", "other", "read_rules"]
