"""Text of a draft: addresses, login, rooms and sending; `frames_part` writes the frames and the promises."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from earwitness.harness.client.network import host_of, is_loopback
from earwitness.harness.dialects.toml.logins import ALGORITHMS
from earwitness.harness.draft.dialect_part import write_dialect
from earwitness.harness.draft.evidence import Found, Sending
from earwitness.harness.draft.frames_part import write_frames
from earwitness.harness.draft.guesses import Guesses, guess
from earwitness.harness.draft.kinds import Unit
from earwitness.harness.draft.leaves import leaves
from earwitness.harness.draft.login import LoginGuess, Use, person_placeholder, uses_of
from earwitness.harness.draft.protocols import SUBPROTOCOLS, dialect_of
from earwitness.harness.draft.recording import Exchange, Recording, query_of
from earwitness.harness.draft.requests import answer_path, number_in_answers, room_requests, who_am_i
from earwitness.harness.draft.secrets import REMOVED, SECRET_NAME, UNKNOWN, UUID
from earwitness.harness.draft.sheet import Sheet
from earwitness.harness.draft.templates import as_text

MOST_NAMED: Final = 5
MOST_KEPT: Final = 12
"""Most parameters of a query, and most subprotocols, that are kept."""
KEY: Final = "env:CHAT_TEST_KEY"
SHOWN: Final = re.compile(r"([A-Za-z]{1,12} )?\{token\}")
"""Form of a header's value with the token: {token}, perhaps behind the name of a scheme such as Bearer."""
OF_USERS: Final = ("user.id", "user_id", "userId", "id", "uid", "sub", "claims.sub", "user.name", "username", "name")
"""Paths that often hold the user's id, the likeliest first."""
DROPPED: Final = ("iat", "exp", "nbf", "jti")
"""Claims that a draft omits, because the tester makes them itself, or because they differ in each token."""


def draft_of(recording: Recording, source: str) -> str:
    """Return the text of a target file for a recording. `source`: name of its file, for the first lines."""
    found, sheet = guess(recording), Sheet()
    count = sum(len(socket.frames) for socket in found.sockets)
    sheet.comment(
        f"Draft from {found.secrets.clean(source)}: {len(recording.exchanges):,} requests, {count:,} frames of "
        f"{len(found.sockets)} connection{'s'[: len(found.sockets) != 1]}. A line marked guess may be wrong; a TODO "
        "was not found. Secrets of the recording are replaced. Correct it, then run: earwitness probe FILE"
    )
    dialect = dialect_of(found.sockets[0])
    if dialect == "socketio" and "ack" in found.chat.rules:  # events that acknowledge: a target file says that too
        sheet.comment("The dialect socketio speaks this protocol, if messages are acknowledged by callbacks.")
    elif dialect:
        write_dialect(sheet, found, dialect)
        return found.secrets.scrub(sheet.text())
    _notes(sheet, found)
    _head(sheet, found)
    _login(sheet, found)
    _socket(sheet, found)
    _http(sheet, found)
    _who(sheet, found)
    _rooms(sheet, found)
    _send(sheet, found)
    write_frames(sheet, found)
    return found.secrets.scrub(sheet.text())


def _notes(sheet: Sheet, found: Guesses) -> None:
    """Write TODOs and comments for what a target file cannot describe, or the recording does not show."""
    traffic = found.traffic
    if found.recording.sanitized and found.login.value == "":
        sheet.todo(
            "the recording shows no cookie and no credentials. Chromium takes them out unless it exports "
            "with sensitive data; record again that way if users log in"
        )
    if traffic.binary:
        sheet.todo(
            f"{traffic.binary} of {traffic.frames} frames are binary, or too long, and are not understood; "
            "a target file describes JSON, other codecs need a dialect in Python"
        )
    if traffic.prefix or traffic.others:
        others = ", ".join(
            f"{found.secrets.clean(one) or 'none'} ({n})" for one, n in traffic.others.most_common(MOST_NAMED)
        )
        sheet.todo(
            f"frames have the prefix {traffic.prefix or 'none'} before their JSON, as in Socket.IO. A target file "
            f"has one prefix for all rules; frames with others are ignored{f': {others}' if others else ''}. "
            "Heartbeats, answered joins and acknowledgements (prefix 43) need rules for each prefix"
        )
    if traffic.numbered:
        sheet.todo(
            "sent frames have a number between prefix and JSON, which asks for an acknowledgement (prefix 43); "
            "a target file cannot count it"
        )
    cut = sum(socket.cut for socket in found.sockets)
    if cut:
        sheet.comment(f"{cut:,} frames after the first ones of a connection were not read.")
    if found.others:
        sheet.comment(f"Further sockets, not drafted: {', '.join(found.others[:MOST_NAMED])}.")


