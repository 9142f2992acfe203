"""Sections of a target file: presentation of credentials, rooms, sending, resuming, identity, databases, faults."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from earwitness.checks.declared import AnyOf, Many, Number, OneOf
from earwitness.checks.history.record import Place
from earwitness.harness.described import Table
from earwitness.harness.dialects.protocol import DatabaseQuery, FaultCommands, Person
from earwitness.harness.dialects.toml.addresses import ROOM_NAMES
from earwitness.harness.dialects.toml.exchange import (
    BY_FRAME,
    COUNTED,
    GREETING,
    OPEN,
    PLAIN,
    Exchange,
    kept_names,
    needs_kind,
    placeholders,
    read_beat,
    read_exchange,
)
from earwitness.harness.dialects.toml.frames import ANSWERS, BY_ID, BY_NUMBER, BY_ORDER, FrameRules
from earwitness.harness.dialects.toml.logins import read_rows
from earwitness.harness.dialects.toml.paths import Getter, compile_path
from earwitness.harness.dialects.toml.requests import (
    LOGGED_IN,
    ROOM,
    RequestTemplate,
    read_frames,
    read_headers,
    read_path,
    read_request,
    read_template,
    read_texts,
)
from earwitness.harness.dialects.toml.template import Template

PLACES = {"auth": Place.AUTH, "backend": Place.BACKEND, "frontend": Place.FRONTEND}
SEND = frozenset({"label", "room", "id", "text"})
USER_NUMBERS = Many(item=Number(whole=True), words="a list of user numbers", example="[0, 1]")
MEMBERS = AnyOf(
    kinds=(OneOf(("all",)), USER_NUMBERS),
    words='"all" or a list of user numbers',
    example='"all"',
    problem='is neither "all" nor a list of user numbers',
)
ANSWERED = "needs send.frame: the answer to send.request is that of its message already"
DATABASE_PLACES = {"auth": Place.AUTH_DATABASE, "main": Place.MAIN_DATABASE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """How credentials are presented to the socket, or to HTTP requests.

    query, subprotocols, first (frames sent first) and exchange (rules for frames that are no messages) apply to the
    socket only.
    """

    headers: Mapping[str, Template]
    cookies: Mapping[str, Template]
    query: Mapping[str, Template]
    subprotocols: tuple[Template, ...] = ()
    first: tuple[Template, ...] = ()
    exchange: Exchange = PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingRoom:
    """Room that exists before the run. `members`: user numbers, or None for all users."""

    label: str
    members: tuple[int, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """Rules of the table [rooms].

    existing  rooms that exist before the run
    requests  requests that open a room
    room_id   path to the platform's name of the room in the answer to the first request
    join      frames that subscribe a connection to a room
    joined    what says that it is subscribed: BY_FRAME, OPEN or GREETING
    """

    existing: tuple[ExistingRoom, ...]
    requests: tuple[RequestTemplate, ...]
    room_id: Getter | None
    join: tuple[Template, ...]
    joined: str = BY_FRAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Rules for sending a message: as a frame, or as a request; the other of the two is None.

    seq     path to the message's sequence number in the answer to the request
    end     text at the end of every frame on the socket
    binary  every frame on the socket is sent as bytes
    """

    frame: Template | None
    request: RequestTemplate | None
    seq: Getter | None
    end: str = ""
    binary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Rules for resuming a session.

    query     added to the query of the socket's address
    frames    frames that are sent first
    together  True: the frames are sent once, with {seqs} of all rooms; False: once for each room, with {room} and {seq}
    """

    query: Mapping[str, Template]
    frames: tuple[Template, ...]
    together: bool


def read_presentations(top: Table, *, by_room: bool) -> tuple[Presentation, Presentation]:
    """Return how credentials are presented, as (to the socket, to HTTP requests).

    Without [http], requests get the headers and cookies of the socket. `by_room`: the address of a socket names a room.
    Mistakes are collected in `top` and raised together later.
    """
    here = LOGGED_IN | (ROOM_NAMES if by_room else frozenset())
    said = placeholders(kept_names(top), by_room=by_room)
    socket = top.table("socket", example='{ headers = { Authorization = "Bearer {token}" } }') or Table({}, top.faults)
    subprotocols = socket.texts("subprotocols", example='["chat.v1", "{token}"]')
    steps, replies = read_exchange(socket, said)
    beat_s, beat = read_beat(socket, said)
    shown = Presentation(
        headers=read_headers(socket, "headers", LOGGED_IN, example='{ Authorization = "Bearer {token}" }'),
        cookies=read_headers(socket, "cookies", LOGGED_IN, example='{ session = "{token}" }'),
        query=read_texts(socket, "query", here, example='{ token = "{token}" }'),
        subprotocols=tuple(Template(text) for text in subprotocols),
        first=read_frames(socket, "first", said, example='[{ type = "auth", token = "{token}" }]'),
        exchange=Exchange(steps=steps, replies=replies, beat_s=beat_s, beat=beat, by_room=by_room),
    )
    for template in shown.subprotocols:
        if fault := template.fault(here):
            socket.fault("subprotocols", fault, 'subprotocols = ["chat.v1", "{token}"]')
    socket.finish()
    http = top.table("http", example='{ headers = { Authorization = "Bearer {token}" } }')
    if http is None:
        return shown, Presentation(headers=shown.headers, cookies=shown.cookies, query={})
    to_http = Presentation(
        headers=read_headers(http, "headers", LOGGED_IN, example='{ Authorization = "Bearer {token}" }'),
        cookies=read_headers(http, "cookies", LOGGED_IN, example='{ session = "{token}" }'),
        query={},
    )
    http.finish()
    return shown, to_http


def read_accounts(top: Table, folder: Path) -> tuple[Mapping[str, object], ...]:
    """Return the rows of the file of accounts, () if none is named.

    Mistakes are collected in `top` and raised later.
    """
    file = top.text("accounts", example="accounts.json")
    return tuple(read_rows(top, "accounts", folder / file, "name") or ()) if file else ()


def people_of(accounts: Sequence[Mapping[str, object]]) -> tuple[Person, ...]:
    """Return the people of the rows of a file of accounts, as user numbers 0, 1, …."""
    return tuple(
        Person(
            number=number,
            name=str(row.get("name") or row.get("email", "")),
            email=str(row.get("email", row.get("name", ""))),
            secret=str(row.get("secret", row.get("password", ""))),
        )
        for number, row in enumerate(accounts)
    )


def read_rooms(top: Table) -> Rooms:
    """Return the rules of the table [rooms]. Mistakes are collected in `top` and raised together later."""
    table = top.table("rooms", example='{ existing = [{ label = "general" }] }') or Table({}, top.faults)
    existing = []
    for inner in table.tables("existing", example='[{ label = "general", members = [0, 1] }]'):
        label = inner.text("label", example="general", required=True)
        members = inner.value("members", MEMBERS, example="[0, 1]")
        existing.append(ExistingRoom(label=label, members=tuple(members) if isinstance(members, list) else None))
        inner.finish()
    requests = [
        finished_request(inner, "open room", "/rooms", LOGGED_IN | ROOM)
        for inner in table.tables("requests", example='[{ url = "/rooms", body = { name = "{label}" } }]')
    ]
    room_id = read_path(table, "room_id", "room.id")
    if existing and requests:
        table.fault("existing and requests", "exclude each other", 'existing = [{ label = "general" }]')
    known = placeholders(kept_names(top), by_room=True)
    join = read_frames(table, "join", known, example='[{ type = "join", room = "{room}" }]')
    joined = table.choice("joined", (BY_FRAME, OPEN, GREETING), BY_FRAME)
    if joined != BY_FRAME and join:
        later = "exclude each other: a frame that subscribes takes effect later, and only an answer says when"
        table.fault("joined and join", later, f'joined = "{BY_FRAME}"')
    table.finish()
    return Rooms(existing=tuple(existing), requests=tuple(requests), room_id=room_id, join=join, joined=joined)


def finished_request(table: Table, name: str, url: str, known: frozenset[str] = LOGGED_IN) -> RequestTemplate:
    """Return a request from its table; every key of the table that was not read is collected as a mistake.

    `name`, `url`, `known`: as of `read_request`.
    """
    request = read_request(table, name, known, url=url)
    table.finish()
    return request


def read_send(top: Table) -> Send:
    """Return the rules of the table [send]. Mistakes are collected in `top` and raised together later."""
    table = top.table("send", example='{ frame = { type = "send", text = "{text}" } }', required=True)
    if table is None:
        return Send(frame=None, request=None, seq=None)
    known = SEND | placeholders(kept_names(top), by_room=False)
    frame = read_template(table, "frame", known, example='{ type = "send", room = "{room}", text = "{text}" }')
    inner = table.table("request", example='{ url = "/rooms/{room}/messages", body = { text = "{text}" } }')
    request = finished_request(inner, "send", "/rooms/{room}/messages", LOGGED_IN | SEND) if inner else None
    if len({"frame", "request"} & set(table.data)) != 1:
        table.fault("frame", "or request: exactly one of them is needed", 'frame = { text = "{text}" }')
    for template in (frame, request.body if request else None):
        if (
            template is not None
            and "text" not in template.names
            and (request is None or "text" not in request.url.names)
        ):
            table.fault("frame", "does not contain {text}", 'frame = { type = "send", text = "{text}" }')
    seq = read_path(table, "seq", "message.seq")
    end, binary = table.text("end", example="\\u001e"), table.flag("binary")
    table.finish()
    return Send(frame=frame, request=request, seq=seq, end=end, binary=binary)


def read_resume(top: Table) -> Resume | None:
    """Return the rules of the table [resume], None if there is none.

    Mistakes are collected in `top` and raised later.
    """
    table = top.table("resume", example='{ frames = [{ type = "resume", room = "{room}", after = "{seq}" }] }')
    if table is None:
        return None
    known = placeholders(kept_names(top), by_room=True) | {"seq", "seqs"}
    frames = read_frames(table, "frames", known, example='[{ type = "resume", room = "{room}", after = "{seq}" }]')
    query = read_texts(table, "query", LOGGED_IN, example='{ resume = "1" }')
    used = {name for frame in frames for name in frame.names}
    if "seqs" in used and used & {"room", "label", "seq"}:
        table.fault(
            "frames", "use {seqs} together with {room} or {seq}", 'frames = [{ type = "resume", from = "{seqs}" }]'
        )
    table.finish()
    return Resume(query=query, frames=frames, together="seqs" in used)


def read_identity(table: Table) -> tuple[Place, RequestTemplate, Getter]:
    """Return place, request and path to the user id of one item of [identity]. Mistakes are collected in `table`."""
    place = table.choice("place", tuple(PLACES))
    path = read_path(table, "id", "user.id") or compile_path("id")
    return PLACES[place], finished_request(table, f"identity: {place}", "/me"), path


def read_databases(top: Table) -> dict[Place, DatabaseQuery]:
    """Return the queries of the table [databases] by Place.

    Mistakes, and a missing asyncpg, are collected in `top` and raised together later.
    """
    table = top.table("databases", example='{ auth = { dsn = "env:AUTH_DSN", query = "select …" } }')
    found = {}
    for name, place in DATABASE_PLACES.items():
        inner = table.table(name, example='{ dsn = "env:AUTH_DSN", query = "select …" }') if table else None
        if inner is None:
            continue
        example = "select id, email, name, is_active from users where email like $1"
        query = inner.text("query", example=example, required=True)
        if query and not re.match(r"\s*(select|with)\b", query, re.IGNORECASE):
            inner.fault("query", "does not begin with select or with", f'query = "{example}"')
        found[place] = DatabaseQuery(dsn=inner.secret("dsn", example="env:AUTH_DSN"), query=query)
        inner.finish()
    if table:
        if importlib.util.find_spec("asyncpg") is None:
            top.fault("databases", "needs asyncpg, which is not installed", "pip install 'earwitness[databases]'")
        table.finish()
    return found


def read_fault_commands(top: Table) -> dict[str, FaultCommands]:
    """Return the commands of the tables [faults.NAME] by name.

    Mistakes are collected in `top` and raised together later.
    """
    table = top.table("faults", example='{ auth_down = { on = "systemctl stop auth" } }')
    commands = {}
    for name in table.names() if table else ():
        assert table is not None
        inner = table.table(name, example='{ on = "…", off = "…", check = "…" }')
        if inner is not None:
            commands[name] = FaultCommands(
                on=inner.text("on", example="systemctl stop auth", required=True),
                off=inner.text("off", example="systemctl start auth", required=True),
                check=inner.text("check", example="systemctl is-active auth"),
            )
            inner.finish()
    return commands


def check_exchange(top: Table, exchange: Exchange, frames: FrameRules, send: Send) -> None:
    """Collect a mistake in `top` for each key about frames of a socket that lacks or excludes another key.

    `exchange`, `frames`, `send`: rules that were read from the tables of the file.
    """
    rules = {rule.name: rule for rule in frames.rules}
    if not frames.kind_path:
        for key in needs_kind(exchange.steps, exchange.replies):
            top.fault(key, "names a kind of frame, which needs the path frames.kind", 'kind = "type" in [frames]')
    if exchange.joined != BY_FRAME and frames.joins:
        other = "frames.joined" if "joined" in rules else "frames.welcome.rooms"
        top.fault(f"rooms.joined and {other}", "exclude each other: either a frame says it or none does", "")
    if exchange.joined == GREETING and not exchange.steps and not frames.welcomes:
        said = "needs a greeting: frames.welcome or socket.steps"
        top.fault("rooms.joined", f'= "{GREETING}" {said}', f'joined = "{OPEN}"')
    if "joined" in rules and "room" not in rules["joined"].at and not exchange.by_room:
        missing = "is missing: only an address with {room} in urls.socket tells the room"
        top.fault("frames.joined.room", missing, 'room = "room"')
    for name in ANSWERS:
        by = frames.by(name)
        if by != BY_ID and send.frame is None and send.request is not None:
            top.fault(f"frames.{name}.{'by' if by == BY_ORDER else by}", ANSWERED, "")
        if by == BY_NUMBER and send.frame is not None and COUNTED not in send.frame.names:
            top.fault(f"frames.{name}.n", "needs {n} in send.frame", 'frame = { cid = "{n}", text = "{text}" }')
