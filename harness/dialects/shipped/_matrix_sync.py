"""Long polls of a Matrix device, and conversion of its rooms' events to rows; the module `matrix` is the dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import quote, urlencode

import orjson

from earwitness.dialects import (
    BEATS,
    JOINED,
    LEFT,
    MESSAGE,
    OTHER,
    REPLAYED,
    BaseDialogue,
    Heard,
    LongPoll,
    Room,
    StoredRow,
)  # fmt: skip
from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.network import Network
from earwitness.harness.errors import Exceeded

API = "/_matrix/client/v3"
NONE: dict[str, list[str]] = {"types": []}


class Homeserver(Protocol):
    """Protocol of the facts about a homeserver that its dialogues use.

    http      base URL of the server
    network   hosts that clients may contact, and TLS settings
    wait_s    longest wait of a poll, in seconds
    page      most messages of a room in one answer; older ones are read page by page
    room_of   label of a room -> its room id; `label_of`: room id -> label
    """

    http: str
    network: Network
    wait_s: float
    page: int
    room_of: dict[str, str]
    label_of: dict[str, str]


class Sync(BaseDialogue):
    """Long polls of one device.

    An answer may contain only the newest messages of a room. The older ones (the gap) are read before the next poll.

    since  cursor of the last answer that is complete, from which the dialogue after it continues
    """

    def __init__(
        self, chat: Homeserver, headers: Mapping[str, str], rooms: Sequence[Room], since: str, *, back: bool
    ) -> None:
        """Prepare to poll from the cursor `since`, "" for a new device; `back`: the device was connected earlier."""
        self._chat, self.since = chat, since
        self._rooms = {room_id: room.label for room in rooms if (room_id := chat.room_of.get(room.label))}
        self._continues: bool | None = bool(since) if back else None
        self._new, self._absent = not since, set(self._rooms)
        self._held: list[tuple[str, list[Heard]]] = []  # per room, in the order of the answer
        self._gaps: list[tuple[str, str, list[Heard]]] = []  # room, where its gap ends, what was found of it
        self._next = since
        at = f"{chat.http}{self._address(0)}"
        super().__init__(LongPoll(url=at, headers=headers, network=chat.network, welcome=False))

    def _address(self, wait_s: float) -> str:
        timeline = {"limit": self._chat.page if self.since else 1}
        room = {"ephemeral": NONE, "account_data": NONE, "state": NONE, "timeline": timeline}
        shown = orjson.dumps({"presence": NONE, "account_data": NONE, "room": room}).decode()
        cursor = {"since": self.since} if self.since else {}
        return f"{API}/sync?{urlencode({'filter': shown, 'timeout': int(wait_s * 1000), **cursor})}"

    def send(self, label: str, message_id: str, text: str) -> str:
        """Implement `Dialogue.send`: raise NotImplementedError; it is never called, because messages are requests."""
        raise NotImplementedError

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`: read an answer to /sync, or a page of messages that the answer omitted."""
        answer = as_table(data)
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
        return [*events, *held] or BEATS  # nothing new within the time of a poll

    def _answer(self, answer: Mapping[str, object]) -> Sequence[Heard]:
        self._next = as_text(answer.get("next_batch")) or self.since
        rooms = inner(answer, "rooms")
        joined = inner(rooms, "join")
        events: list[Heard] = []
        for room_id in [one for one in self._rooms if one in self._absent and (self._continues or one in joined)]:
            self._absent.discard(room_id)
            events.append((JOINED, self._rooms[room_id], None, -1, None, None, self._continues))
        for room_id, room in joined.items():
            timeline = inner(room, "timeline")
            self._held.append((room_id, self._messages(room_id, timeline.get("events"))))
            end = as_text(timeline.get("prev_batch"))
            if timeline.get("limited") is True and end and not self._new:
                self._gaps.append((room_id, end, []))
        self._new = False
        left = [self._rooms[room_id] for room_id in inner(rooms, "leave") if room_id in self._rooms]
        return [*events, *((LEFT, label, None, -1, None, None, None) for label in left)]

    def _page(self, answer: Mapping[str, object]) -> Sequence[Heard]:
        """Add a page, newest message first, to the omitted messages of a room; after the last page, hold them in order.

        Raises Exceeded if more messages were omitted than [bounds] allows.
        """
        room_id, _, found = self._gaps.pop(0)
        found = [*reversed(self._messages(room_id, answer.get("chunk"))), *found]
        end = as_text(answer.get("end"))
        if len(found) > bounds().history_rows:
            raise Exceeded(f"more than {bounds().history_rows:,} messages were missed in a room")
        if end and answer.get("chunk"):
            self._gaps.insert(0, (room_id, end, found))
        else:
            self._held = [(name, found + events if name == room_id else events) for name, events in self._held]
        return ()

    def _messages(self, room_id: str, events: object) -> list[Heard]:
        """Return the messages among a room's events: REPLAYED in the first answer to a new device, else MESSAGE."""
        what = REPLAYED if self._new else MESSAGE
        label = self._rooms.get(room_id) or self._chat.label_of.get(room_id, room_id)
        return [(what, label, it.text, -1, it.sender, it.message_id, None) for it in rows_of(events)]


def rows_of(events: object) -> list[StoredRow]:
    """Return the text messages in a list of events as rows; [] if `events` is no list."""
    found = map(_row, events if isinstance(events, list) else ())
    return [one for one in found if one is not None]


def _row(event: object) -> StoredRow | None:
    if not isinstance(event, dict) or event.get("type") != "m.room.message":
        return None
    text, sender = inner(event, "content").get("body"), as_text(event.get("sender")) or None
    number = as_text(inner(event, "unsigned").get("transaction_id")) or None
    return StoredRow(text=text, sender=sender, message_id=number) if isinstance(text, str) else None


def as_table(data: str | bytes) -> dict[str, object] | None:
    """Return the JSON object in `data`, None if `data` is anything else."""
    try:
        value = orjson.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def inner(table: object, key: str) -> dict[str, object]:
    """Return the object under `key` of a JSON object, {} if there is none."""
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, dict) else {}


def as_text(value: object) -> str:
    """Return `value` if it is a text, else ""."""
    return value if isinstance(value, str) else ""
