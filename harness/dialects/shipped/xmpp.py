"""XMPP group chat: over WebSocket or TCP, with rooms, archive and resumed sessions (`_xmpp_rooms`, `_xmpp_streams`)."""

from __future__ import annotations

from urllib.parse import urlsplit

from earwitness.dialects import BaseDialect, Credentials, Flow, Opening, Parts, Person, Room, Settings
from earwitness.harness.dialects.shipped._xmpp_rooms import Archive, Chat

PROMISES = {
    "acknowledges": True, "echo": True,  # the room sends each message back to its sender: that acknowledges it
    "ordered": True, "total_order": True, "sequence": "none", "resume": True, "at_most_once": "connection",
    "durable": True, "history": True, "delivers": True, "delivery_bound_s": 5.0,
}  # fmt: skip


class Xmpp(BaseDialect):
    """Dialect of an XMPP server with group chat."""

    def __init__(self, settings: Settings) -> None:
        """Read the options: domain, rooms, register, resume, page."""
        super().__init__(settings, Parts(reads_by_socket=self), needs="socket")
        own = settings.own
        self.address = settings.socket
        self.domain = own.text("domain", urlsplit(settings.socket).hostname or "", example="chat.example")
        self.rooms = own.text("rooms", f"conference.{self.domain}", example="conference.chat.example")
        self.registers = own.flag("register", not settings.people)
        self.resumes, self.page = own.flag("resume", True), own.whole("page", 100, example="100", least=1) or 1

    def jid(self, label: str) -> str:
        """Return the address of the room `label`."""
        return f"{label.lower()}@{self.rooms}"

    def login(self, person: Person) -> Flow[Credentials]:
        """Implement `Target.login`: return the credentials without a request, because each stream logs in itself.

        The name of a planned user is the local part of the e-mail address, which contains the run's tag.
        """
        yield from ()
        known = self.account(person)
        name = known.name if self.settings.people else known.email.partition("@")[0]
        return Credentials(person=known, user_id=name.lower(), token=known.secret)

    def converse(self, opening: Opening) -> Chat:
        """Implement `BaseDialect.converse`: resume the session of `previous`, if it has one."""
        previous = opening.previous
        before = previous.managed if isinstance(previous, Chat) and previous.managed.id else None
        return Chat(self, opening.credentials, opening.rooms, before, back=opening.back)

    def reader(self, credentials: Credentials, room: Room) -> Archive:
        """Implement `ReadsBySocket.reader`: return a stream that logs in and reads the archive of the room."""
        return Archive(self, credentials, room)


open_dialect = Xmpp