def _head(sheet: Sheet, found: Guesses) -> None:
    host = host_of(found.sockets[0].address)
    sheet.lines.append("")
    sheet.key("name", "our chat" if is_loopback(host) else found.secrets.clean(host))
    away = [one for one in {host, host_of(found.base)} if one and not is_loopback(one)]
    if away:
        sheet.todo(
            "load on an address that is not this machine needs the consent of its owner, in both words",
            "allow_load = true",
        )
        sheet.lines.append("# max_users = 100")
    sheet.table("[urls]")
    if found.base:
        sheet.guess("http", found.base, "requests of the recording go there")
    else:
        sheet.todo("no request was recorded; the address that requests are below", 'http = "https://chat.example"')
    shown = {use.name for use in found.login.uses if use.place == "query"}
    kept: list[tuple[str, str]] = []
    removed: list[tuple[str, str]] = []
    for name, value in query_of(found.sockets[0].url).items():
        harmless = not SECRET_NAME.search(name) and found.maker.constant(value) == value
        if name not in shown and len(kept) < MOST_KEPT:
            (kept if harmless else removed).append((name, value))
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in kept)
    address = f"{found.secrets.origin(found.sockets[0].url)}{found.secrets.path(found.sockets[0].url)}"
    sheet.guess(
        "socket",
        f"{address}?{query}" if query else address,
        "address of the socket with the most frames",
        check="whether the query belongs to the address" if query else "",
    )
    if REMOVED in address:
        sheet.todo(
            f"a part of the socket's address looks like a secret and is {REMOVED}; a target file has one "
            "address for all users"
        )
    if removed:
        names = ", ".join(found.maker.key(name) for name, _ in removed[:MOST_NAMED])
        sheet.todo(f"the socket's query has also {names}; what is needed goes into [socket] query")


# -- login ----------------------------------------------------------------------------------------------------------


def _login(sheet: Sheet, found: Guesses) -> None:
    sheet.table("[login]")
    login = found.login
    if login.exchange is not None:
        _password(sheet, found, login.exchange)
    elif login.algorithm:
        _mint(sheet, found)
    elif login.value:
        sheet.todo("no answer of the recording holds the token; record the login too, or give ready tokens, one a line")
        sheet.guess("by", "tokens", "the socket is shown a token that no request returned")
        sheet.key("file", "tokens.txt")
        sheet.guess("user_id", "{name}", "nothing shows it", check="what the platform calls the person in its frames")
    else:
        sheet.todo(
            "no login was found: no request with a password, no token shown to the socket. Record the login "
            "too. If nobody logs in, a token that is never shown will do: export CHAT_TEST_KEY with 32 characters"
        )
        sheet.guess("by", "mint", "stands for no login")
        sheet.key("algorithm", "HS256")
        sheet.key("key", KEY)
        sheet.key("claims", {"sub": "{name}"})


def _password(sheet: Sheet, found: Guesses, exchange: Exchange) -> None:
    login, maker = found.login, found.maker
    origin = (
        "its answer holds the token that the socket is shown" if login.token or login.cookie else "it sends a password"
    )
    sheet.guess("by", "password", f"{found.secrets.path(exchange.url)}: {origin}")
    sheet.key("url", maker.url(exchange, found.base, {}, {}))
    if exchange.method != ("POST" if exchange.form or exchange.body is not None else "GET"):
        sheet.key("method", exchange.method)
    if exchange.form or exchange.body is not None:
        name, body = maker.person(exchange)
        if isinstance(body, Mapping):
            sheet.guess(name, body, "fields by their names", check="name or email, and each TODO in it")
        else:
            sheet.todo(
                "the body of the login is no table of JSON", 'body = { user = "{email}", password = "{secret}" }'
            )
    if exchange.status and exchange.status not in (200, 201, 202, 204):
        sheet.guess("accept", [exchange.status], "the status of the answer")
    _token(sheet, found, exchange)
    if login.before:
        steps = [
            {
                "method": one.method,
                "url": maker.url(one, found.base, {}, {}),
                **dict([maker.person(one)]),
                "accept": sorted({200, 201, one.status or 200, 409}),
            }
            for one in login.before
        ]
        sheet.guess("before", steps, "earlier requests with the same password", check="whether each user needs them")
    if login.asked:
        sheet.todo('this request shows a token of its own, which steps cannot pass on; if so write by = "function"')


