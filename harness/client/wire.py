"""Bytes of one WebSocket connection, client side, without I/O.

`websockets`' Sans-I/O protocol is the authority for the handshake, control frames, fragments, closes and everything
unusual. Before it comes a fast path for the common case only: whole, unfragmented, unmasked data frames without
reserved bits. Unusual frames are passed to the library one by one, so the outcome does not depend on how the network
cut the stream.
"""

from __future__ import annotations

from collections.abc import Sequence

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHeader, InvalidStatus, InvalidURI
from websockets.extensions import ClientExtensionFactory
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol, State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.events import Handshake
from earwitness.harness.client.flow import redirect_of
from earwitness.harness.client.frames import data_frame
from earwitness.harness.errors import TargetError
from earwitness.harness.progress import one_line

NO_CLOSE = 1006
INVALID_DATA = 1007
TOO_BIG = 1009
WAIT_BYTES = 65536  # a cut frame up to this size is read again when more has come; a longer one is collected in pieces
UPGRADE_BYTES = 65536  # a longer response head is passed to the library, which refuses it

_TEXT, _BINARY = 0x81, 0x82
_OPCODES = frozenset(int(opcode) for opcode in Opcode)


class Refused(ConnectionError):
    """Error for a connection that the platform refused.

    status    HTTP status of the refused upgrade, else 0
    code      close code; 1006 without an answer to the upgrade or without a greeting; 0 with a status, or if a frame
              refused the connection without a code
    by_frame  the platform refused by sending a frame
    """

    def __init__(self, reason: str, *, status: int = 0, code: int = 0, by_frame: bool = False) -> None:
        """Make the message: one line with the status or the close code, and the platform's `reason`."""
        reason = one_line(reason)
        self.reason, self.status, self.code, self.by_frame = reason, status, code, by_frame
        how = f" with HTTP status {status}" if status else f" with close code {code}" if code else ""
        super().__init__(f"connection refused{how}" + (f": {reason}" if reason else ""))


