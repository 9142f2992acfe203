"""Matrix: client-server API v3. Messages go by idempotent requests and come by long polls of /sync."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode, urlsplit

import orjson

from earwitness.checks.history.record import Place
from earwitness.dialects import (
    ACK,
    JOINED,
    LEFT,
    MESSAGE,
    NACK,
    OTHER,
    REPLAYED,
    BaseDialect,
    BaseDialogue,
    Credentials,
    Dialogue,
    Flow,
    FlowError,
    Heard,
    HttpRequest,
    HttpResponse,
    LongPoll,
    Parts,
    Person,
    Room,
    Settings,
    Statement,
    StoredRow,
)  # fmt: skip
from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.flow import Unbounded
from earwitness.harness.errors import Exceeded

PROMISES = {
    "acknowledges": True, "echo": True, "idempotent": True, "ordered": True, "total_order": True, "sequence": "none",
    "resume": True, "misses_nothing": True, "at_most_once": "device", "durable": True, "history": True,
    "delivers": True, "delivery_bound_s": 5.0,
}  # fmt: skip
API, ADMIN = "/_matrix/client/v3", "/_synapse/admin/v1"
JOIN_TRIES = 10
NONE: dict[str, list[str]] = {"types": []}


class Sync(BaseDialogue):
    """Long polls of one device. A room of which an answer shows only the end is completed before the next poll.

    since  cursor of the last answer that is complete, from which the dialogue after it continues
    """

    def __init__(self, chat: Matrix, me: Credentials, rooms: Sequence[Room], since: str, *, back: bool) -> None:
        """Prepare to poll from the cursor `since`, "" for a new device; `back`: it was connected earlier."""
        self._chat, self.since = chat, since
        self._rooms = {room_id: room.label for room in rooms if (room_id := chat.room_of.get(room.label))}
        self._continues: bool | None = bool(since) if back else None
        self._new, self._absent = not since, set(self._rooms)
        self._held: list[tuple[str, list[Heard]]] = []  # per room, in the order of the answer
        self._gaps: list[tuple[str, str, list[Heard]]] = []  # room, where its gap ends, what was found of it
        self._next = since
        at = f"{chat.settings.http}{self._address(0)}"
        super().__init__(LongPoll(url=at, headers=chat.headers(me), network=chat.network, welcome=False))

    def _address(self, wait_s: float) -> str:
        timeline = {"limit": self._chat.page if self.since else 1}
        room = {"ephemeral": NONE, "account_data": NONE, "state": NONE, "timeline": timeline}
        shown = orjson.dumps({"presence": NONE, "account_data": NONE, "room": room}).decode()
        cursor = {"since": self.since} if self.since else {}
        return f"{API}/sync?{urlencode({'filter': shown, 'timeout': int(wait_s * 1000), **cursor})}"

    def send(self, label: str, message_id: str, text: str) -> str:
        """Implement `Dialogue.send`: never called, messages are requests."""
        raise NotImplementedError

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`: read an answer to /sync, or a page of a gap."""
        answer = _table(data)
        if answer is None:
            return [(OTHER, None, None, -1, None, None, data)]
        events = self._page(answer) if self._gaps else self._answer(answer)
        if self._gaps:
            room_id, end, _ = self._gaps[0]
            query = urlencode({"from": end, "dir": "b", "limit": self._chat.page, "to": self.since})
            self.out.append(f"{API}/rooms/{quote(room_id)}/messages?{query}")
            return events
        self.since = self._next  # only now: a dialogue that continues here would miss what is held
        self.out.append(self._address(self._chat.wait_s))
        held = [event for _, found in self._held for event in found]
        self._held = []
        return [*events, *held]

    def _answer(self, answer: Mapping[str, object]) -> Sequence[Heard]:
        self._next = _text(answer.get("next_batch")) or self.since
        rooms = _inner(answer, "rooms")
        joined = _inner(rooms, "join")
        events: list[Heard] = []
        for room_id in [one for one in self._rooms if one in self._absent and (self._continues or one in joined)]:
            self._absent.discard(room_id)
            events.append((JOINED, self._rooms[room_id], None, -1, None, None, self._continues))
        for room_id, room in joined.items():
            timeline = _inner(room, "timeline")
            self._held.append((room_id, self._messages(room_id, timeline.get("events"))))
            end = _text(timeline.get("prev_batch"))
            if timeline.get("limited") is True and end and not self._new:
                self._gaps.append((room_id, end, []))
        self._new = False
        left = [self._rooms[room_id] for room_id in _inner(rooms, "leave") if room_id in self._rooms]
        return [*events, *((LEFT, label, None, -1, None, None, None) for label in left)]

    def _page(self, answer: Mapping[str, object]) -> Sequence[Heard]:
        """Add a page, newest message first, to the gap of a room; put the gap before what the room has after it."""
        room_id, _, found = self._gaps.pop(0)
        found = [*reversed(self._messages(room_id, answer.get("chunk"))), *found]
        end = _text(answer.get("end"))
        if len(found) > bounds().history_rows:
            raise Exceeded(f"more than {bounds().history_rows:,} messages were missed in a room")
        if end and answer.get("chunk"):
            self._gaps.insert(0, (room_id, end, found))
        else:
            self._held = [(name, found + events if name == room_id else events) for name, events in self._held]
        return ()

    def _messages(self, room_id: str, events: object) -> list[Heard]:
        """Return the messages among a room's events. Those of the first answer were there before."""
        what = REPLAYED if self._new else MESSAGE
        label = self._rooms.get(room_id) or self._chat.label_of.get(room_id, room_id)
        rows = (_row(event) for event in (events if isinstance(events, list) else ()))
        return [(what, label, row.text, -1, row.sender, row.message_id, None) for row in rows if row is not None]


