"""Gevent shell: blocking calls for the user, and one libev watcher per connection for incoming bytes.

There is no reader greenlet. The watcher's callback runs in gevent's hub: it reads once, takes the time, records, and
returns. Nothing in the callback may switch to another greenlet (locks, DNS, logging to a patched stream, `sendall`):
gevent would raise BlockingSwitchOutError and never call the watcher again. So every exception of a callback ends the
connection and is kept in `Connection.error`.
"""

from __future__ import annotations

import _socket
import ssl
from collections.abc import Callable, Collection
from contextlib import suppress
from time import monotonic_ns
from typing import Protocol
from urllib.parse import urlsplit

import gevent
import gevent.socket
from gevent.event import Event

from earwitness.harness.client.bell import begin_reading, end_reading
from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.dialogue import Dialogue, ManyDialogues
from earwitness.harness.client.link import TRANSPORT, Hears, Link, Transport
from earwitness.harness.client.many_links import ManyLinks
from earwitness.harness.client.network import SECURE, ProxyError, Tunnel, place_of, proxy_of
from earwitness.harness.client.tls import Tls
from earwitness.harness.client.wire import Refused
from earwitness.harness.client.wires import NoSocket
from earwitness.harness.errors import Exceeded
from earwitness.harness.native import SOCKETS, Core

READ, WRITE = 1, 2
RECV_BYTES = 65536


class Watcher(Protocol):
    """Protocol of a watcher of gevent's loop, which calls back when a socket can be read or written."""

    def stop(self) -> None:
        """Stop calling back."""

    def close(self) -> None:
        """Release the watcher's resources in the loop."""


