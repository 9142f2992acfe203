"""Dialect of the reference platform (docs/architecture.md, "The reference platform's API")."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any, Literal, get_args
from urllib.parse import urlencode, urlsplit, urlunsplit

import jwt
import orjson

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import Place
from earwitness.harness.client.dialogue import Dialogue, PlainDialogue
from earwitness.harness.client.envelope import Envelope, Put, Quoted, Rare, Values
from earwitness.harness.client.events import (
    ACK,
    AGENT,
    EDITED,
    JOINED,
    LEFT,
    MARKED,
    MESSAGE,
    NACK,
    OTHER,
    PRESENCE,
    PROFILE,
    WELCOME,
    Handshake,
    Heard,
)
from earwitness.harness.client.flow import Browser, Flow, FlowError, HttpRequest, HttpResponse
from earwitness.harness.client.frame_cache import hearing
from earwitness.harness.client.network import Network, hosts_of
from earwitness.harness.described import whole_number
from earwitness.harness.dialects.protocol import Address, Credentials, DatabaseQuery, Parts, Person, Room, Statement
from earwitness.harness.dialects.reference.accounts import ReferenceAccounts
from earwitness.harness.dialects.reference.entrance import ReferenceEntrance
from earwitness.harness.dialects.reference.rooms import SEQ_LIMIT, ReferenceRooms, answer_object, bearer, seq_of
from earwitness.harness.dialects.reference.sharing import ReferenceSharing, greeted_marks, hear_sharing
from earwitness.harness.dialects.reference.tokens import ReferenceTokens
from earwitness.harness.errors import SettingsError

Presentation = Literal["header", "subprotocol", "query", "ticket"]
AUDIENCE = "earwitness-chat"
SUBPROTOCOL = "earwitness.v1"
AGENTS = ("agent",)
"""Sender ids of the platform's own agents."""

_ROOM = {"room": "conversation"}
_SEND = (
    '{"type":"send","conversation":', (Put.LABEL, Quoted.JSON), ',"id":', (Put.ID, Quoted.JSON), ',"text":',
    (Put.TEXT, Quoted.JSON),
)  # fmt: skip
ENVELOPE = Envelope(
    kind="type",
    message=Values(kinds=("message",), room="conversation", text="text", seq="seq", sender="sender", id="id"),
    ack=Values(kinds=("ack",), room="conversation", seq="seq", id="id"),
    rare=(
        Rare(NACK, "nack", {"id": "id", "code": "code", "retry": "retry_after", "unless": "of"}),
        Rare(
            WELCOME,
            "welcome",
            {name: name for name in ("user", "replica", "conversations", "read", "resume")},
        ),
        Rare(JOINED, "joined", {**_ROOM, "head": "head", "complete": "complete"}),
        Rare(LEFT, "left", _ROOM),
        Rare(AGENT, "agent", {**_ROOM, "text": "text", "run": "run", "event": "event", "number": "n"}),
        Rare(MARKED, "read", {**_ROOM, "seq": "seq"}),
        Rare(EDITED, "edited", {**_ROOM, "seq": "seq", "text": "text", "number": "n", "version": "version"}),
        Rare(PRESENCE, "presence", {**_ROOM, "users": "users"}),
        Rare(PROFILE, "user", {"user": "user.id", "email": "user.email", "name": "user.name"}),
    ),
    send=(*_SEND, "}"),
    ask=(*_SEND, ',"ask":true}'),
    before="#",
)
"""Usual frames, as `ReferenceTarget.hear`, `encode` and `question` have them."""

_loads = orjson.loads
_dumps = orjson.dumps


def reference_contract(**changes: object) -> Contract:
    """Return the contract of the reference platform. `changes` replace single promises, such as a rate.

    Raises ContractError for changes that no contract can have.
    """
    text = files("earwitness.harness.dialects.reference").joinpath("contract.toml").read_text("utf-8")
    return Contract.from_dict({**tomllib.loads(text), **changes})


