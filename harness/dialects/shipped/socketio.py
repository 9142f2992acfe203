"""Socket.IO 4 and 5 (protocol 5 over Engine.IO 4), WebSocket transport, with and without connection state recovery.

docs/dialects/socketio.md describes the options. Recovery is used where [contract] promises `resume`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from earwitness.checks.declared import TABLE
from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.events import BEATS, WELCOME, Handshake, Heard
from earwitness.harness.client.wire import NO_CLOSE, Refused
from earwitness.harness.dialects.settings import Settings
from earwitness.harness.dialects.shipped._calls import CallingDialect, CallingDialogue, decoded, other, read_rules
from earwitness.harness.dialects.toml.requests import LOGGED_IN, checked
from earwitness.harness.dialects.values import Credentials, Opening, Room
from earwitness.harness.errors import Exceeded

# Order between two ends, at most once, no order among senders: https://socket.io/docs/v4/delivery-guarantees
PROMISES: Final[Mapping[str, object]] = {"total_order": False, "sequence": "none", "history": False, "durable": False}
# Kind, number of attachments, namespace, number of the answer, data.
PACKET = re.compile(r"([0-6])(?:[0-9]+-)?(?:(/[^,]*)(?:,|$))?([0-9]{0,15})(.*)", re.DOTALL)
CONNECT, DISCONNECT, EVENT, ANSWER, REFUSED = "01234"
NOWHERE: Final = "/earwitness-order"  # no server has it: its refusal comes after what was sent before was handled


class SocketIo(CallingDialect):
    """Dialect of an application on Socket.IO."""

    def __init__(self, settings: Settings) -> None:
        """Read the options; mistakes are collected in `settings.own`."""
        super().__init__(settings, read_rules(settings))
        own = settings.own
        self.namespace = own.text("namespace", "/", example="/chat")
        if not re.fullmatch(r"/[^,?\s]*", self.namespace) or self.namespace == NOWHERE:
            own.fault("namespace", "is no namespace", 'namespace = "/chat"')
        auth, example = own.value("auth", TABLE, example='{ token = "{token}" }'), 'auth = { token = "{token}" }'
        self.auth = None if auth is None else checked(own, "auth", auth, LOGGED_IN, example=example)
        self.join_answers = own.flag("join_answers", True)

    def converse(self, opening: Opening) -> Said:
        """Implement `BaseDialect.converse`: resume the session of `opening.previous` if `opening.back`."""
        before = opening.previous if isinstance(opening.previous, Said) and opening.back else None
        return Said(self, opening.credentials, opening.rooms, before)


class Said(CallingDialogue):
    """Dialogue of one socket.

    session  the platform's secret id of the session (`pid`), None where it offers no recovery
    offset   mark of the last event that was received in the session, None if there was none
    """

    offset: str | None = None

    def __init__(self, dialect: SocketIo, who: Credentials, rooms: Sequence[Room], before: Said | None) -> None:
        """Prepare to continue the session of `before`; to start a new one if `before` is None or had no session."""
        url = dialect.address(who, "/socket.io/", {"EIO": "4", "transport": "websocket"})
        super().__init__(Handshake(url=url, headers=dialect.headers(who), network=dialect.network), dialect, who, rooms)
        self._join_answers = dialect.join_answers
        self._path, self._prefix = dialect.namespace, "" if dialect.namespace == "/" else f"{dialect.namespace},"
        self._auth = dialect.auth.render(self.values) if dialect.auth is not None else ""
        self._returns, self._accepted, self._asked_for = before is not None, False, ""
        self._kept: frozenset[str] = frozenset()
        self._early: list[Heard] = []  # what a session has missed comes before the word that it continues
        self.session: str | None = None
        if before is not None and before.session and before.offset is not None:
            self._asked_for, self.offset, self._kept = before.session, before.offset, frozenset(before.talk.joined)
            given = orjson.loads(self._auth or "{}")
            self._auth = orjson.dumps({**given, "pid": self._asked_for, "offset": self.offset}).decode()

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`: decode the Engine.IO packet, and the Socket.IO packet that it may contain.

        Raises Refused if the server refuses or ends the namespace, Exceeded if a session had missed too many messages.
        """
        kind = data[:1]
        if kind == "4":
            events = self._packet(str(data[1:]))
            return [other(data)] if events is None else events
        if kind == "2":
            self.out.append(f"3{data[1:]!s}")
            return BEATS
        if kind == "0" and not self._accepted:
            self.out.append(f"40{self._prefix}{self._auth}")
        elif kind != "6":
            return [other(data)]
        return ()

    def _packet(self, text: str) -> list[Heard] | None:
        match = PACKET.fullmatch(text)
        if match is None:
            return None
        kind, path, number, body = match.groups()
        if path == NOWHERE and kind in (CONNECT, REFUSED):
            return self.talk.have_joined()
        data = decoded(body)
        if (path or "/") != self._path:
            return None
        if kind == EVENT and type(data) is list and data:
            return self._event(number, data)
        if kind == ANSWER and type(data) is list and number:
            return self.talk.answer(int(number), data)
        if kind == CONNECT and type(data) is dict and not self._accepted:
            return self._connected(data.get("pid"))
        if kind in (DISCONNECT, REFUSED):  # clients close the socket then; the server would keep it open
            raise Refused(f"namespace {'refused' if kind == REFUSED else 'ended'}: {body[:99]}", code=NO_CLOSE)
        return None

    def _connected(self, session: object) -> list[Heard]:
        self._accepted = True
        self.session = session if isinstance(session, str) else None
        recovered = bool(self._asked_for) and self.session == self._asked_for
        if not recovered:
            self.offset, self._kept = None, frozenset()
        events = self.talk.begin(self._kept, lost=self._returns and not recovered, answers=self._join_answers)
        if not self._join_answers:
            self.out.append(f"40{NOWHERE},")
        return [(WELCOME, None, None, -1, None, None, None), *events, *self._early]

    def _event(self, number: str, data: list[Any]) -> list[Heard] | None:
        if number:
            self.out.append(f"43{self._prefix}{number}[]")
        if len(data) > 1 and type(data[-1]) is str and (self.session is not None or not self._accepted):
            self.offset = data[-1]
        events = self.talk.event(data[0], data[1:])
        if self._accepted or events is None:
            return events
        if len(self._early) >= bounds().history_rows:
            raise Exceeded(f"a session had missed more than {bounds().history_rows:,} messages")
        self._early += events
        return []

    def closing(self) -> None:
        """Implement `Dialogue.closing`: leave the namespace."""
        self.out.append(f"41{self._prefix}")

    def frame(self, name: str, arguments: str, number: int | None) -> str:
        """Implement `CallingDialogue.frame`: return an event packet; with `number` it asks for an acknowledgement."""
        listed = f"[{name}]" if arguments == "[]" else f"[{name},{arguments[1:]}"
        return f"42{self._prefix}{'' if number is None else number}{listed}"


open_dialect = SocketIo
