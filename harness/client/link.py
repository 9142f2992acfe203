"""Common part of both shells: passes the bytes of a socket to the session as frames, and closes the socket.

A `Link` belongs to one socket. Its shell implements `_write` (pass on bytes, never raise) and `_shut` (drop the
socket); it calls `_received`, `_ended` and `_broken`.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic_ns
from typing import Protocol

from earwitness.harness.client.dialogue import BaseDialogue, Dialogue
from earwitness.harness.client.events import Heard
from earwitness.harness.client.session import ChatSession
from earwitness.harness.client.wire import NO_CLOSE, TOO_BIG, Refused, Wire
from earwitness.harness.client.wires import Framing, make_wire
from earwitness.harness.errors import Exceeded
from earwitness.harness.native import HOT, Core


class Transport:
    """Totals of the sockets of this process, counted apart from the sessions so that both can be compared (check H1).

    frames_in, frames_out  data messages received and sent
    frames_native          data messages of both directions that the native path read or made, and recorded
    bytes_in, bytes_out    bytes of the WebSocket stream, before TLS, upgrade and control frames included
    opened, refused        connections that became open, and connections that ended before, for whatever reason
    failed                 connections ended by an error of the tester
    exceeded               connections that the tester ended because they exceeded a bound (`harness.client.bounds`)
    pings                  ping and pong frames received on WebSockets
    behind_ns              longest time (ns) for which a socket had more to read than was read; not in `snapshot`
    held_up_ns             total time (ns) in which any socket had more to read than was read; not in `snapshot`
    """

    COUNTS = (
        "bytes_in", "bytes_out", "exceeded", "failed", "frames_in", "frames_native", "frames_out", "opened", "pings",
        "refused",
    )  # fmt: skip
    __slots__ = (*COUNTS, "_behind", "_behind_from", "behind_ns", "held_up_ns")

    def __init__(self) -> None:
        """Start all totals at zero."""
        self.bytes_in = self.bytes_out = self.frames_in = self.frames_out = self.frames_native = 0
        self.opened = self.refused = self.failed = self.exceeded = self.pings = 0
        self.start_watch()

    def start_watch(self) -> None:
        """Reset `behind_ns` and `held_up_ns` for a new run. Call it while no socket is open."""
        self.behind_ns = self.held_up_ns = 0
        self._behind = self._behind_from = 0

    def fell_behind(self, now_ns: int) -> None:
        """Note that at `now_ns` (monotonic ns) a socket has more to read than was read; call `caught_up` later."""
        if self._behind == 0:
            self._behind_from = now_ns
        self._behind += 1

    def caught_up(self, now_ns: int) -> None:
        """Note that a socket that `fell_behind` reported was read to its end, or closed, at `now_ns` (monotonic ns)."""
        self._behind -= 1
        if self._behind == 0:
            self.held_up_ns += now_ns - self._behind_from

    def snapshot(self) -> dict[str, int]:
        """Return the present counts by name."""
        return {name: getattr(self, name) for name in self.COUNTS}

    def since(self, before: dict[str, int]) -> dict[str, int]:
        """Return how much each count has grown since `before`, the result of an earlier `snapshot`."""
        return {name: count - before.get(name, 0) for name, count in self.snapshot().items()}


TRANSPORT = Transport()
"""Totals of this process; a connection uses them unless it is given others."""


class Hears(Protocol):
    """Protocol of a session, with what a socket needs of it; `harness.client.session.ChatSession` implements it."""

    @property
    def welcomed(self) -> bool:
        """Return whether the platform has greeted the connection."""

    def connected(self, dialogue: Dialogue, now_ns: int, handshake_ns: int, replica: str | None = None) -> int:
        """Record a connection that opened at `now_ns`, and return its number in the journal (epoch).

        `dialogue`: decoder and encoder of its frames; `handshake_ns`: duration of the handshake in ns; `replica`: name
        of the platform's replica, if known.
        """

    def heard(self, now_ns: int, data: str | bytes) -> None:
        """Record one received frame. `now_ns`: monotonic ns of its arrival."""

    def happened(self, now_ns: int, events: Sequence[Heard]) -> None:
        """Record events without a frame: those that the dialogue returned on opening or on a heartbeat."""

    def closed(self, now_ns: int, code: int, own: bool, reason: str = "") -> None:
        """Record the end of the connection, with its close code. `own`: the tester ended the connection."""


class Link:
    """One socket between a session and a platform.

    A shell subclasses it and implements `_write`, `_shut` and `_beat`.

    open_now  frames can be sent: the upgrade is done and the connection has not ended
    over      the connection has ended; `error` holds the exception if the tester itself failed
    native    the native path may record usual frames; set it before the connection opens
    """

    __slots__ = (
        "_begun_ns",
        "_core",
        "_epoch",
        "_frame",
        "_own",
        "dialogue",
        "error",
        "handshake",
        "native",
        "open_now",
        "over",
        "session",
        "transport",
        "wire",
    )

    def __init__(self, session: Hears, dialogue: Dialogue, *, transport: Transport = TRANSPORT) -> None:
        """Prepare a connection as `dialogue.handshake` describes; its bytes and frames are counted in `transport`."""
        self.session, self.dialogue, self.transport = session, dialogue, transport
        self.handshake = dialogue.handshake
        self.wire: Framing = make_wire(self.handshake)
        self._frame = self.wire.frame
        self.open_now = False
        self.over = False
        self.error: BaseException | None = None
        self.native = HOT is not None
        self._core: Core | None = None
        self._own = False
        self._epoch = 0
        self._begun_ns = monotonic_ns()

    @property
    def usable(self) -> bool:
        """Return whether the connection is open and, if the platform greets connections, the greeting has arrived."""
        return self.open_now and (self.session.welcomed or not self.handshake.welcome)

    @property
    def awaited(self) -> str:
        """Return words for what the connection lacks before it is usable: the greeting, or the answer to a step."""
        return self.dialogue.awaited if isinstance(self.dialogue, BaseDialogue) else "greeting"

    def check_usable(self) -> None:
        """Raise Refused (or the tester's own error) if the connection ended before it was usable."""
        if self.error is not None:
            raise self.error
        if self.wire.refusal is not None:
            raise self.wire.refusal
        if self.over and not self.usable:
            raise Refused(self.wire.close_reason, code=self.wire.close_code)

    def _decided(self) -> bool:
        return self.usable or self.over

    def _late(self, timeout_s: float) -> Refused:
        missing = self.awaited if self.wire.opened else "answer to the upgrade"
        return Refused(f"no {missing} within {timeout_s:g} s", code=NO_CLOSE)

    def _write(self, data: bytes) -> None:
        raise NotImplementedError

    def _shut(self) -> None:
        raise NotImplementedError

    def _beat(self, every_s: float) -> None:
        raise NotImplementedError

    def _reached(self, now_ns: int) -> None:
        """Start on a connected socket: send the upgrade request, or count as open at once if the wire has none."""
        self._write(self.wire.take_output())
        if self.wire.opened:
            self._opened(now_ns)

    def _received(self, now_ns: int, data: bytes) -> None:
        """Process the bytes of one read: record their frames in order, and write the answers of dialogue and wire."""
        wire = self.wire
        self.transport.bytes_in += len(data)
        opened = wire.opened
        if isinstance(wire, Wire) and not opened:
            data = wire.upgrade(data)
            if wire.opened:
                self._opened(now_ns)
        opened = wire.opened
        if self._core is not None:
            self._hear_usual(now_ns, data, self._core)
        elif data:
            messages = wire.receive(data)
            if not opened and wire.opened:
                self._opened(now_ns)
            if messages:
                self._hear(now_ns, messages)
        if self.dialogue.out:
            self._say()
        if wire.output:
            self._write(wire.take_output())
        if wire.over:
            self._ended(now_ns)

    def _hear(self, now_ns: int, messages: Sequence[str | bytes]) -> None:
        """Pass messages to the session, one by one."""
        transport, heard = self.transport, self.session.heard
        try:
            for message in messages:
                transport.frames_in += 1
                heard(now_ns, message)
        except (Exceeded, Refused) as error:
            self._unrecorded(error)

    def _unrecorded(self, error: Exceeded | Refused) -> None:
        self.transport.frames_in -= 1  # it is recorded as the end of the connection, or the verdict says why it is not
        if isinstance(error, Refused):
            self._turned_away(error)
        else:
            self._exceed(str(error))

    def _hear_usual(self, now_ns: int, data: bytes, core: Core) -> None:
        """Let the native core record the usual frames of one read, and pass every other frame to Python."""
        wire, transport = self.wire, self.transport
        assert isinstance(wire, Wire)
        data = wire.joined(data)
        at, end = 0, len(data)
        while at < end and wire.between_frames:
            try:
                at = core.receive(now_ns, data, at)
            except (Exceeded, Refused) as error:  # of a hook
                self._unrecorded(error)
                return
            finally:
                transport.frames_in += core.frames
                transport.frames_native += core.frames
            if at < end:
                stop = at + core.next if core.next else end
                self._hear(now_ns, wire.receive(data[at:stop]))
                at = stop
        if at < end:
            self._hear(now_ns, wire.receive(data[at:]))

    def said(
        self, now_ns: int, label: str, payload: str, planned_ns: int | None = None, asks: bool = False
    ) -> bytes | None:
        """Record one message to the room `label` in the native core, and return its frame as bytes to write.

        None: the native core could not do so, and nothing was recorded; call `ChatSession.send` instead. `planned_ns`:
        planned start of the message in monotonic ns, None means `now_ns`. `asks`: the message is a question to the
        agent.
        """
        framed = None if self._core is None or self.over else self._core.send(now_ns, label, payload, planned_ns, asks)
        if framed is not None:
            self.transport.frames_native += 1
        return framed

    def said_again(self, now_ns: int, message_id: str) -> bytes | None:
        """Record in the native core that an unanswered message is sent again, and return its frame as bytes to write.

        None: the native core could not do so, and nothing was recorded; call `ChatSession.retry` instead.
        """
        framed = None if self._core is None or self.over else self._core.again(now_ns, message_id)
        if framed is not None:
            self.transport.frames_native += 1
        return framed

    def _opened(self, now_ns: int) -> None:
        self.transport.opened += 1
        self.open_now = True
        dialogue = self.dialogue
        self._epoch = self.session.connected(dialogue, now_ns, now_ns - self._begun_ns)
        session, envelope = self.session, dialogue.envelope if isinstance(dialogue, BaseDialogue) else None
        plain = isinstance(self.wire, Wire) and not self.wire.compressed
        if self.native and envelope is not None and isinstance(session, ChatSession) and plain:
            self._core = session.core(envelope, self.handshake.network.frame_bytes)
        self.session.happened(now_ns, dialogue.opened())
        self._say()
        if dialogue.beat_s:
            self._beat(dialogue.beat_s)

    def _say(self) -> None:
        """Write the frames that wait in `dialogue.out`, and empty it."""
        out = self.dialogue.out
        data = b"".join(map(self._unrecorded_frame, out))
        out.clear()
        self._write(data)

    def _unrecorded_frame(self, frame: str | bytes) -> bytes:
        """Count a frame that is written now without a record, and return its bytes."""
        self.transport.frames_out += 1
        self.transport.frames_native += self._core is not None and isinstance(frame, str)
        return self._frame(frame)

    def _tick(self) -> None:
        """Call the dialogue's `tick` and send what it returns; no-op if the connection is not open.

        The shell calls this method at the interval that `_beat` was called with.
        """
        if not self.open_now or self.over:
            return
        try:
            self.session.happened(monotonic_ns(), self.dialogue.tick())
            self._say()
        except Exceeded as error:
            self._exceed(str(error))
        except Exception as error:
            self._broken(error)

    def _ended(self, now_ns: int) -> None:
        """End the connection after a close frame, end of stream, reset, deadline or an error of the tester.

        Idempotent.
        """
        if self.over:
            return
        self.over = True
        if not self.wire.opened:
            self.transport.refused += 1
        self.open_now = False
        if isinstance(self.wire, Wire):
            self.transport.pings += self.wire.pings
        self._shut()
        if self._epoch:
            wire = self.wire
            # A frame over our own limit is our decision: the platform is not blamed for the end.
            too_big = wire.close_code == TOO_BIG and wire.close_received is None
            self.transport.exceeded += too_big
            own = self._own or too_big
            self.session.closed(now_ns, wire.close_code, own, wire.close_reason)

    def _eof(self) -> None:
        self.wire.receive_eof()
        self._ended(monotonic_ns())

    def _broken(self, error: BaseException) -> None:
        """End the connection because of an error of the tester: what follows could not be recorded."""
        if self.error is None:
            self.error = error
            self.transport.failed += 1
        self._own = True
        self.wire.over = True
        self._ended(monotonic_ns())

    def _exceed(self, what: str) -> None:
        """End the connection at once because it exceeded a bound, with `what` as the reason. Idempotent."""
        if not self.over:
            self.transport.exceeded += 1
            self.wire.close_reason = what
            self._give_up()

    def _turned_away(self, refused: Refused) -> None:
        """Mark a connection as over that the platform has refused or ended by a frame; the tester closes the socket.

        If the connection was not usable yet, `refused` becomes the refusal that `check_usable` raises.
        """
        if not self.usable:
            self.wire.refusal = refused
        self.wire.close_reason = refused.reason
        self.wire.over = True

    def _give_up(self) -> None:
        """End the connection at once; the end counts as one by the tester. Idempotent."""
        if not self.over:
            self._own = True
            self.wire.over = True
            self._ended(monotonic_ns())

    def _start_close(self, code: int, reason: str) -> None:
        self._own = True
        self.dialogue.closing()
        self._say()
        self.wire.close(code, reason)
        self._write(self.wire.take_output())
        if self.wire.over:  # nothing to agree on
            self._ended(monotonic_ns())


__all__ = ["NO_CLOSE", "TRANSPORT", "Hears", "Link", "Transport"]
