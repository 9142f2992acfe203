"""Wires besides WebSocket: a TCP stream, a stream of server-sent events, long polls, and no connection at all.

All have the interface of `harness.client.wire.Wire`, so the shells run them like a WebSocket. They do no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import h11

from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.events import Handshake
from earwitness.harness.client.server_events import EventSplitter, ServerEvent, as_text, parse_event
from earwitness.harness.client.wire import NO_CLOSE, TOO_BIG, CompressedWire, Refused, Wire
from earwitness.harness.errors import TargetError

ENDED = 1000
"""Close code for a stream that the server ended regularly."""
REFUSAL_BYTES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteStream(Handshake):
    """Handshake of a TCP connection, `tcp://host:port` or `tls://host:port`.

    A received frame is the bytes of one read, so it may begin and end anywhere in a message.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStream(Handshake):
    """Handshake of a stream of server-sent events: one request with an endless answer.

    Each event is one received frame. A frame is the text of the event's lines; `parse_event` reads it. Nothing can be
    sent on the stream.
    """

    method: str = "GET"
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPoll(Handshake):
    """Handshake of long polls: consecutive requests on one connection. The body of each answer is one received frame.

    The first request is a GET of `url`. A frame that the dialogue sends is the address of the next request; the
    dialogue sends it after the answer to the request before.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSocket(Handshake):
    """Handshake of a dialogue without a socket: messages go by HTTP requests only.

    Nothing is connected. The wire counts as open at once, and by default no greeting is expected.
    """

    url: str = ""
    welcome: bool = False


class Framing(Protocol):
    """Protocol of a wire, which turns received bytes into frames, and frames into bytes.

    `Wire` describes the attributes.
    """

    output: list[bytes]
    opened: bool
    over: bool
    refusal: Refused | None
    close_received: int | None
    close_sent: int | None
    close_reason: str

    @property
    def close_code(self) -> int:
        """Return the close code of the connection, 1006 if there is none."""

    @property
    def between_frames(self) -> bool:
        """Return whether the next byte passed to `receive` begins a WebSocket frame, and no message is incomplete."""

    def frame(self, data: str | bytes, /) -> bytes:
        """Return the bytes to write to the socket so that `data` is sent as one message."""

    def take_output(self) -> bytes:
        """Return the bytes to write to the socket now, and empty `output`."""

    def receive(self, data: bytes) -> Sequence[str | bytes]:
        """Process received bytes; return the complete frames that end in them."""

    def receive_eof(self) -> None:
        """Process the end of the peer's stream: set `over`."""

    def close(self, code: int, reason: str = "") -> None:
        """Begin to close the connection with this close code and reason."""


def make_wire(handshake: Handshake) -> Framing:
    """Return the wire of a handshake. Raises TargetError if the scheme of its address does not fit it."""
    if isinstance(handshake, NoSocket):
        return Bytes(handshake, opened=True)
    if isinstance(handshake, ByteStream):
        _check(handshake, ("tcp", "tls"))
        return Bytes(handshake, opened=True)
    if isinstance(handshake, EventStream | LongPoll):
        _check(handshake, ("http", "https"))
        return Http(handshake)
    return CompressedWire(handshake) if handshake.network.compress else Wire(handshake)


def _check(handshake: Handshake, schemes: tuple[str, ...]) -> None:
    parts = urlsplit(handshake.url)
    if parts.scheme not in schemes or not parts.hostname:
        raise TargetError(f"{handshake.url.split('?')[0]!r} is no address of the kind {schemes[0]}://host:port.")


class Bytes:
    """Wire of a TCP stream: the bytes of one read are one frame."""

    def __init__(self, handshake: Handshake, *, opened: bool) -> None:
        """Prepare the stream. `opened`: it counts as open at once, without an answer of the server."""
        self.output: list[bytes] = []
        self.opened, self.over = opened, False
        self.refusal: Refused | None = None
        self.close_received: int | None = None
        self.close_sent: int | None = None
        self.close_reason = ""

    @property
    def between_frames(self) -> bool:
        """Return False: there are no WebSocket frames."""
        return False

    @property
    def close_code(self) -> int:
        """Return the server's close code, else the tester's, else 1006, e.g. if the server just closed a TCP stream."""
        return self.close_received or self.close_sent or NO_CLOSE

    def frame(self, data: str | bytes, /) -> bytes:
        """Return `data` as bytes, a text in UTF-8."""
        return data.encode() if isinstance(data, str) else data

    def take_output(self) -> bytes:
        """Return the bytes to write to the socket now, and empty `output`."""
        data = b"".join(self.output)
        self.output.clear()
        return data

    def receive(self, data: bytes) -> Sequence[str | bytes]:
        """Return the bytes of one read as one frame."""
        return (data,)

    def receive_eof(self) -> None:
        """Process the end of the stream: set `over`."""
        self.over = True

    def close(self, code: int, reason: str = "") -> None:
        """End the stream: `over` is set at once, because TCP has no closing handshake."""
        self.close_sent, self.close_reason, self.over = code, reason, True