class ReferenceTarget(ReferenceRooms, ReferenceEntrance):
    """The reference platform behind the endpoints that `earwitness up --json` prints.

    endpoints  "edge", "auth" and "frontend" are base URLs; "auth_dsn" and "main_dsn", if given, are those of databases.
    via        how a socket presents its token. With "ticket" every handshake needs fresh credentials:
               `credentials = yield from target.ticket(credentials)`.
    audience   expected `aud` of access tokens; None: only its presence is checked.
    promises   promises that replace those of the same name in contract.toml in this folder.
    """

    name = "reference"
    allow_load = True
    says_joined = True
    logins: int | None = None
    addresses: tuple[Address, ...] = ()
    stated: frozenset[str] = frozenset()
    max_users: int | None = None

    def __init__(
        self,
        endpoints: Mapping[str, object],
        *,
        via: Presentation = "header",
        audience: str | None = AUDIENCE,
        promises: Mapping[str, object] | None = None,
    ) -> None:
        """Check the endpoints and derive all addresses; nothing is opened.

        Raises SettingsError with every mistake at once.
        """
        faults = [f"endpoint {key!r} is missing" for key in ("edge", "auth", "frontend") if not endpoints.get(key)]
        if via not in get_args(Presentation):
            faults.append(f"via = {via!r}: choose one of {', '.join(get_args(Presentation))}")
        if faults:
            raise SettingsError("reference target", faults)
        self.endpoints = dict(endpoints)
        self.via: Presentation = via
        self.audience = audience
        self.network = Network(hosts=hosts_of(text for text in endpoints.values() if isinstance(text, str)))
        self.contract = reference_contract(**(promises or {}))
        self._edge = str(endpoints["edge"]).rstrip("/")
        self._auth = str(endpoints["auth"]).rstrip("/")
        self._frontend = str(endpoints["frontend"]).rstrip("/")
        edge = urlsplit(self._edge)
        self._ws = urlunsplit(("wss" if edge.scheme == "https" else "ws", edge.netloc, edge.path + "/ws", "", ""))
        self._json_labels: dict[str, str] = {}
        self._hear: Callable[[str | bytes], Sequence[Heard]] = self.hear
        self.parts = Parts(
            tokens=ReferenceTokens(self),
            accounts=ReferenceAccounts(self._auth, self._edge),
            sharing=ReferenceSharing(self._edge, self.conversation_url),
            entrance=self,
            reads_history_after=self,
            removes_members=self,
            asks_agents=self,
            shares_frames=self,
            posts_beside=self,
            agents=AGENTS,
            ids_by_sender=True,
            databases=_databases(endpoints),
        )

    # -- HTTP ---------------------------------------------------------------------------------------------------

    def reachable(self) -> Flow[None]:
        """Implement `Target.reachable`: ask the edge and auth.

        The edge must refuse a request without token with 401, and auth must publish its keys.
        """
        step = "asking the edge who we are, without a token"
        response = yield HttpRequest("GET", f"{self._edge}/api/me", name="reachable: edge")
        if response.status != 401:
            raise FlowError(step, "401", response)
        step = "reading auth's keys"
        response = yield HttpRequest("GET", f"{self._auth}/.well-known/jwks.json", name="reachable: auth")
        if not answer_object(step, response).get("keys"):
            raise FlowError(step, "at least one key", response)

    def login(self, person: Person) -> Flow[Credentials]:
        """Implement `Target.login`: log in at the provider by authorization code with PKCE; read the callback's JSON.

        The requests are those of a browser (RFC 6749 §4.1, RFC 7636). Raises FlowError.
        """
        browser = Browser()
        query = urlencode({"login_hint": person.email})
        response = yield from browser.follow(f"{self._auth}/auth/google?{query}", name="login")
        credentials = self.credentials("login", person, response)
        if self.via == "ticket":
            credentials = yield from self.ticket(credentials)
        return credentials

    def refresh(self, credentials: Credentials) -> Flow[Credentials]:
        """Return credentials with new access and refresh tokens; the old refresh token is used up.

        Raises FlowError for a refusal.
        """
        body = _dumps({"refresh_token": credentials.extra["refresh_token"]})
        headers = {"content-type": "application/json"}
        response = yield HttpRequest("POST", f"{self._auth}/auth/refresh", headers, body, "refresh")
        return self.credentials("refresh", credentials.person, response)

    def ticket(self, credentials: Credentials) -> Flow[Credentials]:
        """Return the same credentials with a single-use ticket in `extra["ticket"]`, for one handshake.

        Raises FlowError for a refusal.
        """
        response = yield HttpRequest("POST", f"{self._auth}/auth/ticket", bearer(credentials), b"", "ticket")
        ticket = answer_object("ticket", response).get("ticket")
        if not isinstance(ticket, str) or not ticket:
            raise FlowError("ticket", "a ticket", response)
        return replace(credentials, extra={**credentials.extra, "ticket": ticket})

    def identity(self, credentials: Credentials) -> Flow[Sequence[Statement]]:
        """Implement `Target.identity`: ask auth, the backend through the edge, and the backend through the frontend."""
        statements = []
        for place, url, name in (
            (Place.AUTH, f"{self._auth}/auth/me", "identity: auth"),
            (Place.BACKEND, f"{self._edge}/api/me", "identity: backend"),
            (Place.FRONTEND, f"{self._frontend}/api/me", "identity: frontend"),
        ):
            response = yield HttpRequest("GET", url, bearer(credentials), b"", name)
            profile = answer_object(name, response)
            user = profile.get("user", profile)
            user_id = user.get("id") if isinstance(user, dict) else None
            statements.append(Statement(place=int(place), user_id=str(user_id) if user_id is not None else None))
        return statements

    def open_room(self, credentials: Credentials, room: Room) -> Flow[None]:
        """Implement `Target.open_room`: PUT the conversation with its members; repeating it changes nothing."""
        body = _dumps({"members": [member.email for member in room.members], "title": room.label})
        headers = {**bearer(credentials), "content-type": "application/json"}
        response = yield HttpRequest("PUT", self.conversation_url(room), headers, body, "open room")
        if response.status not in (200, 201):
            raise FlowError(f"opening room {room.label}", "200 or 201", response)

    def probe(self, credentials: Credentials) -> Flow[int]:
        """Implement `Target.probe`: GET /api/me at the edge."""
        response = yield HttpRequest("GET", f"{self._edge}/api/me", bearer(credentials), b"", "probe")
        return response.status

    # -- the socket ---------------------------------------------------------------------------------------------

    def share_frames(self, rooms: Collection[str]) -> None:
        """Implement `SharesFrames.share_frames`: decode frames through a cache from now on."""
        self._hear = hearing(self.hear, rooms)

    def dialogue(
        self,
        credentials: Credentials,
        rooms: Sequence[Room] = (),
        resume: Mapping[str, int] | None = None,
        previous: Dialogue | None = None,
    ) -> Dialogue:
        """Implement `Target.dialogue`: present the token, or the ticket in `extra`, as `via` says.

        The server subscribes a member to all of its conversations by itself.
        """
        secret = str(credentials.extra["ticket"]) if self.via == "ticket" else credentials.token
        return self.open_with(secret, self.via, resume)

    def open_with(self, secret: str, via: Presentation, resume: Mapping[str, int] | None = None) -> Dialogue:
        """Return the dialogue of a socket that presents `secret`: a token or, via "ticket", a ticket.

        `resume`: the last sequence number received, by room label, which the first frame states; None: a new session.
        """
        query: dict[str, str] = {}
        headers: dict[str, str] = {}
        subprotocols: tuple[str, ...] = ()
        if via == "header":
            headers = {"authorization": f"Bearer {secret}"}
        elif via == "subprotocol":
            subprotocols = (SUBPROTOCOL, f"bearer.{secret}")
        else:
            query["token" if via == "query" else "ticket"] = secret
        first: tuple[str, ...] = ()
        if resume is not None:
            query["resume"] = "1"
            first = (_dumps({"type": "resume", "from": dict(resume)}).decode(),)
        handshake = Handshake(
            url=f"{self._ws}?{urlencode(query)}" if query else self._ws,
            headers=headers,
            subprotocols=subprotocols,
            network=self.network,
        )
        return PlainDialogue(handshake, self._hear, self.encode, first, ENVELOPE)

    def encode(self, label: str, message_id: str, text: str) -> str:
        """Return the frame of type `send` for a message, as `Dialogue.send` does."""
        label_json = self._json_labels.get(label)
        if label_json is None:
            label_json = self._json_labels[label] = _dumps(label).decode()
        quoted = _dumps(text).decode()
        return f'{{"type":"send","conversation":{label_json},"id":{_dumps(message_id).decode()},"text":{quoted}}}'

    def question(self, dialogue: Dialogue, label: str, message_id: str, text: str) -> str:
        """Implement `AsksAgents.question`: return a frame of type `send` with `"ask": true`."""
        return f'{self.encode(label, message_id, text)[:-1]},"ask":true}}'

    def hear(self, data: str | bytes) -> Sequence[Heard]:
        """Return the events of one JSON frame, OTHER if it is not understood. Dialogues call this for each frame."""
        try:
            frame = _loads(data)
            if frame["type"] == "message":
                seq, text, label, sender = frame["seq"], frame["text"], frame["conversation"], frame["sender"]
                # exact types and range: what passes here is written into fixed-width records without another check
                if type(seq) is int and -1 < seq < SEQ_LIMIT and type(text) is type(label) is type(sender) is str:
                    return ((MESSAGE, label, text, seq, sender, frame.get("id"), None),)
            return _hear_rare(frame)
        except (KeyError, TypeError, ValueError, AttributeError):
            return ((OTHER, None, None, -1, None, None, "a frame that could not be understood"),)

    # -- helpers ------------------------------------------------------------------------------------------------

    def credentials(self, step: str, person: Person, response: HttpResponse) -> Credentials:
        """Return the credentials in the answer to a login or a refresh.

        `step`: "login" if the user must be `person`; after any other step the token may name another user, because the
        judge decides about that. Raises FlowError if the answer has no JWT, or one with wrong claims.
        """
        answer = answer_object(step, response)
        token = answer.get("access_token")
        try:
            # Our own token: decoded, not verified; the platform's services verify its signature.
            claims = jwt.decode(str(token), options={"verify_signature": False})
        except jwt.InvalidTokenError as error:
            raise FlowError(step, "a JWT as access_token", detail=f"an answer with {', '.join(answer)}") from error
        user = answer.get("user") or {}
        # A refresh accepts any user in the token: the judge decides whether it is the right one.
        named, asked = {"id": claims.get("sub"), "email": claims.get("email")}, {**user, "email": person.email}
        faults = self._claim_faults(claims, asked if step == "login" else named)
        if faults:
            raise FlowError(step, "a token that fits the person who logged in", detail="; ".join(faults))
        return Credentials(
            person=person,
            user_id=str(claims["sub"]),
            token=str(token),
            expires_at=float(claims["exp"]),
            extra={"refresh_token": answer.get("refresh_token"), "claims": claims},
        )

    def _claim_faults(self, claims: Mapping[str, object], user: Mapping[str, object]) -> list[str]:
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        checks = {
            f"sub {claims.get('sub')!r} is not the user's id {user.get('id')!r}": claims.get("sub")
            and claims["sub"] == user.get("id"),
            f"iss {claims.get('iss')!r} is not {self._auth!r}": str(claims.get("iss")).rstrip("/") == self._auth,
            f"aud {audience!r} is not {self.audience or 'there'!r}": (
                self.audience in audiences if self.audience else bool(audience)
            ),
            f"email {claims.get('email')!r} is not {user.get('email')!r}": claims.get("email") == user.get("email"),
            f"exp {claims.get('exp')!r} is no time": isinstance(claims.get("exp"), (int, float)),
        }
        return [fault for fault, holds in checks.items() if not holds]


