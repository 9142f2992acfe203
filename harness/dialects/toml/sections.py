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
DATABASE_PLACES = {"auth": Place.AUTH_DATABASE, "main": Place.MAIN_DATABASE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """How credentials are presented to the socket, or to HTTP requests.

    query, subprotocols and first (frames sent first) apply to the socket only.
    """

    headers: Mapping[str, Template]
    cookies: Mapping[str, Template]
    query: Mapping[str, Template]
    subprotocols: tuple[Template, ...] = ()
    first: tuple[Template, ...] = ()


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
    """

    existing: tuple[ExistingRoom, ...]
    requests: tuple[RequestTemplate, ...]
    room_id: Getter | None
    join: tuple[Template, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Rules for sending a message: as a frame, or as a request.

    `seq`: path to the message's sequence number in the answer to the request.
    """

    frame: Template | None
    request: RequestTemplate | None
    seq: Getter | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Rules for resuming a session.

    `together`: True sends one frame with {seqs} for all rooms, False one frame for each room.
    """

    query: Mapping[str, Template]
    frames: tuple[Template, ...]
    together: bool


def read_presentations(top: Table) -> tuple[Presentation, Presentation]:
    """Return how credentials are presented, as (to the socket, to HTTP requests).

    Without [http] both present the same headers.
    """
    socket = top.table("socket", example='{ headers = { Authorization = "Bearer {token}" } }') or Table({}, top.faults)
    subprotocols = socket.texts("subprotocols", example='["chat.v1", "{token}"]')
    shown = Presentation(
        headers=read_headers(socket, "headers", LOGGED_IN, example='{ Authorization = "Bearer {token}" }'),
        cookies=read_headers(socket, "cookies", LOGGED_IN, example='{ session = "{token}" }'),
        query=read_texts(socket, "query", LOGGED_IN, example='{ token = "{token}" }'),
        subprotocols=tuple(Template(text) for text in subprotocols),
        first=read_frames(socket, "first", LOGGED_IN, example='[{ type = "auth", token = "{token}" }]'),
    )
    for template in shown.subprotocols:
        if fault := template.fault(LOGGED_IN):
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
    known = LOGGED_IN | {"label", "room"}
    join = read_frames(table, "join", known, example='[{ type = "join", room = "{room}" }]')
    table.finish()
    return Rooms(existing=tuple(existing), requests=tuple(requests), room_id=room_id, join=join)


def finished_request(table: Table, name: str, url: str, known: frozenset[str] = LOGGED_IN) -> RequestTemplate:
    """Return a request from its table; every key of the table that was not read is collected as a mistake."""
    request = read_request(table, name, known, url=url)
    table.finish()
    return request


def read_send(top: Table) -> Send:
    """Return the rules of the table [send]. Mistakes are collected in `top` and raised together later."""
    table = top.table("send", example='{ frame = { type = "send", text = "{text}" } }', required=True)
    if table is None:
        return Send(frame=None, request=None, seq=None)
    frame = read_template(table, "frame", SEND, example='{ type = "send", room = "{room}", text = "{text}" }')
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
    table.finish()
    return Send(frame=frame, request=request, seq=seq)


def read_resume(top: Table) -> Resume | None:
    """Return the rules of the table [resume], None if there is none.

    Mistakes are collected in `top` and raised later.
    """
    table = top.table("resume", example='{ frames = [{ type = "resume", room = "{room}", after = "{seq}" }] }')
    if table is None:
        return None
    known = LOGGED_IN | {"room", "label", "seq", "seqs"}
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
