"""Declarative dialect: a platform described by a target.toml alone (docs/guide/targets.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson

from earwitness.harness.client.dialogue import Dialogue, ManyDialogues, PlainDialogue
from earwitness.harness.client.envelope import Put, SentPiece
from earwitness.harness.client.events import ACK, NACK, Handshake, Heard
from earwitness.harness.client.flow import Flow, FlowError, HttpRequest, hiding
from earwitness.harness.client.frame_cache import hearing
from earwitness.harness.client.wires import NoSocket
from earwitness.harness.dialects.protocol import Credentials, Parts, Person, Room, Statement, StoredRow
from earwitness.harness.dialects.toml.description import Description
from earwitness.harness.dialects.toml.dialogue import GreetedDialogue, Script, ScriptedDialogue
from earwitness.harness.dialects.toml.exchange import BY_FRAME, COUNTED
from earwitness.harness.dialects.toml.frames import ANSWERS, BY_ID, BY_NUMBER, envelope_of, listener, piece_reader
from earwitness.harness.dialects.toml.logins import shape
from earwitness.harness.dialects.toml.paths import text_or_none
from earwitness.harness.dialects.toml.requests import RequestTemplate, address
from earwitness.harness.dialects.toml.sections import SEND, Presentation, people_of
from earwitness.harness.dialects.toml.template import Template

WAIT = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
"""Form of a `Retry-After` in seconds."""


class GenericTarget:
    """Target that a target file describes: JSON frames on a WebSocket, or requests to send and a WebSocket to receive.

    says_joined    the platform says when a room is subscribed; if not, it is unknown which deliveries a user should get
    logins         how many people the file can log in; None: any number
    frame_rules    how frames are read
    history_paths  the parts of a history row that the file gives paths for
    addresses      every address that a run could use
    """

    def __init__(self, description: Description) -> None:
        """Derive the parts of the target from what the file describes; nothing is opened."""
        self._d = description
        self.name = description.name
        self.contract = description.contract
        self.bounds = description.bounds
        if description.rooms.existing and self.contract.sequence == "contiguous":
            # Messages of others take numbers there too, and are not recorded: a gap is no fault of the platform.
            self.contract = replace(self.contract, sequence="increasing")
        self.allow_load = description.allow_load
        self.max_users = description.max_users
        self.says_joined = (
            description.frames.joins or description.exchange.joined != BY_FRAME or _joins_by_number(description)
        )
        self.network = description.network
        self.addresses = description.addresses
        self.stated = description.stated
        self._accounts = people_of(description.accounts)
        self.logins = min((most for most in (len(self._accounts), description.login.most) if most), default=None)
        self._room_of: dict[str, str] = {}
        self._label_of: dict[str, str] = {}
        self.frame_rules = description.frames
        self.history_paths = frozenset(description.history.at if description.history else ())
        self._hear = listener(description.frames, self._label_of)
        self._read_piece = piece_reader(description.frames, self._label_of)
        self._scripted = _has_state(description)
        self._envelope = envelope_of(description.frames, self._label_of, _sent(description))
        self.parts = Parts(
            sends_by_http=self if description.send.request is not None else None,
            has_rooms=self if description.rooms.existing else None,
            shares_frames=self,
            names_rooms=description.rooms.room_id is not None,
            people=self._accounts,
            databases=description.databases,
            faults=description.faults,
            unjudged=description.unjudged,
            history_limits=description.history.limits if description.history else frozenset(),
        )

    # -- existing rooms -------------------------------------------------------------------------------------------

    def existing_rooms(self, people: Sequence[Person]) -> tuple[Room, ...]:
        """Implement `HasRooms.existing_rooms`: return the rooms that the file lists.

        The result is () if the file lists none, because then a run creates its rooms.
        """
        by_number = {person.number: person for person in people}
        rooms = []
        for number, room in enumerate(self._d.rooms.existing):
            members = tuple(by_number) if room.members is None else room.members
            inside = tuple(by_number[n] for n in members if n in by_number)
            rooms.append(Room(number=number, label=room.label, members=inside))
        return tuple(rooms)

    def platform_room(self, label: str) -> str:
        """Return the platform's own name of the planned room `label`, or `label` itself if none is known."""
        return self._room_of.get(label, label)

    # -- HTTP ---------------------------------------------------------------------------------------------------

    def reachable(self) -> Flow[None]:
        """Implement `Target.reachable`: send one request and raise FlowError if the answer is a server error.

        It requests the address of `[probe]` if that has no placeholders, else the base address. No-op without an HTTP
        address.
        """
        if not self._d.http:
            return
        url = self._d.http
        if self._d.probe is not None and not self._d.probe.url.names:
            url = address(self._d.http, self._d.probe.url.render({}))
        response = yield HttpRequest("GET", url, name="reachable")
        if response.status >= 500:
            raise FlowError(f"asking {self.name} whether it responds", "no server error", response)

    def login(self, person: Person) -> Flow[Credentials]:
        """Implement `Target.login` by the table [login].

        Raises FlowError, which shows none of the person's secrets, also if there is no account for the person.
        """
        if self._accounts and person.number >= len(self._accounts):
            known = f"the file of accounts has {len(self._accounts)}"
            raise FlowError("login", f"an account for user {person.number}", detail=known)
        if self._accounts:  # the plan of a run is written to a file, so it has no secrets of accounts
            person = self._accounts[person.number]
        values = self._person(person)
        credentials = yield from hiding(self._d.login.flow(person, values, self._d.http), [str(values["secret"])])
        return credentials

    def identity(self, credentials: Credentials) -> Flow[Sequence[Statement]]:
        """Implement `Target.identity`: ask every place in the table [identity]."""
        statements = []
        for place, request, path in self._d.identity:
            answer = yield from self._ask(request, credentials, {})
            statements.append(Statement(place=int(place), user_id=text_or_none(path(answer)), shape=shape(answer)))
        return statements

    def open_room(self, credentials: Credentials, room: Room) -> Flow[None]:
        """Implement `Target.open_room`: send the requests of `rooms.requests`.

        If `rooms.room_id` is given, the platform's name of the room is read from the answer to the first request and
        used from then on.
        """
        values = self._room_values(room)
        for k, request in enumerate(self._d.rooms.requests):
            for member in room.members if request.each_member else (None,):
                answer = yield from self._ask(request, credentials, values | self._member(member))
                if k == 0 and self._d.rooms.room_id is not None:
                    room_id = text_or_none(self._d.rooms.room_id(answer))
                    if room_id is None:
                        raise FlowError("open room", "the room's id (rooms.room_id)", detail=shape(answer))
                    self._room_of[room.label], self._label_of[room_id] = room_id, room.label
                    values["room"] = room_id

    def probe(self, credentials: Credentials) -> Flow[int]:
        """Implement `Target.probe`: send the request `[probe]` and return its status.

        Without `[probe]` it requests the base address. Which page answers 200 is not known, so any answer below 500
        counts as 200.
        """
        headers = self._shown(credentials, self._d.to_http)
        if self._d.probe is None:
            response = yield HttpRequest("GET", self._d.http, headers, b"", "probe")
            return response.status if response.status >= 500 else 200
        response = yield self._d.probe.fill(self._d.http, self._logged_in(credentials), headers)
        return response.status

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Implement `Target.history` by the table [history]. Raises FlowError, also if the file has no such table."""
        rules = self._d.history
        if rules is None:
            raise FlowError("history", "a [history] table in the target file", detail="none")
        headers = self._shown(credentials, self._d.to_http)
        values = self._logged_in(credentials) | self._room_values(room)

        def ask(page: Mapping[str, object]) -> HttpRequest:
            return rules.request.fill(self._d.http, {**values, **page}, headers)

        rows = yield from hiding(rules.read(ask), credentials.secrets())
        return [
            row
            if row.conversation is None
            else StoredRow(
                text=row.text,
                seq=row.seq,
                sender=row.sender,
                message_id=row.message_id,
                conversation=self._label_of.get(row.conversation, row.conversation),
            )
            for row in rows
        ]

    def post(self, credentials: Credentials, label: str, message_id: str, text: str) -> Flow[Sequence[Heard]]:
        """Implement `SendsByHttp.post` by the table [send.request].

        An accepted status is ACK, any other below 500 is NACK. A status of 500 or more raises FlowError, because it is
        unknown whether the message was accepted.
        """
        request, room = self._d.send.request, self._room_of.get(label, label)
        if request is None:
            raise FlowError("send", "a [send.request] table in the target file", detail="none")
        values = self._logged_in(credentials) | {"label": label, "room": room, "id": message_id, "text": text}
        response = yield request.fill(self._d.http, values, self._shown(credentials, self._d.to_http))
        if response.status in request.accept:
            seq = self._d.send.seq(_json(response.body)) if self._d.send.seq else None
            number = seq if type(seq) is int and -1 < seq < 1 << 62 else -1
            return ((ACK, label, None, number, None, message_id, None),)
        if response.status >= 500:
            error = FlowError("send", " or ".join(map(str, request.accept)), response)
            error.hide(credentials.secrets())
            raise error
        retry = response.headers.get("retry-after", "")
        wait_s = float(retry) if WAIT.fullmatch(retry) else None
        return ((NACK, label, None, -1, None, message_id, (response.status, wait_s)),)

    # -- the socket ---------------------------------------------------------------------------------------------

    def share_frames(self, rooms: Collection[str]) -> None:
        """Implement `SharesFrames.share_frames`: decode frames through a cache from now on."""
        self._hear = hearing(self._hear, rooms)

    def dialogue(
        self,
        credentials: Credentials,
        rooms: Sequence[Room],
        resume: Mapping[str, int] | None = None,
        previous: Dialogue | None = None,
    ) -> Dialogue:
        """Implement `Target.dialogue`: apply the tables [socket], [resume] and [rooms]. `previous` is not used."""
        values = self._logged_in(credentials)
        if self._scripted:
            return self._scripted_dialogue(credentials, values, rooms, resume)
        first = [template.render(values) for template in self._d.to_socket.first]
        first += [template.render({**values, **more}) for template, more in self._resume_frames(resume)]
        join = [template.render({**values, **more}) for template, more in self._join_frames(rooms)]
        handshake = self._handshake(credentials, values, resumed=resume is not None)
        if join and handshake.welcome:
            return GreetedDialogue(handshake, self._hear, self._frame(), first, join, self._envelope)
        return PlainDialogue(handshake, self._hear, self._frame(), [*first, *join], self._envelope)

    def _scripted_dialogue(
        self,
        credentials: Credentials,
        values: Mapping[str, object],
        rooms: Sequence[Room],
        resume: Mapping[str, int] | None,
    ) -> Dialogue:
        """Return a dialogue with state, or one for each room if the address of a socket names the room."""
        script = self._script()
        if not self._d.exchange.by_room:
            return self._on_one_socket(script, credentials, values, rooms, resume)
        if not rooms:
            return PlainDialogue(NoSocket(network=self.network), self._hear, self._frame())
        sockets = {}
        for room in rooms:
            of_room = {**values, "label": room.label, "room": self.platform_room(room.label)}
            after = None if resume is None else {room.label: resume[room.label]} if room.label in resume else {}
            sockets[room.label] = self._on_one_socket(script, credentials, of_room, [room], after)
        return ManyDialogues(sockets)

    def _on_one_socket(
        self,
        script: Script,
        credentials: Credentials,
        values: Mapping[str, object],
        rooms: Sequence[Room],
        resume: Mapping[str, int] | None,
    ) -> ScriptedDialogue:
        nothing: dict[str, object] = {}
        return ScriptedDialogue(
            self._handshake(credentials, values, resumed=resume is not None),
            script,
            values,
            first=[*((template, nothing) for template in self._d.to_socket.first), *self._resume_frames(resume)],
            join=self._join_frames(rooms),
            rooms=[(room.label, self.platform_room(room.label)) for room in rooms],
            secrets=credentials.secrets(),
        )

    def _script(self) -> Script:
        replies = self._d.exchange.replies
        return Script(
            rules=self._d.frames, exchange=self._d.exchange, hear=self._hear, read=self._read_piece,
            send=self._d.send.frame, envelope=self._envelope,
            exact={reply.to: reply for reply in replies if not reply.kinds},
            by_kind=tuple(reply for reply in replies if reply.kinds),
        )  # fmt: skip

    def _handshake(self, credentials: Credentials, values: Mapping[str, object], *, resumed: bool) -> Handshake:
        shown = self._d.to_socket
        query = {key: template.render(values) for key, template in shown.query.items()}
        if resumed and self._d.resume is not None:
            query |= {key: template.render(values) for key, template in self._d.resume.query.items()}
        parts = urlsplit(self._d.socket.render(values))
        whole = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *query.items()])
        return Handshake(
            url=urlunsplit((parts.scheme, parts.netloc, parts.path or "/", whole, "")),
            headers=self._shown(credentials, shown),
            subprotocols=tuple(template.render(values) for template in shown.subprotocols),
            network=self.network,
            welcome=self._d.frames.welcomes or bool(self._d.exchange.steps),
        )

    def _resume_frames(self, resume: Mapping[str, int] | None) -> list[tuple[Template, Mapping[str, object]]]:
        """Return the frames of [resume], each with its further placeholders."""
        rules = self._d.resume
        if rules is None or resume is None:
            return []
        seqs = {self.platform_room(label): seq for label, seq in resume.items()}
        if rules.together:
            return [(template, {"seqs": seqs}) for template in rules.frames]
        each = [{"label": self._label_of.get(room, room), "room": room, "seq": seqs[room]} for room in seqs]
        return [(template, room) for room in each for template in rules.frames]

    def _join_frames(self, rooms: Sequence[Room]) -> list[tuple[Template, Mapping[str, object]]]:
        """Return the frames of `rooms.join` for each room, with its placeholders."""
        return [
            (template, {"label": room.label, "room": self.platform_room(room.label)})
            for room in rooms
            for template in self._d.rooms.join
        ]

    def _frame(self) -> Callable[[str, str, str], str]:
        """Return the function that fills in the template `send.frame`; it raises ValueError if messages go by HTTP."""
        frame, room_of = self._d.send.frame, self._room_of

        def send(label: str, message_id: str, text: str) -> str:
            if frame is None:
                raise ValueError("this platform is spoken to by HTTP: use post")
            return frame.render({"label": label, "room": room_of.get(label, label), "id": message_id, "text": text})

        return send

    # -- helpers ------------------------------------------------------------------------------------------------

    def _ask(self, request: RequestTemplate, credentials: Credentials, values: Mapping[str, object]) -> Flow[object]:
        """Send `request` and return the JSON value of its answer, None if the answer is no JSON.

        Raises FlowError for a status that is not accepted.
        """
        headers = self._shown(credentials, self._d.to_http)
        response = yield request.fill(self._d.http, {**self._logged_in(credentials), **values}, headers)
        if response.status not in request.accept:
            error = FlowError(request.name, " or ".join(map(str, request.accept)), response)
            error.hide(credentials.secrets())
            raise error
        return _json(response.body)

    def _shown(self, credentials: Credentials, shown: Presentation) -> dict[str, str]:
        values = self._logged_in(credentials)
        headers = {key: template.render(values) for key, template in shown.headers.items()}
        if shown.cookies:
            pairs = (f"{key}={template.render(values)}" for key, template in shown.cookies.items())
            headers["cookie"] = "; ".join(pairs)
        return headers

    def _person(self, person: Person) -> dict[str, object]:
        """Return the placeholders of a person: those of the account with the person's number, if there are accounts."""
        known = self._accounts[person.number] if person.number < len(self._accounts) else person
        return {"number": person.number, "name": known.name, "email": known.email, "secret": known.secret}

    def _logged_in(self, credentials: Credentials) -> dict[str, object]:
        return self._person(credentials.person) | {"token": credentials.token, "user_id": credentials.user_id}

    def _member(self, member: Person | None) -> dict[str, object]:
        values = {} if member is None else self._person(member)
        return {f"member.{key}": values[key] for key in ("number", "name", "email") if key in values}

    def _room_values(self, room: Room) -> dict[str, object]:
        members = [self._person(member) for member in room.members]
        return {
            "label": room.label,
            "room": self._room_of.get(room.label, room.label),
            **{f"members.{key}": [member[key] for member in members] for key in ("number", "name", "email")},
        }


