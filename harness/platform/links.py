"""Links: connections between two parts of the platform that pass through a proxy, so that faults can disturb them.

A link is called CALLER/CALLEE: `edge/backend-1`, `backend-2/auth`, `users/edge`. A platform has only the links that it
was started with; all other connections are direct.

The proxy is `python -m earwitness.harness.platform.links`, one process for all links of a platform, which the
supervisor starts and ends like a service. Requests are lines of JSON on the inherited socket: `{"token", "do": "set",
"link", "conditions": {…}}`, `cut` (reset every connection of a link), `status` (of each link: conditions; numbers of
open, opened and cut connections; bytes).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.children import module_environment
from earwitness.harness.platform.ports import BACKLOG, HOST, ReservedPort, bound_socket
from earwitness.harness.platform.spec import SETTINGS_VARIABLE, ServiceSpec

NAME = "links"
"""Name of the service that runs the proxy."""
USERS = "users"
_ALL = "all"
_ANSWER_S = 5.0
_TRY_S = 2.0
_QUESTIONS = {"valkey": b"PING\r\n", "postgres": b"\0\0\0\x08\x04\xd2\x16\x2f"}
"""Requests that a database answers without a password, by service: the command PING, an SSLRequest."""
_HIGH_WATER = 1 << 18
"""Bytes in transit in one direction from which the proxy stops reading."""
_MAX_LINE = 1 << 16
_NO_LINGER = struct.pack("ii", 1, 0)


def possible_links(replicas: Sequence[str], stores: Iterable[str]) -> list[str]:
    """Return the names (CALLER/CALLEE, see above) of all links that a platform with these parts may have.

    replicas  names of its backends, such as "backend-1"
    stores    names of its databases, such as "postgres"
    """
    found = [f"{USERS}/{name}" for name in ("edge", "auth", "frontend")]
    found += [f"edge/{name}" for name in replicas]
    found += [f"{name}/auth" for name in (*replicas, "frontend")]
    found += ["frontend/edge"]
    return found + [f"{name}/{store}" for name in ("auth", *replicas) for store in stores]


def matching(wanted: str, possible: Iterable[str]) -> list[str]:
    """Return the links of `possible` that `wanted` means: one link, all links for `all`, or all that lead to a service.

    `backend` means the links to every replica, `backend/auth` the links from every replica to auth.
    """
    return [link for link in possible if wanted in (_ALL, link) or _fits(wanted, link)]


def _fits(wanted: str, link: str) -> bool:
    caller, callee = link.split("/")
    wanted_caller, slash, wanted_callee = wanted.rpartition("/")
    ours = {callee, _kind(callee)}
    return wanted_callee in ours and (not slash or wanted_caller in (caller, _kind(caller)))


def _kind(name: str) -> str:
    return "backend" if name.startswith("backend-") else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Disturbance of the data that passes a link.

    Times are seconds.

    delay_s, jitter_s  each piece arrives `delay_s` later, plus or minus up to `jitter_s`; order is kept
    bytes_per_s        limit of the bytes per second, for each direction of each connection
    held               no data passes (a blackhole); the data is kept and passes when the condition ends
    refusing           new connections are reset at once
    cut_after          each connection is reset after this many bytes of both directions together
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    held: bool = False
    refusing: bool = False
    cut_after: int | None = None


_FREE = Conditions()


class Links:
    """Links of one platform: their ports, the proxy's specification as a service, and requests to the proxy.

    `names` have the form CALLER/CALLEE.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Reserve a port for each link, and one for requests to the proxy if there is any link."""
        self.names = tuple(names)
        self._ports = {name: ReservedPort(name) for name in names}
        self._control = ReservedPort(NAME) if names else None
        self._token = secrets.token_urlsafe(24)

    def port(self, name: str) -> ReservedPort | None:
        """Return the port at which the caller of the link `name` connects; None if there is no such link."""
        return self._ports.get(name)

    def spec(self, ports: dict[str, ReservedPort]) -> ServiceSpec:
        """Return the specification of the proxy as a service. The platform must have at least one link.

        `ports`: ports of the services themselves, by name.
        """
        assert self._control is not None
        ways = {
            name: {"listen": port.number, "to": ports[name.split("/")[1]].number} for name, port in self._ports.items()
        }
        return ServiceSpec(
            name=NAME,
            argv=(sys.executable, "-m", "earwitness.harness.platform.links"),
            env=module_environment(),
            settings={"token": self._token, "ways": ways},
            port=self._control.number,
            inherits=True,
            listening=True,
            ready=(_Answers(self),),
        )

    async def ask(self, do: str, **arguments: object) -> Any:
        """Send the request `do` with its `arguments` to the proxy and return the result.

        The module lists the requests. Raises PlatformError with the proxy's own message, or if the proxy does not
        answer within 5 s. Without links there is no proxy: `status` returns {}, other requests raise PlatformError.
        """
        if self._control is None:
            if do == "status":
                return {}
            raise PlatformError("This platform has no links: start it with `earwitness up --link CALLER/CALLEE`.")
        line = json.dumps({"token": self._token, "do": do, **arguments}).encode() + b"\n"
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_connection(HOST, self._control.number)
                try:
                    writer.write(line)
                    answer = json.loads(await reader.readuntil(b"\n"))
                finally:
                    writer.close()
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            raise PlatformError(f"The proxy of the links does not answer: {error or type(error).__name__}.") from None
        if "error" in answer:
            raise PlatformError(str(answer["error"]))
        return answer["result"]

    async def try_out(self, name: str) -> dict[str, object]:
        """Make a small exchange through a link; return `{"seconds", "bytes"}`, or `{"error"}` if there was no answer.

        `seconds`: time until the answer came; `bytes`: number of bytes in the first piece of the answer. The request
        needs no password: PING, an SSLRequest or GET /ready. An answer that takes longer than 2 seconds counts as
        missing. Raises PlatformError if there is no such link.
        """
        port = self.port(name)
        if port is None:
            raise PlatformError(f"There is no link {name!r}; this platform has {', '.join(self.names) or 'none'}.")
        begin = time.monotonic()
        try:
            async with asyncio.timeout(_TRY_S):
                reader, writer = await asyncio.open_connection(HOST, port.number)
                try:
                    writer.write(_QUESTIONS.get(name.split("/")[1], b"GET /ready HTTP/1.0\r\n\r\n"))
                    answer = await reader.read(4096)
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            return {"error": type(error).__name__}
        if not answer:
            return {"error": "ended without an answer"}
        return {"seconds": time.monotonic() - begin, "bytes": len(answer)}

    def close(self) -> None:
        """Release the reserved ports."""
        for port in (*self._ports.values(), *([self._control] if self._control else [])):
            port.close()


@dataclass(frozen=True, slots=True)
class _Answers:
    """Readiness probe of the proxy, which answers a request as soon as it listens on all of its links."""

    links: Links

    async def missing(self) -> str | None:
        try:
            await self.links.ask("status")
        except PlatformError as error:
            return str(error)
        return None


class _Way:
    """One link in the proxy: its ports, its present conditions and its counts.

    The proxy accepts connections on port `listen` and connects to port `to`.
    """

    def __init__(self, name: str, listen: int, to: int) -> None:
        """Start without disturbance and connections. The random numbers of the jitter depend only on the name."""
        self.name, self.listen, self.to = name, listen, to
        self.conditions = _FREE
        self.free = True
        self.pairs: set[_Pair] = set()
        self.opened = self.cuts = self.bytes = 0
        self.random = random.Random(name)

    def set(self, conditions: Conditions) -> None:
        """Change the conditions. They apply at once, to open connections too."""
        self.conditions, self.free = conditions, conditions == _FREE
        for pair in list(self.pairs):
            pair.conditions_changed()

    def cut(self) -> int:
        """Reset all connections and return their number."""
        pairs = list(self.pairs)
        for pair in pairs:
            pair.reset()
        return len(pairs)

    def status(self) -> dict[str, object]:
        """Return `open`, `opened`, `cut` (numbers of connections), `bytes` (received so far) and `conditions`."""
        counts = {"open": len(self.pairs), "opened": self.opened, "cut": self.cuts, "bytes": self.bytes}
        return {**counts, "conditions": asdict(self.conditions)}


class _Pair:
    """Proxied connection: the caller's connection, and the proxy's connection to the callee."""

    def __init__(self, way: _Way) -> None:
        """Make both sides; neither side is connected yet."""
        self.way = way
        self.passed = 0
        self.caller, self.callee = _Side(self), _Side(self)
        self.caller.other, self.callee.other = self.callee, self.caller
        self._dialling: asyncio.Task[None] | None = None

    def accepted(self) -> None:
        """Handle a new connection from the caller: reset it, hold it, or connect to the callee, by the conditions."""
        self.way.pairs.add(self)
        self.way.opened += 1
        if self.way.conditions.refusing:
            self.reset()
        elif not self.way.conditions.held:
            self.dial()

    def dial(self) -> None:
        """Start connecting to the callee, unless that has begun already. If connecting fails, the pair is reset."""
        if self._dialling is None:
            self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.callee, HOST, self.way.to)
        except OSError:
            self.reset()

    def conditions_changed(self) -> None:
        """Apply changed conditions to queued data, and connect to the callee if that was delayed."""
        if not self.way.conditions.held:
            self.dial()
        for side in (self.caller, self.callee):
            side.pump()

    def reset(self) -> None:
        """Reset the connections of both sides, and count it as a cut."""
        self.way.cuts += 1
        self.way.pairs.discard(self)
        for side in (self.caller, self.callee):
            side.reset()

    def over(self) -> None:
        """Remove the pair from its link once both sides are closed; until then data may still be in transit."""
        if all(side.gone for side in (self.caller, self.callee)):
            self.way.pairs.discard(self)


class _Side(asyncio.Protocol):
    """Side of a proxied connection: that of the caller or that of the callee.

    Data that this side receives is sent to the side `other`, at once or through the queue of data in transit.
    """

    other: _Side

    def __init__(self, pair: _Pair) -> None:
        """Start without a connection and with an empty queue."""
        self.pair = pair
        self.transport: asyncio.Transport | None = None
        self._queue: deque[tuple[float, bytes | None]] = deque()  # due, data; None: the end
        self._queued = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stuck = False

    @property
    def gone(self) -> bool:
        """Return whether this side is closed, or not connected yet."""
        return self.transport is None or self.transport.is_closing()

    # -- of asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement `asyncio.Protocol.connection_made`: register a new caller, or send the callee the queued data."""
        self.transport = transport  # type: ignore[assignment]  # uvloop has a class of its own
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self is self.pair.caller:
            self.pair.accepted()
        elif self.pair.caller.gone:
            self.reset()
        else:
            self.other.pump()

    def data_received(self, data: bytes) -> None:
        """Implement `asyncio.Protocol.data_received`: send the data at once on an undisturbed link, else queue it."""
        pair, other = self.pair, self.other.transport
        pair.way.bytes += len(data)
        if pair.way.free and not self._queue and other is not None:
            other.write(data)
            return
        self._later(data)

    def eof_received(self) -> bool:
        """Implement `asyncio.Protocol.eof_received`: queue the end of the data; the connection stays half open."""
        self._later(None)
        return True

    def pause_writing(self) -> None:
        """Implement `asyncio.Protocol.pause_writing`: stop reading from the other side."""
        self.other._stuck = True
        self.other.breathe()

    def resume_writing(self) -> None:
        """Implement `asyncio.Protocol.resume_writing`: continue with the queued data."""
        self.other._stuck = False
        self.other.pump()

    def connection_lost(self, error: Exception | None) -> None:
        """Implement `asyncio.Protocol.connection_lost`: reset the other side after an error, else queue the end."""
        if self._timer is not None:
            self._timer.cancel()
        self.pair.over()
        if error is not None:
            self.other.reset()
        else:
            self._later(None)

    # -- the way to the other side ----------------------------------------------------------------------------------

    def _later(self, data: bytes | None) -> None:
        conditions, now = self.pair.way.conditions, asyncio.get_running_loop().time()
        delay_s = conditions.delay_s
        if conditions.jitter_s:
            delay_s += self.pair.way.random.uniform(-conditions.jitter_s, conditions.jitter_s)
        self._due = max(self._due, now + max(0.0, delay_s))
        if data is not None and conditions.bytes_per_s:
            self._due += len(data) / conditions.bytes_per_s
        self._queue.append((self._due, data))
        self._queued += len(data or b"")
        self.pump()

    def pump(self) -> None:
        """Send the queued data that is due to the other side, and set a timer for later data."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop, other = asyncio.get_running_loop(), self.other.transport
        while self._queue and other is not None and not self._stuck and not self.pair.way.conditions.held:
            due, data = self._queue[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self.pump)
                break
            self._queue.popleft()
            self._queued -= len(data or b"")
            if not self._hand_over(other, data):
                return
        self.breathe()

    def _hand_over(self, other: asyncio.Transport, data: bytes | None) -> bool:
        if other.is_closing():
            return False
        if data is None:
            if self.gone:
                other.close()
            elif other.can_write_eof():
                other.write_eof()
            return True
        pair, most = self.pair, self.pair.way.conditions.cut_after
        if most is not None and pair.passed + len(data) >= most:
            other.write(data[: most - pair.passed])
            pair.reset()
            return False
        pair.passed += len(data)
        other.write(data)
        return True

    def breathe(self) -> None:
        """Pause or resume reading, so that data that cannot be sent on stays with its sender."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        full = self._stuck or self._queued >= _HIGH_WATER or self.pair.way.conditions.held
        with contextlib.suppress(RuntimeError):  # uvloop: already so
            if full and transport.is_reading():
                transport.pause_reading()
            elif not full and not transport.is_reading():
                transport.resume_reading()

    def reset(self) -> None:
        """Drop queued data and reset the connection (TCP RST, by a linger time of 0)."""
        transport = self.transport
        self._queue.clear()
        if transport is None or transport.is_closing():
            return
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()