def _databases(endpoints: Mapping[str, object]) -> dict[Place, DatabaseQuery]:
    return {
        place: DatabaseQuery(
            dsn=str(endpoints[key]),
            query=f"select id::text as id, email, name, is_active from {table} where email like $1",
        )
        for place, key, table in (
            (Place.AUTH_DATABASE, "auth_dsn", "auth_users"),
            (Place.MAIN_DATABASE, "main_dsn", "userbase"),
        )
        if endpoints.get(key)
    }


def _text_or_none(frame: Mapping[str, Any], name: str) -> str | None:
    """Return the text under `name` of a frame, None if it is missing. Raises TypeError for a value that is no text."""
    value = frame.get(name)
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _hear_rare(frame: Mapping[str, Any]) -> Sequence[Heard]:
    """Return the events of a frame that is not a message.

    Raises KeyError, TypeError or ValueError if the frame is not understood.
    """
    kind = frame["type"]
    if kind == "ack":
        return ((ACK, str(frame["conversation"]), None, seq_of(frame["seq"]), None, str(frame["id"]), None),)
    if kind == "nack" and frame.get("of") is not None:
        return ()  # it refuses a frame that is no message, and says nothing of the messages that wait for answers
    if kind == "nack":
        retry_after = frame.get("retry_after")
        answer = (int(frame["code"]), None if retry_after is None else float(retry_after))
        message_id = frame["id"]
        return (
            (
                NACK,
                _text_or_none(frame, "conversation"),
                None,
                -1,
                None,
                None if message_id is None else str(message_id),
                answer,
            ),
        )
    if kind == "welcome":
        who = {**{key: frame.get(key) for key in ("user", "replica", "session")}, **greeted_marks(frame)}
        heard: list[Heard] = [(WELCOME, None, None, -1, str(frame["user"]), None, who)]
        if not frame.get("resume"):
            heard += [
                (JOINED, str(c), None, seq_of(head), None, None, None) for c, head in frame["conversations"].items()
            ]
        return tuple(heard)
    if kind == "joined":
        complete = frame.get("complete")
        complete = complete if isinstance(complete, bool) else None
        return ((JOINED, str(frame["conversation"]), None, seq_of(frame["head"]), None, None, complete),)
    if kind == "left":
        return ((LEFT, str(frame["conversation"]), None, -1, None, None, None),)
    if kind == "agent":
        event = (str(frame["run"]), str(frame["event"]), int(frame.get("n") or 0))
        # A run's id ends with the number of its question.
        question = whole_number(event[0].rpartition("#")[2], (1 << 53) - 1)
        number = -1 if question is None else question
        return ((AGENT, str(frame["conversation"]), _text_or_none(frame, "text"), number, None, None, event),)
    if kind == "message":
        raise ValueError("a message with wrong types")
    return hear_sharing(frame)
