"""Asyncio shell of a session, for pytest and tools; `gevent_shell` runs the same session in load processes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import monotonic_ns
from typing import cast
from urllib.parse import urlsplit

from earwitness.harness.client.dialogue import Dialogue, ManyDialogues
from earwitness.harness.client.link import TRANSPORT, Hears, Link, Transport
from earwitness.harness.client.many_links import ManyLinks
from earwitness.harness.client.network import SECURE, ProxyError, Tunnel, place_of, proxy_of
from earwitness.harness.client.wire import Refused
from earwitness.harness.client.wires import NoSocket

RECV_BYTES = 65536


class AsyncConnection(Link, asyncio.Protocol):
    """Connection of a session under asyncio, over any wire (`harness.client.wires`); it can be opened once.

    `async with` opens the connection at the beginning of the block, and closes it at the end.
    """

    __slots__ = ("_beats", "_changed", "_loop", "_lost", "_socket", "_soon", "timeout_s")

    def __init__(
        self, session: Hears, dialogue: Dialogue, *, timeout_s: float = 10.0, transport: Transport = TRANSPORT
    ) -> None:
        """Prepare a connection of `session`; nothing is sent before `open`, which may take `timeout_s` seconds."""
        super().__init__(session, dialogue, transport=transport)
        self.timeout_s = timeout_s
        self._socket: asyncio.Transport | None = None
        self._soon: list[bytes] = []
        self._beats: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._lost = asyncio.Event()

    async def open(self) -> None:
        """Connect, upgrade, send the first frames, and wait for the greeting if there is one, all within `timeout_s`.

        Raises Refused if the platform refused or was too late with an answer; OSError if there was no answer at all (a
        TLS error is one too); Unlisted, also an OSError, if the host was not checked before the run; TargetError for
        certificates or a proxy's address that cannot be used. An error of the tester itself is raised unchanged.
        """
        self._loop = asyncio.get_running_loop()
        self._begun_ns = monotonic_ns()
        end_ns = self._begun_ns + int(self.timeout_s * 1e9)
        try:
            if isinstance(self.handshake, NoSocket):
                self._reached(self._begun_ns)
            else:
                async with asyncio.timeout(self.timeout_s):
                    await self._connect(self.handshake.url)
            if not await self.wait(self._decided, (end_ns - monotonic_ns()) / 1e9):
                raise self._late(self.timeout_s)
            self.check_usable()
        except BaseException:
            await self._drop()
            raise

    async def _connect(self, url: str) -> None:
        network = self.handshake.network
        network.check(url)
        tls = network.tls() if urlsplit(url).scheme in SECURE else None
        name = place_of(url)[0] if tls else None
        await self._loop.create_connection(lambda: self, sock=await reach(url), ssl=tls, server_hostname=name)

    async def __aenter__(self) -> AsyncConnection:
        """Open the connection, as `open` does and with its errors."""
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection; an exception of the block is not suppressed."""
        await self.close()

    def send(self, frame: str | bytes) -> None:
        """Write one message at once; no-op if the connection is over.

        The session learns of the end by its method `closed`.
        """
        if self._socket is not None and not self.over:
            self.transport.frames_out += 1
            self._write(self._frame(frame))

    def send_soon(self, frame: str | bytes) -> None:
        """Queue one message; all messages of one iteration of the event loop are written together."""
        self._queue(self._frame(frame))

    def _queue(self, framed: bytes) -> None:
        if not self._soon:
            self._loop.call_soon(self._flush)
        self._soon.append(framed)

    def say(self, now_ns: int, label: str, payload: str) -> bool:
        """Record and queue one message to the room `label` in the native core; return whether the core did both.

        After False nothing was recorded or sent: call `ChatSession.send` and `send_soon` instead. `now_ns`: monotonic
        ns; `payload`: text of the message.
        """
        framed = self.said(now_ns, label, payload)
        if framed is not None:
            self._queue(framed)
        return framed is not None

    async def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `done()` is true; return False if it is still false after `timeout_s` seconds.

        `done` is called at once, after every read and after the end of the connection.
        """
        try:
            async with asyncio.timeout(max(timeout_s, 0)):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return done()
        return True

    async def close(self, code: int = 1000, reason: str = "", *, timeout_s: float = 5.0) -> None:
        """Do the closing handshake, then close the socket.

        If the peer does not answer within `timeout_s` seconds, the socket is closed without the handshake.
        """
        self._flush()
        if self.open_now and not self.over:
            self._start_close(code, reason)
            await self.wait(lambda: self.over, timeout_s)
        await self._drop()

    def abort(self) -> None:
        """Drop the socket at once, without a close frame."""
        self._give_up()
        if self._socket is not None:
            self._socket.abort()

    # -- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement `asyncio.Protocol.connection_made`: send the upgrade request."""
        # uvloop's transports are no subclass of asyncio.Transport
        self._socket = cast(asyncio.Transport, transport)
        if self.over:  # meanwhile another socket of the same user has ended
            self._socket.abort()
            return
        try:
            self._reached(monotonic_ns())
        except Exception as error:
            self._broken(error)

    def data_received(self, data: bytes) -> None:
        """Implement `asyncio.Protocol.data_received`: record the bytes with the present time.

        An error while recording ends the connection and is stored in `error`.
        """
        now_ns = monotonic_ns()
        if self.over:
            return
        try:
            self._received(now_ns, data)
        except Exception as error:
            self._broken(error)
        self._changed.set()

    def eof_received(self) -> None:
        """Implement `asyncio.Protocol.eof_received`: end the connection."""
        if not self.over:
            self._eof()
        self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Implement `asyncio.Protocol.connection_lost`: end the connection, and let a waiting `close` return."""
        self._socket = None
        if not self.over:
            self._eof()
        self._lost.set()
        self._changed.set()

    # -- inside -----------------------------------------------------------------------------------------------------

    async def _drop(self) -> None:
        self.abort()
        await self._gone()

    async def _gone(self) -> None:
        """Wait until the socket of an ended connection is closed."""
        if self._socket is not None:
            await self._lost.wait()

    def _write(self, data: bytes) -> None:
        if self._socket is not None and data:
            self.transport.bytes_out += len(data)
            self._socket.write(data)

    def _flush(self) -> None:
        if self._soon:
            frames, self._soon = self._soon, []
            if self._socket is not None and not self.over:
                self.transport.frames_out += len(frames)
                self._write(b"".join(frames))

    def _beat(self, every_s: float) -> None:
        def due() -> None:
            self._tick()
            if self.open_now:
                self._beats = self._loop.call_later(every_s, due)

        self._beats = self._loop.call_later(every_s, due)

    def _shut(self) -> None:
        if self._beats is not None:
            self._beats.cancel()
        if self._socket is not None:
            self._socket.close()
        self._changed.set()


class ManyAsyncConnections(ManyLinks[AsyncConnection]):
    """Connection of several sockets under asyncio: one for each room of a user. It can be opened once."""

    def __init__(
        self, session: Hears, dialogue: ManyDialogues, *, timeout_s: float = 10.0, transport: Transport = TRANSPORT
    ) -> None:
        """Prepare the sockets of `session`; nothing is sent before `open`, which may take `timeout_s` seconds."""
        super().__init__(session, dialogue, lambda ear, one: AsyncConnection(ear, one, transport=transport))
        self.timeout_s = timeout_s
        changed = asyncio.Event()  # shared, so that whatever happens on any socket ends a wait
        for link in self.links.values():
            link._changed = changed

    async def open(self) -> None:
        """Open the sockets one after the other, all within `timeout_s`. Raises what `AsyncConnection.open` raises."""
        end_ns = monotonic_ns() + int(self.timeout_s * 1e9)
        try:
            for link in self.links.values():
                self._opening = link
                link.timeout_s = max((end_ns - monotonic_ns()) / 1e9, 0.001)
                await link.open()
                self.check_usable()
        except BaseException as error:
            self._failed_to_open(error)
            raise

    def say(self, now_ns: int, label: str, payload: str) -> bool:
        """Return False: a connection of several sockets has no native core. Nothing is recorded or sent."""
        return False

    async def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `done()` is true, as `AsyncConnection.wait` does."""
        return await next(iter(self.links.values())).wait(done, timeout_s)

    async def close(self, code: int = 1000, reason: str = "", *, timeout_s: float = 5.0) -> None:
        """Do the closing handshake on every socket, then close them, as `AsyncConnection.close` does."""
        self.closing = True
        for link in self.links.values():
            link._flush()
            if link.open_now:
                link._start_close(code, reason)
        await self.wait(lambda: not any(link.open_now for link in self.links.values()), timeout_s)
        self.abort()
        for link in self.links.values():
            await link._gone()