def _token(sheet: Sheet, found: Guesses, exchange: Exchange) -> None:
    login, maker = found.login, found.maker
    if login.cookie:
        sheet.guess("cookie", maker.key(login.cookie), "the answer set it and the socket is shown its value")
    elif login.token:
        sheet.guess("token", login.token, "the value that is shown later stands there in the answer")
    else:
        sheet.todo("which path of the answer, or which cookie (cookie = …), is the token", 'token = "token"')
    _user_id(sheet, found)
    for name in ("expires_in", "expiresIn", "ttl"):
        path = next((path for path, _ in leaves(exchange.answer) if path.rpartition(".")[2] == name), "")
        if path:
            sheet.guess("expires_in", path, "by its name", check="that it is in seconds")
            break


def _user_id(sheet: Sheet, found: Guesses) -> None:
    login, own = found.login, found.chat.own
    sent = {str(value): person_placeholder(path, value) for path, value in _fields(login)}
    if own in login.names:
        sheet.guess("user_id", login.names[own], "the sender of own messages stands there")
    elif own and sent.get(own, "").strip("{}") in ("name", "email"):
        sheet.guess("user_id", sent[own], "own messages have the name of the login as their sender")
    else:
        paths = set(login.names.values())
        likely = next((path for path in OF_USERS if path in paths), "")
        if likely:
            sheet.guess("user_id", likely, "by its name", check="that senders of messages are this")
        else:
            sheet.todo("what the platform calls this person in its frames: a path of the answer, claims.sub, or {name}")
            sheet.key("user_id", "{name}")


def _fields(login: LoginGuess) -> list[tuple[str, object]]:
    exchange = login.exchange
    return [*exchange.form.items(), *leaves(exchange.body)] if exchange else []


def _mint(sheet: Sheet, found: Guesses) -> None:
    login = found.login
    sheet.todo(
        "no answer of the recording holds the token, which is a JWT. With a test key of the platform the "
        'tester can sign tokens itself: export CHAT_TEST_KEY. Else record the login too, or use by = "tokens"'
    )
    sheet.guess("by", "mint", "the socket is shown a JWT that no request returned")
    known = login.algorithm in ALGORITHMS
    sheet.guess("algorithm", login.algorithm if known else "HS256", "header of the token" if known else "unknown")
    sheet.key("key", KEY)
    claims: dict[str, object] = {}
    for name, value in list(login.claims.items())[:20]:
        if name in DROPPED:
            continue
        of_person = person_placeholder(name, value) if name != "sub" else "{name}"
        mine = "{name}" if str(value) == found.chat.own else ""
        claims[found.maker.key(name)] = mine or of_person or found.maker.of_value(value, {}, {})
    sheet.guess("claims", claims or {"sub": "{name}"}, "claims of the token", check="each TODO in it")
    if "sub" not in claims:
        _user_id(sheet, found)


# -- credentials shown ----------------------------------------------------------------------------------------------


def _socket(sheet: Sheet, found: Guesses) -> None:
    uses = found.login.uses
    sheet.table("[socket]")
    for place in ("query", "headers", "cookies"):
        shown = {found.maker.key(use.name): _bearer(use) for use in uses if use.place == place}
        if shown:
            sheet.guess(place, shown, "the token was shown there", *_sockets(found, place), what="connection")
    words = [word.strip() for word in found.sockets[0].headers.get(SUBPROTOCOLS, "").split(",") if word.strip()][
        :MOST_KEPT
    ]
    if words:
        token = found.login.value
        given = [
            word.replace(token, "{token}") if token and token in word else found.maker.constant(word) for word in words
        ]
        sheet.guess("subprotocols", given, "the handshake offered them")
    first = _first(found)
    if first:
        sheet.guess("first", first, "sent before everything else", check="each TODO in it")
    if not uses:
        sheet.todo(
            "how the token is shown when the socket opens: query, headers, cookies, subprotocols, first",
            'query = { token = "{token}" }',
        )