class _ProxyServer:
    """Server of control requests in the proxy, on the inherited socket."""

    def __init__(self, ways: dict[str, _Way], token: str) -> None:
        """Prepare to answer requests about `ways` (by link name) that contain `token`."""
        self._ways, self._token = ways, token

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the single request of a connection, and close the connection."""
        try:
            line = await reader.readuntil(b"\n")
            writer.write(json.dumps(self._answer(line)).encode() + b"\n")
            await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
            if not secrets.compare_digest(str(request.get("token")), self._token):
                return {"error": "The proxy wants its token."}
            return {"result": self._do(request)}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return {"error": f"The proxy does not understand this request: {error!r}."}

    def _do(self, request: dict[str, Any]) -> object:
        if request["do"] == "status":
            return {name: way.status() for name, way in self._ways.items()}
        way = self._ways[request["link"]]
        if request["do"] == "cut":
            return way.cut()
        if request["do"] == "set":
            way.set(Conditions(**request["conditions"]))
            return None
        raise ValueError(request["do"])


async def _run(settings: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    ways = {name: _Way(name, **place) for name, place in settings["ways"].items()}
    servers = [
        await loop.create_server(
            lambda way=way: _Pair(way).caller,  # type: ignore[misc]
            sock=bound_socket(way.name, way.listen, listening=False),
            backlog=BACKLOG,
        )
        for way in ways.values()
    ]
    control = _ProxyServer(ways, settings["token"])
    listener = socket.socket(fileno=settings["fd"])
    servers.append(await asyncio.start_server(control.serve, sock=listener, limit=_MAX_LINE))
    await stopped.wait()
    for server in servers:
        server.close()
    for way in ways.values():
        way.cut()


def main() -> None:
    """Run the proxy until SIGTERM or SIGINT."""
    import uvloop  # of the extra `platform`; those who only name links need not have it

    settings = json.loads(os.environ[SETTINGS_VARIABLE])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


if __name__ == "__main__":
    main()
