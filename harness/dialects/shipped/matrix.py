"""Matrix, client-server API v3: idempotent requests send messages, long polls of /sync receive (`_matrix_sync`)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import quote, urlencode, urlsplit

import orjson

from earwitness import dialects as d
from earwitness.checks.history.record import Place
from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.flow import Unbounded
from earwitness.harness.dialects.shipped._matrix_rooms import enter
from earwitness.harness.dialects.shipped._matrix_sync import API, Sync, as_table, as_text, rows_of

PROMISES = {
    "acknowledges": True, "echo": True, "idempotent": True, "ordered": True, "total_order": True, "sequence": "none",
    "resume": True, "misses_nothing": True, "at_most_once": "device", "durable": True, "history": True,
    "delivers": True, "delivery_bound_s": 5.0,
}  # fmt: skip
ADMIN = "/_synapse/admin/v1"


class Matrix(d.BaseDialect):
    """Dialect of a Matrix homeserver. The names of rooms are aliases; the server gives them ids."""

    def __init__(self, settings: d.Settings) -> None:
        """Read the options: server, register, shared_secret, poll_s, page."""
        super().__init__(settings, d.Parts(sends_by_http=self, names_rooms=True), needs="http")
        own, self.http = settings.own, settings.http
        self.server = own.text("server", urlsplit(settings.http).hostname or "", example="chat.example")
        ways = ("open", "shared_secret", "no")
        self._registers = own.choice("register", ways, "no" if settings.people else "open")
        self._secret = own.secret("shared_secret", example="env:SHARED_SECRET") if self._registers == ways[1] else ""
        self.wait_s = own.number("poll_s", 25.0, example="25.0") or 0.0
        self._registered: set[str] = set()
        self.page = own.whole("page", 100, example="100", least=1) or 1
        self.room_of: dict[str, str] = {}
        self.label_of: dict[str, str] = {}

    def headers(self, me: d.Credentials) -> dict[str, str]:
        """Return the headers that authenticate a user."""
        return {"authorization": f"Bearer {me.token}"}

    def _ask(
        self, method: str, path: str, name: str, body: object = None, me: d.Credentials | None = None
    ) -> d.Flow[d.HttpResponse]:
        data = b"" if body is None else orjson.dumps(body)
        headers = {"content-type": "application/json"} | (self.headers(me) if me else {})
        return (yield d.HttpRequest(method, f"{self.http}{path}", headers, data, name))

    def reachable(self) -> d.Flow[None]:
        """Implement `Target.reachable`: ask for the versions of the API."""
        response = yield from self._ask("GET", "/_matrix/client/versions", "versions")
        if response.status != 200 or "versions" not in (as_table(response.body) or {}):
            raise d.FlowError("asking for the versions of the API", "a list of versions", response)

    def login(self, person: d.Person) -> d.Flow[d.Credentials]:
        """Implement `Target.login`: register the user, or log in if the account exists already."""
        known = self.account(person)
        name = (known.name if self.settings.people else known.email.partition("@")[0]).lower()
        response = None
        if self._registers != "no" and name not in self._registered:
            response = yield from self._register(name, known.secret)
            self._registered.add(name)
        if response is None or (as_table(response.body) or {}).get("errcode") == "M_USER_IN_USE":
            who = {"type": "m.id.user", "user": name}
            body = {"type": "m.login.password", "identifier": who, "password": known.secret}
            response = yield from self._ask("POST", f"{API}/login", "login", body)
        answer = as_table(response.body) or {}
        user, token = as_text(answer.get("user_id")), as_text(answer.get("access_token"))
        if response.status != 200 or not user or not token:
            raise d.FlowError("login", "an access token", response)
        return d.Credentials(person=known, user_id=user, token=token)

    def _register(self, name: str, secret: str) -> d.Flow[d.HttpResponse]:
        body: dict[str, object] = {"username": name, "password": secret}
        if self._registers == "open":
            body["auth"] = {"type": "m.login.dummy"}
            return (yield from self._ask("POST", f"{API}/register", "register", body))
        response = yield from self._ask("GET", f"{ADMIN}/register", "nonce")
        nonce = as_text((as_table(response.body) or {}).get("nonce"))
        text = "\0".join((nonce, name, secret, "notadmin")).encode()
        mac = hmac.new(self._secret.encode(), text, hashlib.sha1).hexdigest()
        body |= {"nonce": nonce, "mac": mac, "admin": False}
        return (yield from self._ask("POST", f"{ADMIN}/register", "register", body))

    def identity(self, credentials: d.Credentials) -> d.Flow[Sequence[d.Statement]]:
        """Implement `Target.identity`: send GET /account/whoami."""
        response = yield from self._ask("GET", f"{API}/account/whoami", "whoami", me=credentials)
        user_id = as_text((as_table(response.body) or {}).get("user_id")) or None
        return [d.Statement(place=Place.BACKEND, user_id=user_id)]

    def probe(self, credentials: d.Credentials) -> d.Flow[int]:
        """Implement `Target.probe`: send GET /account/whoami, as `identity` does."""
        response = yield from self._ask("GET", f"{API}/account/whoami", "probe", me=credentials)
        return response.status

    def open_room(self, credentials: d.Credentials, room: d.Room) -> d.Flow[None]:
        """Implement `Target.open_room`: join the room by its alias; the first member makes it."""
        room_id = yield from enter(self._ask, room, f"#{room.label}:{self.server}", credentials)
        self.room_of[room.label], self.label_of[room_id] = room_id, room.label

    def post(self, credentials: d.Credentials, label: str, message_id: str, text: str) -> d.Flow[Sequence[d.Heard]]:
        """Implement `SendsByHttp.post`: PUT with the message's id as transaction id. Raises FlowError for 5xx."""
        room_id, body = self.room_of.get(label, label), {"msgtype": "m.text", "body": text}
        path = f"{API}/rooms/{quote(room_id)}/send/m.room.message/{quote(message_id, safe='')}"
        response = yield from self._ask("PUT", path, "send", body, credentials)
        ms = (as_table(response.body) or {}).get("retry_after_ms")
        return d.posted("send", response, label, message_id, ms / 1000 if isinstance(ms, int | float) else None)

    def history(self, credentials: d.Credentials, room: d.Room) -> d.Flow[list[d.StoredRow]]:
        """Implement `Target.history`: read all pages, oldest first.

        Raises FlowError if an answer is no page of messages, Unbounded if the history is longer than [bounds] allows.
        """
        rows: list[d.StoredRow] = []
        query: dict[str, object] = {"dir": "f", "limit": 500, "filter": '{"types":["m.room.message"]}'}
        for _ in range(bounds().history_pages):
            path = f"{API}/rooms/{quote(self.room_of.get(room.label, room.label))}/messages?{urlencode(query)}"
            response = yield from self._ask("GET", path, "history", me=credentials)
            answer = as_table(response.body)
            if response.status != 200 or answer is None:
                raise d.FlowError("history", "a page of messages", response)
            rows, end = rows + rows_of(answer.get("chunk")), as_text(answer.get("end"))
            if not end or len(rows) > bounds().history_rows:
                break
            query["from"] = end
        if end:
            raise Unbounded("history", "a history within [bounds]", detail="a longer one")
        return rows

    def converse(self, opening: d.Opening) -> Sync:
        """Implement `BaseDialect.converse`: continue after the last complete answer of `previous`, if it is resumed."""
        previous = opening.previous
        since = previous.since if isinstance(previous, Sync) and opening.back else ""
        return Sync(self, self.headers(opening.credentials), opening.rooms, since, back=opening.back)


open_dialect = Matrix