class Wire:
    """Bytes of one connection: pass received bytes to `receive`, and write to the socket what `take_output` returns.

    output          byte strings waiting for `take_output`; empty most of the time
    opened          the upgrade was accepted
    pings           ping and pong frames received
    over            no further message will come: a close frame came, the stream failed or it ended
    refusal         error of the refused upgrade, else None
    close_received  code of the peer's close frame
    close_sent      code of the tester's close frame, which may repeat the peer's code
    close_reason    reason in the peer's close frame, or the tester's if the tester had to fail the connection
    """

    __slots__ = (
        "_client",
        "_closing",
        "_left",
        "_library",
        "_long",
        "_max_bytes",
        "_not_upgraded",
        "_opcode",
        "_parts",
        "_rest",
        "close_reason",
        "close_received",
        "close_sent",
        "opened",
        "output",
        "over",
        "pings",
        "refusal",
        "subprotocol",
    )

    def __init__(
        self,
        handshake: Handshake,
        *,
        extensions: Sequence[ClientExtensionFactory] | None = None,
    ) -> None:
        """Prepare the upgrade request.

        Raises TargetError if the handshake's URL is not that of a WebSocket, or a header cannot be sent.
        """
        client = _client_protocol(handshake, extensions)
        self._client: ClientProtocol | None = client
        self._library: Protocol | None = None
        self.output: list[bytes] = client.data_to_send()
        self._max_bytes = handshake.network.frame_bytes
        self._rest = b""
        self._left = 0  # bytes to come of a frame that has begun: in `_long`, or if that is None, in the library
        self._long: list[bytes] | None = None  # pieces of a long whole frame: the library would copy it four times
        self._parts: list[bytes] | None = None  # fragments of a message so far
        self._opcode = Opcode.TEXT
        self._closing = False
        self._not_upgraded = False
        self.opened = False
        self.over = False
        self.pings = 0
        self.refusal: Refused | None = None
        self.subprotocol: str | None = None
        self.close_received: int | None = None
        self.close_sent: int | None = None
        self.close_reason = ""

    @property
    def compressed(self) -> bool:
        """Return False: messages are not compressed."""
        return False

    def frame(self, data: str | bytes) -> bytes:
        """Return `data` as one whole masked data frame."""
        return data_frame(data)

    def take_output(self) -> bytes:
        """Return the bytes to write to the socket now (request, pongs, close frames), and empty `output`."""
        data = b"".join(self.output)
        self.output.clear()
        return data

    @property
    def close_code(self) -> int:
        """Return the peer's close code; else the tester's, if the tester failed the connection; else 1006."""
        if self.close_received is not None:
            return self.close_received
        return NO_CLOSE if self._closing or self.close_sent is None else self.close_sent

    @property
    def between_frames(self) -> bool:
        """Return whether the next byte that `receive` gets begins a frame, and no message has begun."""
        return self.opened and not (self.over or self._left or self._rest or self._parts is not None)

    def joined(self, data: bytes) -> bytes:
        """Return the stored bytes of an incomplete frame followed by `data`, and forget the stored bytes."""
        rest, self._rest = self._rest, b""
        return rest + data if rest else data

    def upgrade(self, data: bytes) -> bytes:
        """Process the answer to the upgrade, while the connection is not `opened`; return the bytes that follow it."""
        data = self.joined(data)
        return b"" if self.over else data[self._upgrade(data) :]

    def receive(self, data: bytes) -> Sequence[str | bytes]:
        """Process received bytes; return the messages that end in them, in order: `str` for text, `bytes` for binary.

        Never raises on bad input, but ends the connection (`over`).
        """
        data = self.joined(data)
        messages: list[str | bytes] = []
        at = 0
        if not self.opened or self.over or self._left:
            at = self._resume(data, messages)
        plain = self._parts is None and not self.over
        end = len(data)
        while at + 2 <= end and not self.over:
            head, size = data[at], data[at + 1]
            start = at + 2
            if size == 126:
                start = at + 4
                if start > end:
                    break
                size = data[at + 2] << 8 | data[at + 3]
            elif size == 127:
                start = at + 10
                if start > end:
                    break
                size = int.from_bytes(data[at + 2 : start], "big")
            elif size > 127:
                self._feed(data[at:], messages)  # masked: the library fails the connection
                break
            stop = start + size
            usual = plain and head in (_TEXT, _BINARY) and size <= self._max_bytes
            if usual and stop <= end:
                if head == _TEXT:
                    try:
                        messages.append(data[start:stop].decode())
                    except UnicodeDecodeError as error:
                        self._fail_text(error)
                        break
                else:
                    messages.append(data[start:stop])
                at = stop
            elif usual and size <= WAIT_BYTES:
                break  # only cut by the network
            elif usual:
                self._opcode = Opcode(head & 15)
                self._long, self._left = [data[start:end]], stop - end
                at = end
            else:
                self._left = max(stop - end, 0)
                self._feed(data[at:stop], messages)
                plain = self._parts is None
                at = min(stop, end)
        if at < end and not self.over:
            if at + 2 <= end and data[at] & 15 not in _OPCODES:
                self._feed(data[at:], messages)  # wrong already, whatever its length will be
            else:
                self._rest = data[at:]
        return messages

    def receive_eof(self) -> None:
        """Process the end of the peer's stream: the connection is over."""
        if self._client is not None:
            self._client.receive_data(self._rest)
            self._client.receive_eof()
            self.refusal = self.refusal or _refusal(self._client.handshake_exc)
        elif not self.over:
            library = self._the_library()
            library.receive_eof()
            self._collect(library, [])
        self._rest = b""
        self.over = True

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake; no-op if it has started already.

        Raises ProtocolError for a code that is not allowed.
        """
        if self.opened and not self.over and not self._closing:
            library = self._the_library()
            library.send_close(code, reason)
            self._closing = True
            self._collect(library, [])

    def _resume(self, data: bytes, messages: list[str | bytes]) -> int:
        """Process the bytes at the beginning of `data` that belong to the upgrade's answer or to a frame in progress.

        Returns the position in `data` where frames begin.
        """
        if self.over:
            return len(data)
        if self.opened:
            taken = min(self._left, len(data))
            self._left -= taken
            if self._long is None:
                self._feed(data[:taken], messages)
            else:
                self._long.append(data[:taken])
                if not self._left:
                    pieces, self._long = self._long, None
                    self._whole(pieces, messages)
            return taken
        return self._upgrade(data)

    def _upgrade(self, data: bytes) -> int:
        client = self._client
        assert client is not None
        used = len(data)
        if not self._not_upgraded:
            head_end = data.find(b"\r\n\r\n") + 4
            if head_end < 4 and used < UPGRADE_BYTES:
                self._rest = data
                return used
            # After a 101 come frames, which we read ourselves; after anything else comes a body for the library.
            if data[9:12] == b"101" and head_end >= 4:
                used = head_end
            else:
                self._not_upgraded = True
        client.receive_data(data[:used])
        if client.events_received() and client.handshake_exc is None:
            self.opened = True
            self.subprotocol = client.subprotocol
            self._client = None
            self._library = client if client.extensions else None
        elif client.handshake_exc is not None:
            self.refusal = _refusal(client.handshake_exc)
            self.over = True
        return used

    def _the_library(self) -> Protocol:
        # Between unusual frames the library's parser has no state, so an idle connection need not keep one.
        if self._library is None:
            self._library = Protocol(CLIENT, state=State.OPEN, max_size=self._max_bytes)
        return self._library

    def _feed(self, data: bytes, messages: list[str | bytes]) -> None:
        library = self._the_library()
        library.receive_data(data)
        self._collect(library, messages)
        if not (self._left or self._parts is not None or self.over or self._closing or library.extensions):
            self._library = None

    def _collect(self, library: Protocol, messages: list[str | bytes]) -> None:
        for event in library.events_received():
            if isinstance(event, Frame):
                self._frame(event, messages)
        self.output += [chunk for chunk in library.data_to_send() if chunk]
        if library.close_rcvd is not None:
            self.close_received = int(library.close_rcvd.code)
            self.close_reason = library.close_rcvd.reason
        if library.close_sent is not None:
            self.close_sent = int(library.close_sent.code)
            if library.parser_exc is not None and library.close_rcvd is None:
                self.close_reason = library.close_sent.reason
        if library.close_rcvd is not None or library.parser_exc is not None:
            self.over = True

    def _frame(self, frame: Frame, messages: list[str | bytes]) -> None:
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            self._opcode = frame.opcode
            self._parts = []
        elif frame.opcode is not Opcode.CONT:
            self.pings += frame.opcode is not Opcode.CLOSE
            return
        assert self._parts is not None
        if len(self._parts) >= bounds().fragments:  # empty ones too: the library bounds only their bytes
            self._fail(TOO_BIG, f"a message of more than {bounds().fragments:,} fragments")
            return
        self._parts.append(bytes(frame.data))
        if frame.fin:
            pieces, self._parts = self._parts, None
            self._whole(pieces, messages)

    def _whole(self, pieces: list[bytes], messages: list[str | bytes]) -> None:
        """Join `pieces` to a complete message and append it to `messages`.

        Empties `pieces`, so that a long message is not held in memory twice for longer than needed.
        """
        whole = b"".join(pieces)
        pieces.clear()
        if self._opcode is Opcode.BINARY:
            messages.append(whole)
            return
        try:
            messages.append(whole.decode())
        except UnicodeDecodeError as error:
            self._fail_text(error)

    def _fail_text(self, error: UnicodeDecodeError) -> None:
        self._fail(INVALID_DATA, f"{error.reason} at position {error.start}")

    def _fail(self, code: int, reason: str) -> None:
        if self.over:
            return
        library = self._the_library()
        library.fail(code, reason)
        self.over = True
        self._collect(library, [])
        self.close_reason = self.close_reason or reason


class CompressedWire(Wire):
    """Wire that offers permessage-deflate (RFC 7692): if the server accepts it, messages are compressed both ways.

    The library `websockets` decides which answers of the server are allowed. It keeps the compression context of either
    direction from message to message, unless the server's answer forbids that. A message that would be longer than
    `Network.frame_bytes` is not decompressed any further. A connection takes some 300 kB for both contexts.
    """

    __slots__ = ()

    def __init__(self, handshake: Handshake) -> None:
        """Prepare the upgrade request with the offer; the server may limit the window size of either direction."""
        super().__init__(handshake, extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)])

    @property
    def compressed(self) -> bool:
        """Return whether the server has accepted the offer."""
        return self._library is not None and bool(self._library.extensions)

    def frame(self, data: str | bytes) -> bytes:
        """Return `data` as one whole masked data frame, compressed if that was agreed."""
        library = self._library
        if library is None or not library.extensions:
            return data_frame(data)
        opcode, payload = (Opcode.TEXT, data.encode()) if isinstance(data, str) else (Opcode.BINARY, data)
        return Frame(opcode, payload).serialize(mask=True, extensions=library.extensions)


def _client_protocol(handshake: Handshake, extensions: Sequence[ClientExtensionFactory] | None) -> ClientProtocol:
    try:
        uri = parse_uri(handshake.url)
    except (InvalidURI, ValueError) as error:
        raise TargetError(f"{handshake.url.split('?')[0]!r} is no WebSocket address: {error}") from error
    subprotocols = [Subprotocol(name) for name in handshake.subprotocols] or None
    most = handshake.network.frame_bytes
    client = ClientProtocol(uri, subprotocols=subprotocols, extensions=extensions, max_size=most)
    request = client.connect()
    try:
        for name, value in handshake.headers.items():
            # A header of the user's replaces ours (Host, Origin): it must not be sent twice.
            if name in request.headers:
                del request.headers[name]
            request.headers[name] = value
    except InvalidHeader as error:  # its value may be a secret
        raise TargetError(f"The header {error.name} has a character that no request can have.") from None
    client.send_request(request)
    return client


def _refusal(error: Exception | None) -> Refused:
    if isinstance(error, InvalidStatus):
        body = bytes(error.response.body or b"")[:200].decode(errors="replace")
        status = error.response.status_code
        to = redirect_of(status, error.response.headers.get("Location", ""))
        return Refused((body or error.response.reason_phrase) + to, status=status)
    return Refused(str(error) if error is not None else "the connection ended before the upgrade", code=NO_CLOSE)
