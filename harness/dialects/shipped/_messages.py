"""Parts that the dialects of JSON protocols share: options, paths of a message, joining before sending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson

from earwitness.checks.contract import Contract
from earwitness.harness.client.dialogue import BaseDialogue, Dialogue
from earwitness.harness.client.events import JOINED, LEFT, MESSAGE, OTHER, WELCOME, Handshake, Heard
from earwitness.harness.client.flow import Flow, HttpRequest, hiding
from earwitness.harness.described import Table
from earwitness.harness.dialects.base import BaseDialect
from earwitness.harness.dialects.protocol import Credentials, Room, StoredRow
from earwitness.harness.dialects.settings import Settings
from earwitness.harness.dialects.toml.history import HistoryRules, read_history
from earwitness.harness.dialects.toml.paths import Getter, compile_path, seq_or_none, text_or_none
from earwitness.harness.dialects.toml.requests import LOGGED_IN, read_path, read_template
from earwitness.harness.dialects.toml.template import Template
from earwitness.harness.dialects.values import Opening

IN_ROOM: Final = LOGGED_IN | {"room"}
"""Placeholders that may be used in an option about a room."""
HISTORY: Final = "[contract] history = false"
REFUSED: Final = 400
"""Code in the event of a refusal, for protocols that state no code."""
MARK: Final = "\ue100"
"""Character put in place of a room's label, to find the text before and after the label in the protocol's name."""
SENDING: Final = IN_ROOM | {"id", "text"}
"""Placeholders that may be used in an option for sending a message."""
Asked = TypeVar("Asked")


@dataclass(frozen=True, slots=True)
class Paths:
    """Getters of a message's parts in what a platform delivers; None for a part that it does not state.

    number  sequence number in the room
    """

    text: Getter
    sender: Getter | None
    number: Getter | None
    message_id: Getter | None

    def message(self, label: str, value: object, sender: str | None = None) -> Heard | None:
        """Return the event MESSAGE of `value` in the room `label`; None if it has no text.

        `sender`: the sender that the platform states beside the value, if it does.
        """
        row = self.row(value)
        if row is None:
            return None
        return (MESSAGE, label, row.text, row.seq, sender or row.sender, row.message_id, None)

    def row(self, value: object) -> StoredRow | None:
        """Return the message in `value` as a row of a final read; None if it has no text."""
        text = self.text(value)
        if type(text) is not str:
            return None
        return StoredRow(
            text=text,
            seq=number_at(self.number, value),
            sender=None if self.sender is None else text_or_none(self.sender(value)),
            message_id=None if self.message_id is None else text_or_none(self.message_id(value)),
        )


def read_paths(own: Table, text: str = "", promised: Contract | None = None) -> Paths:
    """Return the paths that the keys text, sender, number and message_id of a table name.

    - `text`: the path of the text where the table has none; "" requires the key
    - `promised`: the contract: a promise whose path is missing is a mistake; None: promises are not compared

    Mistakes are collected in `own`.
    """
    if promised is not None and promised.names_sender and not own.has("sender"):
        own.fault("sender", "is missing, and [contract] names_sender = true needs it", 'sender = "user"')
    if promised is not None and promised.sequence != "none" and not own.has("number"):
        own.fault(
            "number", f'is missing, and [contract] sequence = "{promised.sequence}" needs it', 'number = "number"'
        )
    return Paths(
        text=read_path(own, "text", text or "message.text", required=not text) or compile_path(text or "text"),
        sender=read_path(own, "sender", "user"),
        number=read_path(own, "number", "number"),
        message_id=read_path(own, "message_id", "id"),
    )


def number_at(path: Getter | None, value: object) -> int:
    """Return the sequence number at a path, -1 if there is none."""
    seq = None if path is None else seq_or_none(path(value))
    return -1 if seq is None else seq


def read_or(
    own: Table, name: str, known: frozenset[str], default: str | Mapping[str, object], *, needs: str = ""
) -> Template:
    """Return the template under the key `name`, that of `default` if the key is absent or wrong.

    A template without the placeholder `needs` is a mistake: all rooms, or all messages, would be the same. Mistakes are
    collected in `own`; `known`: placeholders that have values.
    """
    example = f'"{default}"' if isinstance(default, str) else orjson.dumps(default).decode().replace('":', '" = ')
    found = read_template(own, name, known, example=example) or Template(default)
    if needs and needs not in found.names:
        own.fault(name, f"does not contain {{{needs}}}", f"{name} = {example}")
    return found


@dataclass(frozen=True, slots=True)
class Start:
    """Data with which the dialogue of a new socket starts.

    values    placeholders of the user (`LOGGED_IN`)
    rooms     rooms to join
    seqs      last sequence number received, by label of the room; None: the session is new
    previous  the dialogue of the connection that is continued; None: the session is new
    """

    values: Mapping[str, object]
    rooms: Sequence[Room]
    seqs: Mapping[str, int] | None = None
    previous: Dialogue | None = None


class Numbers(Generic[Asked]):
    """Counter that gives each request a number, and finds the request again when an answer repeats the number."""

    def __init__(self, before: str = "") -> None:
        """Start at 1. `before`: text in front of each number."""
        self._before, self._count = before, 0
        self._open: dict[str, Asked] = {}

    def next(self, asked: Asked | None = None) -> str:
        """Return a new number, as text. `asked`: what `answered` returns for it; None: no answer is awaited."""
        self._count += 1
        number = f"{self._before}{self._count}"
        if asked is not None:
            self._open[number] = asked
        return number

    def answered(self, number: object) -> Asked | None:
        """Return the `asked` of a number and forget it; None if no answer with this number is awaited.

        `number`: comes from the platform, so it may have any type.
        """
        return self._open.pop(number, None) if type(number) is str else None


class InRooms(BaseDialect):
    """Base class of dialects whose users have one socket each, on which they join all their rooms."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings.

        Collect a mistake if the address for sockets is missing, or if the contract promises a history that no option
        `history` describes.
        """
        super().__init__(settings, needs="socket")
        own = settings.own
        self.headers: Mapping[str, Template] = {}
        self.query: Mapping[str, Template] = {}
        self.requests: HistoryRules | None = None
        if settings.contract.history and "history" not in own.data:
            own.fault("history", "is missing, so the promise [contract] history = true cannot be judged", HISTORY)

    def converse(self, opening: Opening) -> Dialogue:
        """Implement `BaseDialect.converse` by `talk`."""
        return self.talk(Start(values_of(opening.credentials), opening.rooms, opening.resume, opening.previous))

    def talk(self, start: Start) -> Dialogue:
        """Return the dialogue of a new socket (hook). Raises NotImplementedError here: each dialect writes its own."""
        raise NotImplementedError

    def address(self, start: Start, **more: str) -> str:
        """Return the address of a socket; the option `query` and `more` are added to its query."""
        return with_query(self.settings.socket, self.filled(self.query, start.values) | more)

    def read_requests(self) -> None:
        """Set `requests` to the rules of the table [options.history], if there is one.

        They also give the part `history_limits`. A missing address `http` is a mistake then.
        """
        own = self.settings.own
        table = own.table("history", example='{ url = "/rooms/{room}/messages", text = "text" }')
        if table is not None and self.has_address("http"):
            self.requests = read_history(table)
            self.parts = replace(self.parts, history_limits=self.requests.limits)

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Implement `Target.history` by the requests of [options.history]. Raises FlowError without them."""
        if self.requests is None:
            return (yield from super().history(credentials, room))
        values = values_of(credentials)
        flow = ask_history(self.requests, self.settings.http, values, self.filled(self.headers, values), room)
        return (yield from hiding(flow, credentials.secrets()))

    def filled(self, templates: Mapping[str, Template], values: Mapping[str, object]) -> dict[str, str]:
        """Return the table of an option, such as headers, with `values` filled into its templates."""
        return {key: template.render(values) for key, template in templates.items()}


