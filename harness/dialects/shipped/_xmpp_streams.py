"""Streams of XMPP (RFC 6120 over TCP, RFC 7395 over WebSocket): accounts, login, binding, and resuming (XEP-0198)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from xml.etree.ElementTree import Element, tostring
from xml.sax.saxutils import escape, quoteattr

from earwitness.dialects import BEATS, OTHER, WELCOME, BaseDialogue, ByteStream, Credentials, Handshake, Heard
from earwitness.harness.client.network import Network
from earwitness.harness.dialects.shipped._xmpp_stanzas import Stanzas

FRAMING, STREAMS = "urn:ietf:params:xml:ns:xmpp-framing", "http://etherx.jabber.org/streams"
CLIENT, SASL, SM = "jabber:client", "urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:sm:3"
BIND, REGISTER, ERRORS = "urn:ietf:params:xml:ns:xmpp-bind", "jabber:iq:register", "urn:ietf:params:xml:ns:xmpp-stanzas"
IGNORED = {f"{{{FRAMING}}}open", f"{{{FRAMING}}}close", f"{{{STREAMS}}}stream"}


class Server(Protocol):
    """Protocol of the facts about a server that a stream uses.

    address    of its socket: ws://, wss://, tcp:// or tls://
    domain     its name in addresses of users
    registers  whether the stream of a device that was not connected before makes the account (XEP-0077)
    resumes    whether sessions are resumed, if the server offers that
    """

    address: str
    domain: str
    network: Network
    registers: bool
    resumes: bool


@dataclass(slots=True)
class Managed:
    """Session of stream management (XEP-0198), shared by its connections.

    id     the server's id of the session; "" if it cannot be resumed
    count  stanzas received, modulo 2^32
    rooms  addresses of the rooms that the session is in
    """

    id: str = ""
    count: int = 0
    rooms: set[str] = field(default_factory=set)


class Stream(BaseDialogue):
    """Stream of one device: register if asked to, log in, then bind or resume (`managed`: the session).

    A subclass writes `ready`, `presence`, `message` and `send`.
    """

    def __init__(self, server: Server, me: Credentials, before: Managed | None, *, registers: bool) -> None:
        """Prepare to continue the session `before`, or to begin one (None). `registers`: make the account first.

        `me`: its user id is the name of the account, its token the password.
        """
        at, network, self._tcp = server.address, server.network, not server.address.startswith("ws")
        web = Handshake(url=at, network=network, subprotocols=("xmpp",))
        super().__init__(ByteStream(url=at, network=network) if self._tcp else web)
        self.managed = before or Managed()
        self._server, self.me, self._user = server, me, me.user_id
        self._stanzas = Stanzas(framed=not self._tcp, most=network.frame_bytes)
        self._registers, self._known, self._bound, self._manages = registers, False, False, False
        self._on = {
            f"{{{STREAMS}}}features": self._features, f"{{{SASL}}}success": self._logged_in,
            f"{{{SM}}}enabled": self._enabled, f"{{{SM}}}resumed": self._resumed, f"{{{SM}}}failed": self._unmanaged,
            f"{{{SM}}}r": self._count, f"{{{SM}}}a": lambda element: BEATS, f"{{{CLIENT}}}iq": self.iq,
            f"{{{CLIENT}}}presence": self.presence, f"{{{CLIENT}}}message": self.message,
        }  # fmt: skip

    def opened(self) -> Sequence[Heard]:
        """Implement `Dialogue.opened`: send the head of the stream. It is sent a second time after the login."""
        to = f"to={quoteattr(self._server.domain)} version='1.0'"
        names = f"xmlns='{CLIENT}' xmlns:stream='{STREAMS}'"
        tcp = f"<?xml version='1.0'?><stream:stream {names} {to}>"
        self.out.append(tcp if self._tcp else f"<open xmlns='{FRAMING}' {to}/>")
        return ()

    def ask(self, number: str, content: str, to: str = "", kind: str = "set") -> None:
        """Queue an iq stanza with the id `number` for the server, or for `to`.

        kind  its type: set or get for a request, result or error for an answer
        """
        at = f" to={quoteattr(to)}" if to else ""
        self.out.append(f"<iq xmlns='{CLIENT}' type='{kind}' id={quoteattr(number)}{at}>{content}</iq>")

    def closing(self) -> None:
        """Implement `Dialogue.closing`: end the stream, and with it the session."""
        self.managed.id = ""
        self.out.append("</stream:stream>" if self._tcp else f"<close xmlns='{FRAMING}'/>")

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`. Data that is no XML becomes an event OTHER.

        Raises Exceeded for a stanza that is too long.
        """
        events: list[Heard] = []
        try:
            for element in self._stanzas.feed(data):
                if element.tag.startswith(f"{{{CLIENT}}}"):
                    self.managed.count = (self.managed.count + 1) % (1 << 32)
                if element.tag not in IGNORED:
                    events += self._on.get(element.tag, other)(element)
        except ValueError:
            events.append((OTHER, None, None, -1, None, None, data))
        return events

    # -- opening: features, account, login, then an old or a new session ----------------------------------------------

    def _features(self, element: Element) -> Sequence[Heard]:
        self._manages = self._server.resumes and element.find(f"{{{SM}}}sm") is not None
        if self._known and self.managed.id:
            self.out.append(f"<resume xmlns='{SM}' h='{self.managed.count}' previd={quoteattr(self.managed.id)}/>")
        elif self._known:
            self._bind()
        elif self._registers:
            name, secret = escape(self.me.user_id), escape(self.me.token)
            fields = f"<username>{name}</username><password>{secret}</password>"
            self.ask("register", f"<query xmlns='{REGISTER}'>{fields}</query>")
        else:
            self._log_in()
        return ()

    def _log_in(self) -> None:
        plain = b64encode(f"\0{self.me.user_id}\0{self.me.token}".encode()).decode()
        self.out.append(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{plain}</auth>")

    def _logged_in(self, element: Element) -> Sequence[Heard]:
        self._known = True
        self._stanzas.restart()
        return self.opened()

    def _bind(self) -> None:
        self.ask("bind", f"<bind xmlns='{BIND}'/>")

    def _enabled(self, element: Element) -> Sequence[Heard]:
        self.managed.id, self.managed.count = element.get("id", ""), 0
        return self.ready()

    def _resumed(self, element: Element) -> Sequence[Heard]:
        return self.ready()

    def _unmanaged(self, element: Element) -> Sequence[Heard]:
        """Process the server's answer `failed`.

        To a resume: begin a new session. To an attempt to enable session management: continue without it.
        """
        if self._bound:
            return self.ready()
        self.managed = Managed()
        self._bind()
        return ()

    def ready(self) -> Sequence[Heard]:
        """Act when the session is established, new or resumed (hook); return the events to report."""
        raise NotImplementedError

    def presence(self, element: Element) -> Sequence[Heard]:
        """Return the events of a received `<presence>` (hook); none here."""
        return ()

    def message(self, element: Element) -> Sequence[Heard]:
        """Return the events of a received `<message>` (hook)."""
        raise NotImplementedError

    def greeting(self) -> Heard:
        """Return WELCOME, with the user as the server named it."""
        return (WELCOME, None, None, -1, None, None, {"user": self._user})

    def _count(self, element: Element) -> Sequence[Heard]:
        self.out.append(f"<a xmlns='{SM}' h='{self.managed.count}'/>")
        return BEATS

    def iq(self, element: Element) -> Sequence[Heard]:
        """Answer a request of the server, or continue the login after the server's answer; return the events."""
        kind, number = element.get("type"), element.get("id", "")
        if kind in ("get", "set"):
            pinged = element.find("{urn:xmpp:ping}ping") is not None
            no = f"<error type='cancel'><service-unavailable xmlns='{ERRORS}'/></error>"
            self.ask(number, "" if pinged else no, element.get("from", ""), "result" if pinged else "error")
            return BEATS if pinged else ()
        if number == "register" and not self._known:
            self._log_in()  # an account that exists already is as good
        elif number == "bind" and kind == "result" and not self._bound:
            self._bound = True
            self._user = element.findtext(f"{{{BIND}}}bind/{{{BIND}}}jid", "").partition("@")[0]
            if not (self._manages):
                return self.ready()
            self.out.append(f"<enable xmlns='{SM}' resume='true'/>")
        elif kind == "error":
            return other(element)
        return ()


def other(element: Element) -> Sequence[Heard]:
    """Return the event OTHER for an element that is not understood."""
    return [(OTHER, None, None, -1, None, None, tostring(element, encoding="unicode"))]
