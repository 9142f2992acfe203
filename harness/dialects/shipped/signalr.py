"""ASP.NET Core SignalR: the JSON hub protocol, version 1, over a WebSocket without negotiation.

docs/dialects/signalr.md describes the options. SignalR has no sessions that a client could resume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from earwitness.harness.client.events import BEATS, WELCOME, Handshake, Heard
from earwitness.harness.described import whole_number
from earwitness.harness.dialects.settings import Settings
from earwitness.harness.dialects.shipped._calls import CallingDialect, CallingDialogue, decoded, other, read_rules
from earwitness.harness.dialects.values import Credentials, Opening, Room

# A connection keeps its order; the hub protocol knows nothing of an order among senders, of numbers or of a store.
PROMISES: Final[Mapping[str, object]] = {"total_order": False, "sequence": "none", "history": False, "durable": False}
END: Final = "\x1e"
"""Last character of each record; a frame has one or more."""
HELLO: Final = '{"protocol":"json","version":1}' + END
PING: Final = '{"type":6}' + END
KEEP_ALIVE_S: Final = 15.0
"""Seconds between two pings of a client; a server closes connections that were silent for 30 s (its default)."""
MOST_CALLS: Final = 10**12
INVOCATION, COMPLETION, PINGED, CLOSE = 1, 3, 6, 7


class SignalR(CallingDialect):
    """Dialect of an application on SignalR."""

    def __init__(self, settings: Settings) -> None:
        """Read the options; mistakes are collected in `settings.own`."""
        super().__init__(settings, read_rules(settings))
        self.keep_alive_s = settings.own.number("keep_alive_s", KEEP_ALIVE_S, example="15", least=0.1) or KEEP_ALIVE_S

    def converse(self, opening: Opening) -> Said:
        """Implement `BaseDialect.converse`: start a new session each time, because SignalR cannot resume one."""
        who = opening.credentials
        handshake = Handshake(url=self.address(who, "/", {}), headers=self.headers(who), network=self.network)
        return Said(handshake, self, who, opening.rooms, returns=opening.back)


class Said(CallingDialogue):
    """Dialogue of one socket: the handshake of the hub protocol, invocations and completions both ways, pings."""

    def __init__(
        self, handshake: Handshake, dialect: SignalR, credentials: Credentials, rooms: Sequence[Room], *, returns: bool
    ) -> None:
        """Prepare the handshake. `returns`: the device was connected before, and has missed what was sent since."""
        super().__init__(handshake, dialect, credentials, rooms)
        self.beat_s = dialect.keep_alive_s
        self._first, self._returns, self._accepted = (HELLO,), returns, False

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`: return the events of all records in the frame, which END separates.

        A frame that does not end with END is reported as OTHER.
        """
        if not isinstance(data, str) or not data.endswith(END):
            return [other(data)]
        events: list[Heard] = []
        for record in data[:-1].split(END):
            found = self._record(decoded(record))
            events += [other(record)] if found is None else found
        return events

    def _record(self, record: Any) -> list[Heard] | None:
        if type(record) is not dict:
            return None
        if not self._accepted:
            return self._handshaken(record)
        kind, number = record.get("type"), record.get("invocationId")
        if kind == INVOCATION and type(record.get("arguments")) is list:
            return self._invoked(record, number)
        if kind == COMPLETION and isinstance(number, str):
            asked, values = whole_number(number, MOST_CALLS), [record["result"]] if "result" in record else []
            return None if asked is None else self.talk.answer(asked, values, record.get("error"))
        return list(BEATS) if kind == PINGED else None

    def _handshaken(self, record: dict[str, Any]) -> list[Heard] | None:
        if "error" in record or "type" in record:
            return None  # the server closes the connection
        self._accepted = True
        return [(WELCOME, None, None, -1, None, None, None), *self.talk.begin(lost=self._returns)]

    def _invoked(self, record: dict[str, Any], number: object) -> list[Heard] | None:
        if isinstance(number, str):  # the server awaits a result
            answer = {"type": COMPLETION, "invocationId": number, "result": None}
            self.out.append(orjson.dumps(answer).decode() + END)
        return self.talk.event(record.get("target"), record["arguments"])

    def tick(self) -> Sequence[Heard]:
        """Implement `Dialogue.tick`: send the ping without which the server closes the connection."""
        self.out.append(PING)
        return ()

    def closing(self) -> None:
        """Implement `Dialogue.closing`: send a close message of the hub protocol."""
        self.out.append(f'{{"type":{CLOSE}}}{END}')

    def frame(self, name: str, arguments: str, number: int | None) -> str:
        """Implement `CallingDialogue.frame`: return an invocation; `number` is its `invocationId`."""
        asked = "" if number is None else f',"invocationId":"{number}"'
        return f'{{"type":{INVOCATION},"target":{name},"arguments":{arguments}{asked}}}{END}'


open_dialect = SignalR