class Joining(BaseDialogue):
    """Base class of dialogues that join first: the connection is usable once each room was joined or refused.

    The platform would refuse a message that is sent before the join, so its usual clients wait too.

    values   placeholders of the user
    name_of  label of a room -> the protocol's name of the room; `label_of`: name -> label
    joined   labels of the rooms that are joined
    """

    def __init__(self, handshake: Handshake, name: Template, start: Start) -> None:
        """Prepare to join the rooms of `start`. `name`: template of the protocol's name of a room."""
        super().__init__(handshake)
        self.values = values = start.values
        self.name_of = {room.label: name.render({**values, "room": room.label}) for room in start.rooms}
        self.label_of = {found: label for label, found in self.name_of.items()}
        self._before, _, self._after = name.render({**values, "room": MARK}).partition(MARK)
        self.joined: set[str] = set()
        self._undecided: set[str] | None = set(self.name_of)

    def room_at(self, name: object) -> str | None:
        """Return the label of the room with the protocol's name `name`, None if that names no room.

        The room need not be one of the user's: a message of another room is a leak and must reach the judge.
        """
        known = at(self.label_of, name)
        if known is not None or type(name) is not str or len(name) <= len(self._before) + len(self._after):
            return known
        inside = name.startswith(self._before) and name.endswith(self._after)
        return name[len(self._before) : len(name) - len(self._after)] if inside else None

    def joins(self, label: str, continued: bool | None = None, missed: Sequence[Heard] = ()) -> tuple[Heard, ...]:
        """Note that the room `label` is joined; return its event JOINED, and WELCOME as `decided` does.

        - `continued`: True if nothing was missed, False if messages may be missing; None if the subscription is new,
          or the platform does not state it
        - `missed`: events of missed messages; they are returned between JOINED and WELCOME
        """
        self.joined.add(label)
        return ((JOINED, label, None, -1, None, None, continued), *missed, *self.decided(label))

    def decided(self, label: str = "") -> tuple[Heard, ...]:
        """Note that the room `label` was joined or refused; "" notes nothing.

        Return WELCOME when no room is undecided any more, but only once; else ().
        """
        if self._undecided is None:
            return ()
        self._undecided.discard(label)
        if self._undecided:
            return ()
        self._undecided = None
        return ((WELCOME, None, None, -1, None, None, None),)

    def filled(self, template: Template, label: str, **more: object) -> str:
        """Return a template with the values of the user, of the room `label`, and `more`."""
        return template.render({**self.values, "room": label, **more})

    def leaves(self, label: str) -> tuple[Heard, ...]:
        """Note that the room `label` is left; return its event LEFT, () if it was not joined."""
        if label not in self.joined:
            return ()
        self.joined.discard(label)
        return ((LEFT, label, None, -1, None, None, None),)