def _sockets(found: Guesses, place: str) -> tuple[int, int]:
    """Return (connections that showed the token at a place, all connections)."""
    names = {use.name for use in found.login.uses if use.place == place}
    shown = sum(any(use.place == place and use.name in names for use in uses_of(one)) for one in found.sockets)
    return shown, len(found.sockets)


def _bearer(use: Use) -> str:
    return "Bearer {token}" if use.place == "headers" else "{token}"


def _first(found: Guesses) -> list[object]:
    texts: list[object] = []
    for prefix, value in found.traffic.opened:
        template = None if value is None else found.maker.of_value(value, {}, found.values)
        start = found.maker.constant(prefix)
        texts.append(start if template is None else as_text(template, start))
    kind = found.traffic.sent.kind
    for unit in found.chat.first:
        texts.append(_frame(found, found.maker.of_value(unit.value, _kinds(kind, unit, found), found.values)))
    return texts


def _kinds(kind: str, unit: Unit, found: Guesses) -> dict[str, str]:
    """Return path of the kind -> its value in `unit`, so that a template keeps the value; {} if it is no text."""
    return {kind: found.secrets.clean(str(unit.leaves[kind]))} if isinstance(unit.leaves.get(kind), str) else {}


def _frame(found: Guesses, template: object) -> object:
    """Return a frame as a table, or as text where it is a list, holds null or has a prefix."""
    whole = isinstance(template, Mapping) and not found.traffic.prefix and "null" not in as_text(template, "")
    return template if whole else as_text(template, found.traffic.prefix)


def _http(sheet: Sheet, found: Guesses) -> None:
    login = found.login
    if not login.http:
        return
    sheet.table("[http]")
    for place in ("headers", "cookies"):
        shown = {found.maker.key(use.name): use.value for use in login.http if use.place == place}
        shown = {name: value if SHOWN.fullmatch(value) else "{token}" for name, value in shown.items()}
        if shown:
            sheet.guess(place, shown, "requests after the login show the token there")


def _who(sheet: Sheet, found: Guesses) -> None:
    """Write [[identity]] and [probe] for a request whose answer has the user's id; write nothing if there is none."""
    history = found.history.exchange if found.history else None
    known = [one for one in (found.login.exchange, history) if one]
    asked = who_am_i([one for one in found.recording.exchanges if one not in known], found.chat.own)
    if asked is None:
        return
    exchange, path = asked
    url = found.maker.url(exchange, found.base, {}, {})
    sheet.table("[[identity]]")
    sheet.guess("place", "backend", "a place for a service of the platform", check="auth, backend or frontend")
    sheet.guess("url", url, "its answer has the id of the user")
    sheet.guess("id", path, "the sender of own messages stands there")
    sheet.table("[probe]")
    sheet.guess("url", url, "a cheap request of a user who is logged in")


# -- rooms and sending ----------------------------------------------------------------------------------------------


def _rooms(sheet: Sheet, found: Guesses) -> None:
    sheet.table("[rooms]")
    sending = found.chat.sending
    used = {id(one) for one in (found.login.exchange, *found.login.before) if one}
    if sending and sending.by_http:
        used |= {id(unit.value) for unit in sending.group.units}
    until = min((unit.time for unit in sending.group.units), default=0.0) if sending else 0.0
    opened = room_requests(found.recording.exchanges, found.rooms, used, until)
    if opened:
        _opened(sheet, found, opened)
    elif found.rooms:
        room = min(found.rooms)
        safe = room not in found.secrets.values and (UUID.fullmatch(room) or found.maker.constant(room) == room)
        sheet.guess(
            "existing",
            [{"label": room if safe else UNKNOWN, "members": "all"}],
            "no request opened the room of the recording",
            check="that users may talk there; leave it out if joining opens a room",
        )
    else:
        sheet.todo(
            "no room was found: rooms that exist, or requests that open one",
            'existing = [{ label = "general", members = "all" }]',
        )
    join = [_join(found, unit) for unit in found.chat.join]
    if join:
        sheet.guess(
            "join",
            join,
            "sent before the first message, and names its room",
            len(join),
            len(join),
            "numbers and each TODO in it",
        )
    else:
        sheet.todo("no frame that joins a room was found", 'join = [{ type = "join", room = "{room}" }]')