def _has_state(description: Description) -> bool:
    """Return whether a socket needs a dialogue with state. Frames of a dialogue without state cost less CPU time."""
    frames = description.frames
    shown, joins, resume, send = description.to_socket, description.rooms.join, description.resume, description.send
    sent = [*shown.first, *joins, *(resume.frames if resume else ()), *([send.frame] if send.frame else [])]
    by_id = all(frames.by(name) == BY_ID for name in ANSWERS)
    of_user = send.frame is not None and not send.frame.names <= SEND
    counts = any(COUNTED in template.names for template in sent)
    return not description.exchange.plain or not by_id or of_user or counts


def _sent(description: Description) -> tuple[SentPiece, ...]:
    """Return the template `send.frame` as pieces for an envelope; () if an envelope cannot express it.

    That is so without a frame, with rules of an exchange, or with names of rooms that only the platform knows.
    """
    frame = description.send.frame
    if frame is None or not description.exchange.plain:
        return ()
    values = {"label": Put.LABEL, "id": Put.ID, "text": Put.TEXT}
    if description.rooms.room_id is None:
        values["room"] = Put.LABEL
    return frame.pieces(values)


def _joins_by_number(description: Description) -> bool:
    """Return whether the answer to a frame of `rooms.join` names it by its counted number."""
    counted = any(COUNTED in template.names for template in description.rooms.join)
    return counted and description.frames.by("ack") == BY_NUMBER


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except ValueError:
        return None