def connect(
    session: Hears, dialogue: Dialogue, *, timeout_s: float = 10.0, transport: Transport = TRANSPORT
) -> AsyncConnection | ManyAsyncConnections:
    """Return an unopened connection for `dialogue`: of several sockets for `ManyDialogues`, else of one.

    Await its `open`.
    """
    if isinstance(dialogue, ManyDialogues):
        return ManyAsyncConnections(session, dialogue, timeout_s=timeout_s, transport=transport)
    return AsyncConnection(session, dialogue, timeout_s=timeout_s, transport=transport)


async def reach(url: str) -> socket.socket:
    """Open a TCP connection to the host of `url`, through its proxy if it has one; return the socket.

    Raises OSError (ProxyError if the proxy is at fault), and TargetError for a proxy's address that cannot be read.
    """
    loop, proxy = asyncio.get_running_loop(), proxy_of(url)
    if proxy is None:
        return await _connected(place_of(url))
    try:
        sock = await _connected((proxy.host, proxy.port))
    except OSError as error:
        raise ProxyError(f"{error}; it goes through {proxy}") from error
    try:
        tunnel = Tunnel(proxy, url)
        await loop.sock_sendall(sock, tunnel.request)
        while not tunnel.answered(await loop.sock_recv(sock, RECV_BYTES)):
            pass
    except BaseException:
        sock.close()
        raise
    return sock


async def _connected(place: tuple[str, int]) -> socket.socket:
    """Return a socket connected to the first address of `place`, a (host, port), that accepts the connection.

    Raises OSError.
    """
    loop = asyncio.get_running_loop()
    failed: OSError | None = None
    for family, kind, protocol, _, address in await loop.getaddrinfo(*place, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failed = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failed or OSError(f"no address of {place[0]}")


__all__ = ["AsyncConnection", "ManyAsyncConnections", "Refused", "connect", "reach"]