def ask_history(
    rules: HistoryRules, url: str, values: Mapping[str, object], headers: Mapping[str, str], room: Room
) -> Flow[list[StoredRow]]:
    """Return a room's messages, read by the requests of `rules`. Raises FlowError if an answer cannot be used.

    `url`: base of relative addresses; `values`: the placeholders of the user; `headers`: present the credentials.
    """
    members = [{"number": one.number, "name": one.name, "email": one.email} for one in room.members]
    in_room = {"label": room.label, "room": room.label} | {
        f"members.{key}": [member[key] for member in members] for key in ("number", "name", "email")
    }

    def ask(page: Mapping[str, object]) -> HttpRequest:
        return rules.request.fill(url, {**values, **in_room, **page}, headers)

    return (yield from rules.read(ask))


def values_of(credentials: Credentials) -> dict[str, object]:
    """Return the placeholders `LOGGED_IN` with the values of a logged-in person."""
    person = credentials.person
    return {
        "number": person.number, "name": person.name, "email": person.email, "secret": person.secret,
        "token": credentials.token, "user_id": credentials.user_id,
    }  # fmt: skip


def with_query(url: str, query: Mapping[str, str], path: str = "") -> str:
    """Return `url` with `path` behind its own, and `query` added to its own."""
    parts = urlsplit(url)
    whole = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *query.items()])
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path or "/", whole, ""))


def parsed(data: object) -> Any:
    """Return the JSON value in a frame, or in a text inside one; None if that is not JSON. Never raises.

    A value that is neither text nor bytes is returned unchanged.
    """
    if not isinstance(data, str | bytes):
        return data
    try:
        return orjson.loads(data)
    except ValueError:
        return None


def at(table: Mapping[str, str], key: object) -> str | None:
    """Return the value under `key`, which came from a platform and may have any type; None if absent. Never raises."""
    return table.get(key) if type(key) is str else None


def not_understood(data: object) -> tuple[Heard]:
    """Return the event OTHER for a frame, or a part of one, that no rule reads."""
    return ((OTHER, None, None, -1, None, None, data),)