class Connection(Link):
    """Connection of a session under gevent, over any wire (`harness.client.wires`); it can be opened once.

    `error`: the exception that was raised in a callback of this class, or None.
    """

    __slots__ = (
        "_backlog",
        "_beats",
        "_behind_since",
        "_fd",
        "_reader",
        "_recv",
        "_send",
        "_sock",
        "_soon",
        "_tls",
        "_waiters",
        "_writer",
        "timeout_s",
    )

    def __init__(
        self, session: Hears, dialogue: Dialogue, *, timeout_s: float = 10.0, transport: Transport = TRANSPORT
    ) -> None:
        """Prepare a connection of `session`; nothing is sent before `open`, which may take `timeout_s` seconds."""
        super().__init__(session, dialogue, transport=transport)
        self.timeout_s = timeout_s
        self._sock: _socket.socket | None = None
        self._tls: Tls | None = None
        self._reader: Watcher | None = None
        self._writer: Watcher | None = None
        self._beats: Watcher | None = None
        self._backlog = bytearray()
        self._behind_since = 0
        self._fd = -1  # of the socket, if the native core reads and writes it
        self._soon: list[bytes] = []
        self._waiters: tuple[Event, ...] = ()

    # -- for the user -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, upgrade, send the first frames, and wait for the greeting if there is one, all within `timeout_s`.

        Raises Refused if the platform refused or was too late with an answer; OSError if there was no answer at all (a
        TLS error is one too); Unlisted, also an OSError, if the host was not checked before the run; TargetError for
        certificates or a proxy's address that cannot be used. An error of the tester itself is raised unchanged.
        """
        end_ns = monotonic_ns() + int(self.timeout_s * 1e9)
        self._begun_ns = monotonic_ns()
        try:
            if not isinstance(self.handshake, NoSocket):
                self._connect(end_ns)
            if self.over:  # meanwhile another socket of the same user has ended
                self._shut()
            else:
                self._reached(monotonic_ns())
            in_time = self.wait(self._decided, (end_ns - monotonic_ns()) / 1e9)
        except BaseException:
            self._give_up()
            raise
        if not in_time:
            self._give_up()
            raise self._late(self.timeout_s)
        self.check_usable()

    def send(self, frame: str | bytes) -> None:
        """Write one message at once; no-op if the connection is over.

        The session learns of the end by its method `closed`.
        """
        if self._sock is not None:
            self.transport.frames_out += 1
            self._write(self._frame(frame))

    def request(self, frame: str | bytes) -> None:
        """Write one frame at once without recording it, such as a subscription; no-op if there is no socket."""
        if self._sock is not None:
            self._write(self._unrecorded_frame(frame))

    def send_soon(self, frame: str | bytes) -> None:
        """Queue one message; all messages of one iteration of the event loop are written together."""
        if not self._soon:
            gevent.get_hub().loop.run_callback(self._flush)
        self._soon.append(self._frame(frame))

    def say(
        self, now_ns: int, label: str, payload: str, planned_ns: int | None = None, *, soon: bool = False,
        asks: bool = False,
    ) -> bool:  # fmt: skip
        """Record one message to the room `label` and send it in the native core; return whether the core did both.

        After False nothing was recorded or sent: call `ChatSession.send` and then `send` or `send_soon` instead.

        - `now_ns`: monotonic ns; `planned_ns`: planned start of the message, None means `now_ns`
        - `payload`: text of the message
        - `soon`: queue the message, as `send_soon` does, instead of writing it at once
        - `asks`: the message is a question to the platform's agent
        """
        core = self._core
        if core is None or self._sock is None:
            return False
        if soon:
            framed = core.send(now_ns, label, payload, planned_ns, asks)
            if framed is None:
                return False
            if not self._soon:
                gevent.get_hub().loop.run_callback(self._flush)
            self._soon.append(framed)
        elif self._fd < 0 or self._backlog:
            framed = core.send(now_ns, label, payload, planned_ns, asks)
            if framed is None:
                return False
            self.transport.frames_out += 1
            self._write(framed)
        else:
            posted = core.post(self._fd, now_ns, label, payload, planned_ns, asks)
            if posted is None:
                return False
            transport = self.transport
            transport.frames_out += 1
            if isinstance(posted, int):
                transport.bytes_out += posted
            else:
                transport.bytes_out += len(posted)
                self._keep(posted[core.written :])
        self.transport.frames_native += 1
        return True

    def say_many(
        self, label: str, payloads: list[str], starts: list[int] | None = None, *, joined: bool = False
    ) -> int:
        """Record messages to the room `label` and send them, natively and in one call; return how many were sent.

        The next one, if there is one, must be sent by `say` or, if that returns False, by `ChatSession.send`. If this
        raises, `ChatSession.counter` says how many were sent before.

        - `starts`: planned start of each message in monotonic ns, None means now
        - `joined`: one write takes many frames, 64 to 128 KiB if there are so many, and their records have one time, at
          which the first of them was made; else each frame is written by itself, at a time of its own
        """
        core, done = self._core, 0
        if core is None or self._fd < 0:
            return 0
        self._flush()
        while done < len(payloads) and self._sock is not None and not self._backlog:
            rest = core.post_many(self._fd, label, payloads, starts, done, joined)
            transport = self.transport
            transport.frames_out += core.sent
            transport.frames_native += core.sent
            transport.bytes_out += core.made
            done += core.sent
            if rest:
                self._keep(rest)
            elif not core.sent:
                break
        return done

    def say_again(self, now_ns: int, message_id: str) -> bool:
        """Record and resend the unanswered message `message_id` in the native core; return whether the core did both.

        `now_ns`: monotonic ns. After False nothing was recorded or sent: call `ChatSession.retry` and `send` instead.
        """
        framed = None if self._sock is None else self.said_again(now_ns, message_id)
        if framed is not None:
            self.transport.frames_out += 1
            self._write(framed)
        return framed is not None

    @property
    def backlog(self) -> int:
        """Return the number of bytes that wait to be sent because the kernel has not accepted them yet."""
        return len(self._backlog)

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Block until `done()` is true; return False if it is still false after `timeout_s` seconds.

        `done` is called at once, after every read and after the end of the connection.
        """
        return _wait((self,), done, timeout_s)

    def close(self, code: int = 1000, reason: str = "", *, timeout_s: float = 5.0) -> None:
        """Do the closing handshake, then close the socket.

        If the peer does not answer within `timeout_s` seconds, the socket is closed without the handshake.
        """
        self._flush()
        if self.open_now and not self.over:
            self._start_close(code, reason)
            self.wait(lambda: self.over, timeout_s)
        self._give_up()

    def abort(self) -> None:
        """Drop the socket at once, without a close frame."""
        self._give_up()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _connect(self, end_ns: int) -> None:
        url, network = self.handshake.url, self.handshake.network
        network.check(url)
        place = place_of(url)
        left_s = max((end_ns - monotonic_ns()) / 1e9, 0.001)
        sock = _reach(url, place, left_s)
        try:
            if urlsplit(url).scheme in SECURE:
                self._tls = Tls(place[0], network)
                self._tls_handshake(sock, self._tls)
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            # From here on it is read and written without gevent: its sockets would switch inside a callback.
            plain = _socket.socket(fileno=sock.detach())
        except BaseException:
            sock.close()
            raise
        plain.setblocking(False)
        self._sock, self._recv, self._send = plain, plain.recv, plain.send
        self._fd = plain.fileno() if SOCKETS and self._tls is None else -1
        reader = gevent.get_hub().loop.io(plain.fileno(), READ)
        self._reader = reader
        reader.start(self._readable)

    @staticmethod
    def _tls_handshake(sock: gevent.socket.socket, tls: Tls) -> None:
        received = b""
        done = False
        while not done:
            try:
                done = tls.handshake(received)
            finally:
                # Also on failure: the alert tells the server why.
                output = tls.take_output()
                if output:
                    sock.sendall(output)
            if not done:
                received = sock.recv(RECV_BYTES)
                if not received:
                    raise ssl.SSLEOFError("the server ended the connection during the TLS handshake")

    def _readable(self) -> None:
        begin_reading()
        try:
            core = self._core
            if core is not None and self._fd >= 0 and self.wire.between_frames:
                self._pull(core)
            else:
                self._read()
        except Exception as error:
            self._broken(error)
        except BaseException as error:
            self._broken(error)
            raise
        finally:
            if self._waiters:
                self._wake()
            end_reading()

    def _pull(self, core: Core) -> None:
        """Read the socket in the native core, which records the usual frames; pass the remaining bytes to Python."""
        transport, taken = self.transport, None
        try:
            taken = core.pull(self._fd)
        except (Exceeded, Refused) as error:  # of a hook
            self._unrecorded(error)
        finally:
            transport.bytes_in += core.got
            transport.frames_in += core.frames
            transport.frames_native += core.frames
        more = core.got == RECV_BYTES
        if (more or self._behind_since) and self._sock is not None:  # a hook may have closed it
            self._lag_behind(core.now, more)
        if isinstance(taken, bytes):
            transport.bytes_in -= len(taken)  # they are counted with the others
            self._received(core.now, taken)
        elif taken == 0:
            self._eof()

    def _read(self) -> None:
        try:
            data = self._recv(RECV_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        now_ns = monotonic_ns()
        if len(data) == RECV_BYTES or self._behind_since:
            self._lag_behind(now_ns, len(data) == RECV_BYTES)
        tls = self._tls
        if tls is not None and data:
            data = tls.decrypt(data)
            self._put(tls.take_output())
            if data:
                self._received(now_ns, data)
            if tls.ended:
                self._eof()
        elif data:
            self._received(now_ns, data)
        else:
            self._eof()

    def _lag_behind(self, now_ns: int, more: bool) -> None:
        """Measure for how long the kernel has held received bytes that this process had not read.

        A read that filled its buffer has probably left some. From the first such read to the next that did not fill the
        buffer, incoming bytes may have waited for the tester, and the tester did not wait for them. `more`: this read
        filled its buffer.
        """
        if self._behind_since:
            self.transport.behind_ns = max(self.transport.behind_ns, now_ns - self._behind_since)
            if not more:
                self.transport.caught_up(now_ns)
                self._behind_since = 0
        elif more:
            self.transport.fell_behind(now_ns)
            self._behind_since = now_ns

    def _wake(self) -> None:
        for waiter in self._waiters:
            waiter.set()

    def _write(self, data: bytes) -> None:
        self.transport.bytes_out += len(data)
        self._put(data if self._tls is None else self._tls.encrypt(data))

    def _put(self, data: bytes) -> None:
        if self._sock is None or not data:
            return
        if self._backlog:
            self._backlog += data
            if len(self._backlog) > bounds().unsent_mb << 20:
                self._backlog.clear()
                self._exceed(f"it reads nothing while more than {bounds().unsent_mb} MB wait for it")
            return
        try:
            sent = self._send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            # The read side notices it too, after everything that came before.
            return
        if sent < len(data):
            self._keep(data[sent:])

    def _keep(self, rest: bytes) -> None:
        """Store the bytes `rest`, which the kernel has not accepted, and write them once the kernel accepts more."""
        assert self._sock is not None
        self._backlog += rest
        writer = gevent.get_hub().loop.io(self._sock.fileno(), WRITE)
        self._writer = writer
        writer.start(self._writable)

    def _writable(self) -> None:
        try:
            sent = self._send(self._backlog)
            del self._backlog[:sent]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._backlog.clear()
        except BaseException as error:
            self._broken(error)
            raise
        if not self._backlog and self._writer is not None:
            _drop(self._writer)
            self._writer = None
        self._wake()

    def _flush(self) -> None:
        if self._soon:
            frames, self._soon = self._soon, []
            if self._sock is not None:
                self.transport.frames_out += len(frames)
                self._write(b"".join(frames))

    def _beat(self, every_s: float) -> None:
        timer = gevent.get_hub().loop.timer(every_s, every_s)
        self._beats = timer
        timer.start(self._tick)

    def _shut(self) -> None:
        for watcher in (self._reader, self._writer, self._beats):
            if watcher is not None:
                _drop(watcher)
        self._reader = self._writer = self._beats = None
        self._fd = -1
        sock, self._sock = self._sock, None
        self._lag_behind(monotonic_ns(), False)
        if sock is not None:
            if self._backlog:
                with suppress(OSError):
                    sock.send(self._backlog)
                self._backlog.clear()
            sock.close()
        self._wake()


def _wait(connections: Collection[Connection], done: Callable[[], bool], timeout_s: float) -> bool:
    """Block until `done()` is true or `timeout_s` seconds have passed; return the last result of `done`.

    `done` is called at once, and whenever something happens on one of the connections.
    """
    if done():
        return True
    changed = Event()
    for connection in connections:
        connection._waiters = (*connection._waiters, changed)
    end_ns = monotonic_ns() + int(timeout_s * 1e9)
    try:
        while not done():
            left_ns = end_ns - monotonic_ns()
            if left_ns <= 0 or not changed.wait(left_ns / 1e9):
                return done()
            changed.clear()
        return True
    finally:
        for connection in connections:
            connection._waiters = tuple(waiter for waiter in connection._waiters if waiter is not changed)


class ManyConnections(ManyLinks[Connection]):
    """Connection of several sockets under gevent: one for each room of a user. It can be opened once."""

    def __init__(
        self, session: Hears, dialogue: ManyDialogues, *, timeout_s: float = 10.0, transport: Transport = TRANSPORT
    ) -> None:
        """Prepare the sockets of `session`; nothing is sent before `open`, which may take `timeout_s` seconds."""
        super().__init__(session, dialogue, lambda ear, one: Connection(ear, one, transport=transport))
        self.timeout_s = timeout_s

    def open(self) -> None:
        """Open the sockets one after the other, all within `timeout_s`. Raises what `Connection.open` raises."""
        end_ns = monotonic_ns() + int(self.timeout_s * 1e9)
        try:
            for link in self.links.values():
                self._opening = link
                link.timeout_s = max((end_ns - monotonic_ns()) / 1e9, 0.001)
                link.open()
                self.check_usable()
        except BaseException as error:
            self._failed_to_open(error)
            raise

    def say(
        self, now_ns: int, label: str, payload: str, planned_ns: int | None = None, *, soon: bool = False,
        asks: bool = False,
    ) -> bool:  # fmt: skip
        """Return False: a connection of several sockets has no native core. Nothing is recorded or sent."""
        return False

    def say_many(
        self, label: str, payloads: list[str], starts: list[int] | None = None, *, joined: bool = False
    ) -> int:
        """Return 0: the sockets of one connection have no native core."""
        return 0

    def say_again(self, now_ns: int, message_id: str) -> bool:
        """Return False: a connection of several sockets has no native core. Nothing is recorded or sent."""
        return False

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Block until `done()` is true, as `Connection.wait` does."""
        return _wait(self.links.values(), done, timeout_s)

    def close(self, code: int = 1000, reason: str = "", *, timeout_s: float = 5.0) -> None:
        """Do the closing handshake on every socket, then close them, as `Connection.close` does."""
        self.closing = True
        for link in self.links.values():
            link._flush()
            if link.open_now:
                link._start_close(code, reason)
        self.wait(lambda: not any(link.open_now for link in self.links.values()), timeout_s)
        self.abort()


def connect(
    session: Hears, dialogue: Dialogue, *, timeout_s: float = 10.0, transport: Transport = TRANSPORT
) -> Connection | ManyConnections:
    """Return an unopened connection for `dialogue`: of several sockets for `ManyDialogues`, else of one.

    Call its `open`.
    """
    if isinstance(dialogue, ManyDialogues):
        return ManyConnections(session, dialogue, timeout_s=timeout_s, transport=transport)
    return Connection(session, dialogue, timeout_s=timeout_s, transport=transport)


def _reach(url: str, place: tuple[str, int], timeout_s: float) -> gevent.socket.socket:
    """Return a TCP connection to `place` (host, port), through the proxy that the environment names for `url`, if any.

    Raises OSError (ProxyError if the proxy is at fault), and TargetError for a proxy's address that cannot be read.
    """
    proxy = proxy_of(url)
    if proxy is None:
        return gevent.socket.create_connection(place, timeout=timeout_s)
    try:
        sock = gevent.socket.create_connection((proxy.host, proxy.port), timeout=timeout_s)
    except OSError as error:
        raise ProxyError(f"{error}; it goes through {proxy}") from error
    try:
        open_tunnel(sock, Tunnel(proxy, url))
    except BaseException:
        sock.close()
        raise
    return sock


def open_tunnel(sock: gevent.socket.socket, tunnel: Tunnel) -> None:
    """Connect `sock` to its target through a proxy; return when the tunnel is open.

    Raises OSError (ProxyError if the proxy refuses).
    """
    sock.sendall(tunnel.request)
    while not tunnel.answered(sock.recv(RECV_BYTES)):
        pass


def _drop(watcher: Watcher) -> None:
    watcher.stop()
    watcher.close()


__all__ = ["TRANSPORT", "Connection", "ManyConnections", "Refused", "connect"]