class Matrix(BaseDialect):
    """Dialect of a Matrix homeserver. The names of rooms are aliases; the server gives them ids."""

    def __init__(self, settings: Settings) -> None:
        """Read the options: server, register, shared_secret, poll_s, page."""
        super().__init__(settings, Parts(sends_by_http=self, names_rooms=True))
        own = settings.own
        self.server = own.text("server", urlsplit(settings.http).hostname or "", example="chat.example")
        ways = ("open", "shared_secret", "no")
        self._registers = own.choice("register", ways, "no" if settings.people else "open")
        self._secret = own.secret("shared_secret", example="env:SHARED_SECRET") if self._registers == ways[1] else ""
        self.wait_s = own.number("poll_s", 25.0, example="25.0") or 0.0
        self._registered: set[str] = set()
        self.page = own.whole("page", 100, example="100", least=1)
        self.room_of: dict[str, str] = {}
        self.label_of: dict[str, str] = {}
        if not settings.http:
            own.faults.add("urls.http", "is missing", 'http = "http://127.0.0.1:8008"')

    def headers(self, me: Credentials) -> dict[str, str]:
        """Return the headers that authenticate a user."""
        return {"authorization": f"Bearer {me.token}"}

    def _ask(
        self, method: str, path: str, name: str, body: object = None, me: Credentials | None = None
    ) -> Flow[HttpResponse]:
        data = b"" if body is None else orjson.dumps(body)
        headers = {"content-type": "application/json"} | (self.headers(me) if me else {})
        response = yield HttpRequest(method, f"{self.settings.http}{path}", headers, data, name)
        return response

    def reachable(self) -> Flow[None]:
        """Implement `Target.reachable`: ask for the versions of the API."""
        response = yield from self._ask("GET", "/_matrix/client/versions", "versions")
        if response.status != 200 or "versions" not in (_table(response.body) or {}):
            raise FlowError("asking for the versions of the API", "a list of versions", response)

    def login(self, person: Person) -> Flow[Credentials]:
        """Implement `Target.login`: register the user, or log in where the name is known."""
        known = self.account(person)
        name = (known.name if self.settings.people else known.email.partition("@")[0]).lower()
        response = None
        if self._registers != "no" and name not in self._registered:
            response = yield from self._register(name, known.secret)
            self._registered.add(name)
        if response is None or (_table(response.body) or {}).get("errcode") == "M_USER_IN_USE":
            who = {"type": "m.id.user", "user": name}
            body = {"type": "m.login.password", "identifier": who, "password": known.secret}
            response = yield from self._ask("POST", f"{API}/login", "login", body)
        answer = _table(response.body) or {}
        user, token = _text(answer.get("user_id")), _text(answer.get("access_token"))
        if response.status != 200 or not user or not token:
            raise FlowError("login", "an access token", response)
        return Credentials(person=known, user_id=user, token=token)

    def _register(self, name: str, secret: str) -> Flow[HttpResponse]:
        body: dict[str, object] = {"username": name, "password": secret}
        if self._registers == "open":
            body["auth"] = {"type": "m.login.dummy"}
            return (yield from self._ask("POST", f"{API}/register", "register", body))
        response = yield from self._ask("GET", f"{ADMIN}/register", "nonce")
        nonce = _text((_table(response.body) or {}).get("nonce"))
        text = "\0".join((nonce, name, secret, "notadmin"))
        mac = hmac.new(self._secret.encode(), text.encode(), hashlib.sha1).hexdigest()
        body |= {"nonce": nonce, "mac": mac, "admin": False}
        return (yield from self._ask("POST", f"{ADMIN}/register", "register", body))

    def identity(self, credentials: Credentials) -> Flow[Sequence[Statement]]:
        """Implement `Target.identity`: ask the server whose token it is."""
        response = yield from self._ask("GET", f"{API}/account/whoami", "whoami", me=credentials)
        user = _text((_table(response.body) or {}).get("user_id")) or None
        return [Statement(place=Place.BACKEND, user_id=user)]

    def probe(self, credentials: Credentials) -> Flow[int]:
        """Implement `Target.probe`: the same question."""
        response = yield from self._ask("GET", f"{API}/account/whoami", "probe", me=credentials)
        return response.status

    def open_room(self, credentials: Credentials, room: Room) -> Flow[None]:
        """Implement `Target.open_room`: join the room by its alias; the first member makes it."""
        join = f"{API}/join/{quote(f'#{room.label}:{self.server}', safe='')}"
        for _ in range(JOIN_TRIES):  # the alias of a room that is being made exists before others may join
            response = yield from self._ask("POST", join, "join", {}, credentials)
            if response.status == 404:
                body = {"room_alias_name": room.label, "preset": "public_chat", "visibility": "private"}
                response = yield from self._ask("POST", f"{API}/createRoom", "create room", body, credentials)
            if response.status == 200:
                room_id = _text((_table(response.body) or {}).get("room_id"))
                self.room_of[room.label], self.label_of[room_id] = room_id, room.label
                return
        raise FlowError("open room", "the id of a room that was joined or made", response)

    def post(self, credentials: Credentials, label: str, message_id: str, text: str) -> Flow[Sequence[Heard]]:
        """Implement `SendsByHttp.post`: PUT with the message's id as transaction id. Raises FlowError for 5xx."""
        room_id, body = self.room_of.get(label, label), {"msgtype": "m.text", "body": text}
        path = f"{API}/rooms/{quote(room_id)}/send/m.room.message/{quote(message_id, safe='')}"
        response = yield from self._ask("PUT", path, "send", body, credentials)
        if response.status == 200:
            return ((ACK, label, None, -1, None, message_id, None),)
        if response.status >= 500:
            raise FlowError("send", "200", response)
        wait_ms = (_table(response.body) or {}).get("retry_after_ms")
        wait_s = wait_ms / 1000 if isinstance(wait_ms, int | float) else None
        return ((NACK, label, None, -1, None, message_id, (response.status, wait_s)),)

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Implement `Target.history`: read all pages, oldest first. Raises FlowError."""
        rows: list[StoredRow] = []
        query: dict[str, object] = {"dir": "f", "limit": 500, "filter": '{"types":["m.room.message"]}'}
        for _ in range(bounds().history_pages):
            path = f"{API}/rooms/{quote(self.room_of.get(room.label, room.label))}/messages?{urlencode(query)}"
            response = yield from self._ask("GET", path, "history", me=credentials)
            answer = _table(response.body)
            if response.status != 200 or answer is None:
                raise FlowError("history", "a page of messages", response)
            chunk, end = answer.get("chunk"), _text(answer.get("end"))
            rows += [row for row in map(_row, chunk if isinstance(chunk, list) else ()) if row is not None]
            if not end or len(rows) > bounds().history_rows:
                break
            query["from"] = end
        if end:
            raise Unbounded("history", "a history within [bounds]", detail="a longer one")
        return rows

    def dialogue(
        self, credentials: Credentials, rooms: Sequence[Room], resume: Mapping[str, int] | None = None,
        previous: Dialogue | None = None,
    ) -> Sync:  # fmt: skip
        """Implement `Target.dialogue`: continue behind the last answer of the dialogue before."""
        since = previous.since if isinstance(previous, Sync) and resume is not None else ""
        return Sync(self, credentials, rooms, since, back=resume is not None)


def _row(event: object) -> StoredRow | None:
    """Return an event as a row if it is a text message."""
    if not isinstance(event, dict) or event.get("type") != "m.room.message":
        return None
    text, sender = _inner(event, "content").get("body"), _text(event.get("sender")) or None
    number = _text(_inner(event, "unsigned").get("transaction_id")) or None
    return StoredRow(text=text, sender=sender, message_id=number) if isinstance(text, str) else None


def _table(data: str | bytes) -> dict[str, object] | None:
    """Return a JSON object, None if `data` is none."""
    try:
        value = orjson.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _inner(table: object, key: str) -> dict[str, object]:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def open_dialect(settings: Settings) -> Matrix:
    """Return the dialect for a target file."""
    return Matrix(settings)
