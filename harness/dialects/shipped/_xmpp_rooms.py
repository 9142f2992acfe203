"""Rooms of XMPP (XEP-0045) and their archive (XEP-0313), on the streams of `_xmpp_streams`; `xmpp` is the dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from xml.etree.ElementTree import Element, tostring
from xml.sax.saxutils import escape, quoteattr

from earwitness.dialects import (
    ACK,
    JOINED,
    LEFT,
    MESSAGE,
    NACK,
    REPLAYED,
    Credentials,
    Heard,
    Room,
    StoredRow,
)  # fmt: skip
from earwitness.harness.client.bounds import bounds
from earwitness.harness.dialects.shipped._xmpp_stanzas import legal
from earwitness.harness.dialects.shipped._xmpp_streams import CLIENT, Managed, Server, Stream, other
from earwitness.harness.errors import Exceeded, TargetError

MUC, MAM, RSM = "http://jabber.org/protocol/muc", "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm"
CODES = {"bad-request": 400, "forbidden": 403, "item-not-found": 404, "not-acceptable": 406, "policy-violation": 429}
CODES |= {"resource-constraint": 429, "service-unavailable": 503}
PATIENT_TICKS = 5
NEW_ROOM = (
    f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{MUC}#roomconfig"
    "</value></field><field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query>"
)


class ChatServer(Server, Protocol):
    """Protocol of a server with rooms. `page`: messages in one page of an archive."""

    page: int

    def jid(self, label: str) -> str:
        """Return the address of the room `label`."""
        ...


class Chat(Stream):
    """Stream of a device that chats in rooms."""

    beat_s = 1.0

    def __init__(
        self, chat: ChatServer, me: Credentials, rooms: Sequence[Room], before: Managed | None, back: bool
    ) -> None:
        """Prepare to join `rooms`. `before`: session to continue, None for a new one.

        `back`: the device was connected before, so its account exists and it may have missed messages.
        """
        super().__init__(chat, me, before, registers=chat.registers and not back)
        self._chat, self._back = chat, back
        self._label_of = {chat.jid(room.label): room.label for room in rooms}
        self._locked: set[str] = set()  # rooms that could not be joined yet
        self._ready, self._ticks = False, 0
        self._sent: set[str] = set()  # ids of messages that were not sent back on this connection

    def send(self, label: str, message_id: str, text: str) -> str:
        """Implement `Dialogue.send`: return a stanza of the type groupchat, addressed to the room."""
        body = f"<body>{escape(legal(text), {chr(13): '&#13;'})}</body>"
        self._sent.add(message_id)
        to, number = quoteattr(self._chat.jid(label)), quoteattr(message_id)
        return f"<message xmlns='{CLIENT}' type='groupchat' to={to} id={number}>{body}</message>"

    def tick(self) -> Sequence[Heard]:
        """Implement `Dialogue.tick`: try again to join rooms that were refused, because a new room is locked first.

        After PATIENT_TICKS calls the connection counts as usable without them.
        """
        rooms, self._locked = sorted(self._locked), set()
        self._join(rooms)
        self._ticks += 1
        return self._greet(late=self._ticks >= PATIENT_TICKS)

    def _join(self, rooms: Sequence[str]) -> None:
        for room in rooms:
            at, x = quoteattr(f"{room}/{self.me.user_id}"), f"<x xmlns='{MUC}'><history maxstanzas='0'/></x>"
            self.out.append(f"<presence xmlns='{CLIENT}' to={at}>{x}</presence>")

    def ready(self) -> Sequence[Heard]:
        """Implement `Stream.ready`: join the rooms, and return JOINED for those that a resumed session is still in."""
        kept, self._ready = self.managed.rooms & set(self._label_of), True
        self._join([room for room in self._label_of if room not in kept])
        joined: list[Heard] = [(JOINED, self._label_of[room], None, -1, None, None, True) for room in sorted(kept)]
        return [*self._greet(), *joined]

    def _greet(self, *, late: bool = False) -> Sequence[Heard]:
        """Return WELCOME once, when all rooms are joined or `late` is true; else ().

        Rooms refuse messages of users who have not joined, so the connection is not usable before.
        """
        if not self._ready or not (late or self.managed.rooms >= set(self._label_of)):
            return ()
        self._ready = False
        return (self.greeting(),)

    def presence(self, element: Element) -> Sequence[Heard]:
        """Implement `Stream.presence`: return JOINED or LEFT for the user's own presence.

        A room that another member has just created is locked for a while; `tick` tries again.
        """
        room = element.get("from", "").partition("/")[0]
        label, kind = self._label_of.get(room), element.get("type")
        codes = {status.get("code") for status in element.iterfind(f"{{{MUC}#user}}x/{{{MUC}#user}}status")}
        if label is not None and kind == "error":
            self._locked.add(room)
            return other(element)
        if label is None or "110" not in codes:
            return ()
        if kind == "unavailable":
            self.managed.rooms.discard(room)
            return [(LEFT, label, None, -1, None, None, None)]
        if "201" in codes:
            self.ask("room", NEW_ROOM, room)
        self.managed.rooms.add(room)
        return [(JOINED, label, None, -1, None, None, False if self._back else None), *self._greet()]

    def message(self, element: Element) -> Sequence[Heard]:
        """Implement `Stream.message`: return MESSAGE or REPLAYED, or NACK for an error; () if it has no text.

        A message of this connection that the room sends back to its sender is also its acknowledgement: ACK.
        """
        what, label, text, sender, number = self.read(element)
        if element.get("type") == "error":
            found = [CODES.get(name.tag.partition("}")[2], 400) for name in element.iterfind(f"{{{CLIENT}}}error/*")]
            self._sent.discard(number or "")
            return [(NACK, label, None, -1, None, number, (found[0] if found else 400, None))]
        if text is None:
            return ()  # a subject, a state
        heard: Heard = (what, label, text, -1, sender, number, None)
        if number not in self._sent or sender != self.me.user_id:
            return [heard]
        self._sent.discard(number)
        return [heard, (ACK, label, None, -1, None, number, None)]

    def read(self, element: Element) -> tuple[int, str, str | None, str | None, str | None]:
        """Return (MESSAGE or REPLAYED, room's label, text, sender, id) of a message; None for a value that it lacks.

        It is REPLAYED if its room marks it as delayed (XEP-0203). The label of a room that is not the user's is the
        local part of its address. The sender is the nickname.
        """
        room, _, nick = element.get("from", "").partition("/")
        delay = element.find("{urn:xmpp:delay}delay")
        what = MESSAGE if delay is None or delay.get("from", room) != room else REPLAYED
        body = element.find(f"{{{CLIENT}}}body")
        label = self._label_of.get(room, room.partition("@")[0])
        return what, label, None if body is None else body.text or "", nick or None, element.get("id")


class Archive(Chat):
    """Stream that reads the archive of one room, page by page, without joining the room."""

    def __init__(self, chat: ChatServer, me: Credentials, room: Room) -> None:
        """Prepare to read `room`; `rows` is None until all pages have come."""
        super().__init__(chat, me, (room,), None, back=False)
        self.rows: list[StoredRow] | None = None
        self._found: list[StoredRow] = []
        self._pages, self._room = 0, chat.jid(room.label)

    def ready(self) -> Sequence[Heard]:
        """Implement `Stream.ready`: ask for the first page."""
        self._ask_after("")
        return ()

    def _ask_after(self, last: str) -> None:
        self._pages += 1
        after = f"<after>{escape(last)}</after>" if last else ""
        page = f"<set xmlns='{RSM}'><max>{self._chat.page}</max>{after}</set>"
        self.ask(f"page-{self._pages}", f"<query xmlns='{MAM}' queryid='ew'>{page}</query>", self._room)

    def message(self, element: Element) -> Sequence[Heard]:
        """Implement `Stream.message`: store the archived message that `element` wraps, if it has a text.

        Raises Exceeded if the archive is longer than the bounds of the target file.
        """
        inner = element.find(f"{{{MAM}}}result/{{urn:xmpp:forward:0}}forwarded/{{{CLIENT}}}message")
        if inner is not None:
            _, label, text, sender, number = self.read(inner)
            if text is not None:
                row = StoredRow(text=text, sender=sender, message_id=number, conversation=label)
                self._found.append(row)
        if len(self._found) > bounds().history_rows or self._pages > bounds().history_pages:
            raise Exceeded("an archive longer than the bounds of the target file")
        return ()

    def iq(self, element: Element) -> Sequence[Heard]:
        """Implement `Stream.iq`: ask for the next page at the end of one.

        Raises TargetError if the archive is refused.
        """
        if element.get("id") != f"page-{self._pages}":
            return super().iq(element)
        fin = element.find(f"{{{MAM}}}fin")
        if fin is None:
            raise TargetError(f"the archive of {self._room} cannot be read: {tostring(element).decode()[:200]}")
        last = fin.findtext(f"{{{RSM}}}set/{{{RSM}}}last", "")
        if fin.get("complete") in ("true", "1") or not last:
            self.rows = self._found
        else:
            self._ask_after(last)
        return ()
