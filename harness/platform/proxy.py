"""Proxy of the links: `python -m earwitness.harness.platform.proxy` forwards their bytes, and disturbs them.

One process serves all links of a platform; the supervisor starts and ends it like a service. Requests are lines of JSON
on the inherited socket: `{"token", "do": "set", "link", "conditions": {…}}`, `cut` (reset every connection of a link),
`status` (of each link: conditions, connections open, opened, cut, bytes).
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
from collections import deque
from dataclasses import asdict
from typing import Any

import uvloop

from earwitness.harness.platform.links import Conditions
from earwitness.harness.platform.ports import BACKLOG, HOST, bound_socket
from earwitness.harness.platform.spec import SETTINGS_VARIABLE

FREE = Conditions()
HIGH_WATER = 1 << 18
"""Bytes in transit in one direction above which the proxy stops reading."""
_MAX_LINE = 1 << 16
_NO_LINGER = struct.pack("ii", 1, 0)


class Way:
    """Link of the proxy: its ports, its current conditions and its counts.

    The proxy accepts connections on port `listen` and connects to port `to`.
    """

    def __init__(self, name: str, listen: int, to: int) -> None:
        """Start without disturbance. Random numbers depend only on the name."""
        self.name, self.listen, self.to = name, listen, to
        self.conditions = FREE
        self.free = True
        self.pairs: set[Pair] = set()
        self.opened = self.cuts = self.bytes = 0
        self.random = random.Random(name)

    def set(self, conditions: Conditions) -> None:
        """Change the conditions, which apply at once, also to open connections."""
        self.conditions, self.free = conditions, conditions == FREE
        for pair in list(self.pairs):
            pair.conditions_changed()

    def cut(self) -> int:
        """Reset all connections and return how many there were."""
        pairs = list(self.pairs)
        for pair in pairs:
            pair.reset()
        return len(pairs)

    def status(self) -> dict[str, object]:
        """Return open, opened, cut and bytes (counts), and conditions."""
        counts = {"open": len(self.pairs), "opened": self.opened, "cut": self.cuts, "bytes": self.bytes}
        return {**counts, "conditions": asdict(self.conditions)}


class Pair:
    """Proxied connection: the caller's connection and the one to the callee that belongs to it."""

    def __init__(self, way: Way) -> None:
        """Make both sides; neither is connected yet."""
        self.way = way
        self.passed = 0
        self.caller, self.callee = Side(self), Side(self)
        self.caller.other, self.callee.other = self.callee, self.caller
        self._dialling: asyncio.Task[None] | None = None

    def accepted(self) -> None:
        """Handle a new connection from the caller: reset it, hold it or connect to the callee, as conditions ask."""
        self.way.pairs.add(self)
        self.way.opened += 1
        if self.way.conditions.refusing:
            self.reset()
        elif not self.way.conditions.held:
            self.dial()

    def dial(self) -> None:
        """Start connecting to the callee, unless that has begun already. If it fails, the pair is reset."""
        if self._dialling is None:
            self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.callee, HOST, self.way.to)
        except OSError:
            self.reset()

    def conditions_changed(self) -> None:
        """Apply changed conditions to queued data and to a connection that was held."""
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


class Side(asyncio.Protocol):
    """Side of a proxied connection: the caller's or the callee's.

    Received data is sent to `other`, at once or through the queue of data in transit.
    """

    other: Side

    def __init__(self, pair: Pair) -> None:
        """Start unconnected, with nothing in transit."""
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
        """Implement `asyncio.Protocol.data_received`: send at once on an undisturbed link, else queue."""
        pair, other = self.pair, self.other.transport
        pair.way.bytes += len(data)
        if pair.way.free and not self._queue and other is not None:
            other.write(data)
            return
        self._later(data)

    def eof_received(self) -> bool:
        """Implement `asyncio.Protocol.eof_received`: queue the end; the connection stays half open."""
        self._later(None)
        return True

    def pause_writing(self) -> None:
        """Implement `asyncio.Protocol.pause_writing`: stop reading from the other end."""
        self.other._stuck = True
        self.other.breathe()

    def resume_writing(self) -> None:
        """Implement `asyncio.Protocol.resume_writing`: continue with the queued data."""
        self.other._stuck = False
        self.other.pump()

    def connection_lost(self, error: Exception | None) -> None:
        """Implement `asyncio.Protocol.connection_lost`: reset the other end after an error, else queue the end."""
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
        """Send the queued data that is due to the other side, and set a timer for the rest."""
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
        """Pause or resume reading, so that data that cannot be sent stays with its sender."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        full = self._stuck or self._queued >= HIGH_WATER or self.pair.way.conditions.held
        with contextlib.suppress(RuntimeError):  # uvloop: already so
            if full and transport.is_reading():
                transport.pause_reading()
            elif not full and not transport.is_reading():
                transport.resume_reading()

    def reset(self) -> None:
        """Drop queued data and reset the connection (RST, by a linger time of 0)."""
        transport = self.transport
        self._queue.clear()
        if transport is None or transport.is_closing():
            return
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()


class Control:
    """Server of control requests on the inherited socket."""

    def __init__(self, ways: dict[str, Way], token: str) -> None:
        """Answer requests about `ways` (by link name) that contain `token`."""
        self._ways, self._token = ways, token

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
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


async def _main(settings: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    ways = {name: Way(name, **place) for name, place in settings["ways"].items()}
    servers = [
        await loop.create_server(
            lambda way=way: Pair(way).caller,  # type: ignore[misc]
            sock=bound_socket(way.name, way.listen, listening=False),
            backlog=BACKLOG,
        )
        for way in ways.values()
    ]
    control = Control(ways, settings["token"])
    listener = socket.socket(fileno=settings["fd"])
    servers.append(await asyncio.start_server(control.serve, sock=listener, limit=_MAX_LINE))
    await stopped.wait()
    for server in servers:
        server.close()
    for way in ways.values():
        way.cut()


def main() -> None:
    """Run the proxy until SIGTERM or SIGINT."""
    settings = json.loads(os.environ[SETTINGS_VARIABLE])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(settings))


if __name__ == "__main__":
    main()
