"""One connection that consists of several sockets, one for each room (`harness.client.dialogue.ManyDialogues`).

The session sees one connection. It begins with the first socket that opens. It is over as soon as one socket is over:
then all sockets are closed, and the user reconnects as a whole. So the records of a connection mean the same on every
platform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from earwitness.harness.client.dialogue import BytesTo, Dialogue, ManyDialogues, TextTo
from earwitness.harness.client.events import Heard
from earwitness.harness.client.link import Hears, Transport
from earwitness.harness.client.wire import Refused
from earwitness.harness.client.wires import Framing


class Socket(Protocol):
    """Protocol of a `Link` of either shell, with the members that `ManyLinks` uses."""

    open_now: bool
    error: BaseException | None
    wire: Framing
    transport: Transport

    @property
    def usable(self) -> bool:
        """Return whether the socket is open and, if the platform greets connections, was greeted."""

    @property
    def awaited(self) -> str:
        """Return words for what the socket lacks before it is usable."""

    def check_usable(self) -> None:
        """Raise Refused (or the tester's own error) if the socket ended before it was usable."""

    def send(self, frame: str | bytes) -> None:
        """Write one message at once."""

    def send_soon(self, frame: str | bytes) -> None:
        """Queue one message, to be written at the end of this iteration of the event loop."""

    def abort(self) -> None:
        """Drop the socket at once."""


L = TypeVar("L", bound=Socket)


class ManyLinks(Generic[L]):
    """Several sockets of one user as one connection; the shells add `open`, `wait` and `close`.

    session, dialogue  as of a `Link`; `dialogue` holds one dialogue for each socket
    links              the socket of each room, by its label
    over               one of the sockets has ended, or all were closed
    closing            the tester has begun to close the sockets, so the end of one does not end the others
    """

    def __init__(self, session: Hears, dialogue: ManyDialogues, make: Callable[[Hears, Dialogue], L]) -> None:
        """Prepare a socket for each room. `make` returns the link for the session and the dialogue that it is given."""
        self.session, self.dialogue = session, dialogue
        self.handshake = dialogue.handshake
        self.links: dict[str, L] = {label: make(Ear(self, label), one) for label, one in dialogue.by_room.items()}
        self.over = self.closing = False
        self._epoch = 0
        self._opening: L | None = None
        self._first_over: L | None = None

    @property
    def open_now(self) -> bool:
        """Return whether every socket is open."""
        return not self.over and all(link.open_now for link in self.links.values())

    @property
    def usable(self) -> bool:
        """Return whether every socket is open and, if the platform greets connections, was greeted."""
        return not self.over and all(link.usable for link in self.links.values())

    @property
    def error(self) -> BaseException | None:
        """Return the exception by which the tester itself failed on one of the sockets, or None."""
        return next((link.error for link in self.links.values() if link.error is not None), None)

    @property
    def transport(self) -> Transport:
        """Return the totals that all sockets of this connection share; by default those of the process, TRANSPORT."""
        return next(iter(self.links.values())).transport

    @property
    def wire(self) -> Framing:
        """Return the wire of the socket that ended first; before that, of the one that was opened last."""
        return (self._first_over or self._opening or next(iter(self.links.values()))).wire

    @property
    def awaited(self) -> str:
        """Return words for what the socket that is being opened lacks before it is usable."""
        return "greeting" if self._opening is None else self._opening.awaited

    def check_usable(self) -> None:
        """Raise the error of the socket that ended first, Refused if it has none; no-op if no socket has ended."""
        if self._first_over is not None:
            self._first_over.check_usable()
            raise Refused(self.wire.close_reason, code=self.wire.close_code)

    def send(self, frame: str | bytes) -> None:
        """Write one message at once to the socket of its room; no-op if the connection is over."""
        link, plain = self._of(frame)
        link.send(plain)

    def send_soon(self, frame: str | bytes) -> None:
        """Queue one message; all messages of one iteration of the event loop to one socket are written together."""
        link, plain = self._of(frame)
        link.send_soon(plain)

    def _of(self, frame: str | bytes) -> tuple[L, str | bytes]:
        """Return the socket of a frame, and the frame as it is sent.

        A frame without a room goes to the first socket.
        """
        if isinstance(frame, TextTo):
            return self.links[frame.label], str(frame)
        if isinstance(frame, BytesTo):
            return self.links[frame.label], bytes(frame)
        return next(iter(self.links.values())), frame

    def abort(self) -> None:
        """Drop all sockets at once, without a close frame."""
        for link in self.links.values():
            if link.open_now or link is self._opening:  # others were not tried, and are not counted as refused
                link.abort()

    def _failed_to_open(self, error: BaseException) -> None:
        """Drop all sockets after an error on opening. If another socket had ended before, raise that socket's error."""
        cut = self._first_over is not None and self._first_over is not self._opening
        self.abort()
        if cut and isinstance(error, Refused):
            self.check_usable()

    # -- called by `Ear` ----------------------------------------------------------------------------------------------

    def began(self, now_ns: int, handshake_ns: int, replica: str | None) -> int:
        """Record the connection when its first socket opens; return its number, which all sockets share."""
        if not self._epoch:
            self._epoch = self.session.connected(self.dialogue, now_ns, handshake_ns, replica)
        return self._epoch

    def ended(self, label: str, now_ns: int, code: int, own: bool, reason: str) -> None:
        """Process the end of one socket. If the connection ends with this socket, record its end and drop all sockets.

        The connection ends with the first socket that ends; while the tester closes it (`closing`), with the last.

        label   room of the socket that has ended
        now_ns  monotonic ns
        code    close code, and its `reason`; `own`: the tester closed the socket
        """
        if self._first_over is None:
            self._first_over = self.links[label]
        if self.over or (self.closing and any(link.open_now for link in self.links.values())):
            return
        self.over = True
        self.session.closed(now_ns, code, own, reason)
        self.abort()


class Ear:
    """Adapter between one of several sockets and the session; it implements `harness.client.link.Hears`."""

    __slots__ = ("_label", "_many", "_session")

    def __init__(self, many: ManyLinks[Any], label: str) -> None:
        """Prepare to pass what the socket of the room `label` receives to the session of `many`."""
        self._many, self._label, self._session = many, label, many.session

    @property
    def welcomed(self) -> bool:
        """Return whether this socket was greeted."""
        return self._label in self._many.dialogue.greeted

    def connected(self, dialogue: Dialogue, now_ns: int, handshake_ns: int, replica: str | None = None) -> int:
        """Implement `Hears.connected`: record the connection if this is its first socket."""
        return self._many.began(now_ns, handshake_ns, replica)

    def heard(self, now_ns: int, data: str | bytes) -> None:
        """Implement `Hears.heard`: pass the frame to the session, which decodes it with the dialogue of this socket."""
        self._many.dialogue.room = self._label
        self._session.heard(now_ns, data)

    def happened(self, now_ns: int, events: Sequence[Heard]) -> None:
        """Implement `Hears.happened`: pass the events to the session, and note a greeting."""
        if events:
            self._many.dialogue.room = self._label
            self._many.dialogue.note(events)
            self._session.happened(now_ns, events)

    def closed(self, now_ns: int, code: int, own: bool, reason: str = "") -> None:
        """Implement `Hears.closed`: pass the end of this socket to `ManyLinks.ended`."""
        self._many.ended(self._label, now_ns, code, own, reason)


__all__ = ["ManyLinks"]