class Http(Bytes):
    """Wire of an event stream, or of long polls: HTTP/1.1, one answer after the other."""

    def __init__(self, handshake: EventStream | LongPoll) -> None:
        """Prepare the first request. Raises TargetError if HTTP does not allow it."""
        super().__init__(handshake, opened=False)
        self._handshake = handshake
        self._events = isinstance(handshake, EventStream)
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=bounds().head_bytes)
        self._most = handshake.network.frame_bytes
        self._status = 0
        self._body, self._splitter = bytearray(), EventSplitter()
        body = handshake.body if isinstance(handshake, EventStream) else b""
        method = handshake.method if isinstance(handshake, EventStream) else "GET"
        self.output.append(self._request(method, handshake.url, body))

    def frame(self, data: str | bytes, /) -> bytes:
        """Return the next request of long polls. Raises TargetError on an event stream, where nothing can be sent."""
        if self._events:
            raise TargetError("A stream of events is read only: send messages as requests.")
        address = data if isinstance(data, str) else data.decode()
        return self._request("GET", urljoin(self._handshake.url, address), b"")

    def _request(self, method: str, url: str, body: bytes) -> bytes:
        parts = urlsplit(url)
        where = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"host": parts.netloc.rpartition("@")[2], "accept-encoding": "identity", "user-agent": "earwitness"}
        if self._events:
            headers["accept"] = "text/event-stream"
        if body:
            headers["content-length"] = str(len(body))
        headers |= {name.lower(): value for name, value in self._handshake.headers.items()}
        try:
            made = h11.Request(method=method, target=where, headers=list(headers.items()))
            out = self._http.send(made) or b""
        except (h11.LocalProtocolError, UnicodeEncodeError):
            raise TargetError("A request of a stream has a character or an order that HTTP does not allow.") from None
        if body:
            out += self._http.send(h11.Data(data=body)) or b""
        return out + (self._http.send(h11.EndOfMessage()) or b"")

    def receive(self, data: bytes) -> Sequence[str | bytes]:
        """Process received bytes; return the events, or the bodies of long polls, that end in them."""
        self._http.receive_data(data)
        return list(self._frames())

    def receive_eof(self) -> None:
        """Process the end of the stream: set `over`, and `refusal` if no answer with status 200 had begun."""
        if not self.opened and self.refusal is None:
            self.refusal = Refused("the connection ended before the answer", code=NO_CLOSE)
        self.over = True

    def _frames(self) -> Iterator[str | bytes]:
        while not self.over:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._fail(NO_CLOSE, f"an answer that is no HTTP: {error}")
                return
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.Response):
                self._status = event.status_code
                self.opened = self.opened or event.status_code == 200
            elif isinstance(event, h11.Data):
                yield from self._data(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                yield from self._end()

    def _data(self, data: bytes) -> Iterator[str | bytes]:
        if self._status == 200 and self._events:
            yield from self._splitter.feed(data)
        else:
            self._body += data
        if max(len(self._body), self._splitter.waiting) > self._most:
            self._fail(TOO_BIG, f"an answer of more than {self._most:,} bytes")

    def _end(self) -> Iterator[str | bytes]:
        body, self._body = bytes(self._body), bytearray()
        if self._status != 200:
            said = body[:REFUSAL_BYTES].decode(errors="replace")
            if not self.opened:
                self.refusal = Refused(said, status=self._status)
            self._fail(ENDED, f"HTTP {self._status}: {said}")
        elif self._events:
            if (rest := self._splitter.rest()) is not None:
                yield rest
            self._fail(ENDED, "")
        else:
            yield as_text(body)
            if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                self._http.start_next_cycle()
            else:
                self._fail(ENDED, "the server closes the connection after each answer")

    def _fail(self, code: int, reason: str) -> None:
        self.over, self.close_reason = True, reason
        if code == TOO_BIG:
            self.close_sent = code
        elif code != NO_CLOSE:
            self.close_received = code


__all__ = [
    "ENDED",
    "ByteStream",
    "Bytes",
    "EventStream",
    "Framing",
    "Http",
    "LongPoll",
    "NoSocket",
    "ServerEvent",
    "make_wire",
    "parse_event",
]