def _opened(sheet: Sheet, found: Guesses, opened: Sequence[Exchange]) -> None:
    requests = []
    for one in opened:
        request: dict[str, object] = {"method": one.method, "url": found.maker.url(one, found.base, _label(found), {})}
        if one.form or one.body is not None:
            request["form" if one.form else "body"] = _members(
                found.maker.of_value(dict(one.form) or one.body, {}, _label(found)), one.body
            )
        request["accept"] = sorted({200, 201, one.status, 409})
        requests.append(request)
    sheet.guess(
        "requests",
        requests,
        "they name the room before the first message",
        check="whether each member may send them, and who is invited",
    )
    path = answer_path(opened[0], found.rooms)
    if path:
        sheet.guess("room_id", path, "the room of the messages stands there in the answer")


def _label(found: Guesses) -> dict[str, str]:
    """Return value -> placeholder for requests that open a room.

    A room is {label} in them, because the platform has given it no name yet.
    """
    return {value: "{label}" if hole == "{room}" else hole for value, hole in found.values.items()}


def _members(template: object, body: object) -> object:
    """Return `template` with a placeholder of the members in place of each list of texts or numbers in `body`."""
    if not isinstance(template, dict) or not isinstance(body, dict):
        return template
    names = {
        key: "{members.email}" if all("@" in str(item) for item in one) else "{members.name}"
        for key, one in body.items()
        if isinstance(one, list) and one and all(isinstance(item, (str, int)) for item in one)
    }
    return {**template, **{key: names[key] for key in template if key in names}}


def _join(found: Guesses, unit: Unit) -> object:
    kind = found.traffic.sent.kind
    return _frame(found, found.maker.of_value(unit.value, _kinds(kind, unit, found), found.values))


def _send(sheet: Sheet, found: Guesses) -> None:
    sheet.table("[send]")
    sending = found.chat.sending
    if sending is None:
        sheet.todo("no sent message was found: which frame carries the text that a user typed")
        sheet.key("frame", {"text": "{text}"})
        return
    at = {one.path: f"{{{role}}}" for role, one in sending.at.items()}
    for role, one in sending.at.items():
        where = f"part {one.path[1:]} of the path" if one.path.startswith("/") else one.path
        sheet.comment(
            f"guess: {{{role}}} stands at {found.maker.key(where)}: {one.how}, seen in {one.seen} of {one.of}"
        )
    if "id" not in sending.at:
        sheet.todo("no client id was found: a value that differs in each message and that the acknowledgement repeats")
    elif any(isinstance(unit.leaves.get(sending.at["id"].path), int) for unit in sending.group.units):
        sheet.todo(
            "the client id of the recording is a number; the tester sends text. Check that the platform takes it"
        )
    if sending.by_http:
        _by_http(sheet, found, sending, at)
        return
    kind = found.traffic.sent.kind
    template = found.maker.of_units(sending.group.units, _kinds(kind, sending.group.units[0], found) | at, found.values)
    sheet.guess(
        "frame",
        _frame(found, template),
        "a frame that carried a message",
        len(sending.group.units),
        len(sending.group.units),
        "each TODO in it",
    )


def _by_http(sheet: Sheet, found: Guesses, sending: Sending, at: Mapping[str, str]) -> None:
    exchange = sending.group.units[-1].value
    if not isinstance(exchange, Exchange):
        return
    body = [unit for unit in sending.group.units if isinstance(unit.value, Exchange)]
    values: list[object] = [dict(one.value.form) or one.value.body for one in body if isinstance(one.value, Exchange)]
    units = [
        Unit(sent=True, time=0.0, place=unit.place, value=value, leaves=dict(leaves(value)))
        for unit, value in zip(body, values, strict=True)
    ]
    request: dict[str, object] = {"url": found.maker.url(exchange, found.base, found.values, {})}
    if exchange.method != "POST":
        request["method"] = exchange.method
    request["form" if exchange.form else "body"] = found.maker.of_units(units, at, found.values)
    sheet.guess("request", request, "it carried a message", len(units), len(units), "each TODO in it", what="request")
    number: Found | None = number_in_answers(sending.group, found.chat)
    if number:
        sheet.guess("seq", number.path, number.how, number.seen, number.of, what="answer")
