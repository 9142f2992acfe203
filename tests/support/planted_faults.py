"""Proxies that plant one kind of error into the deliveries of a platform: over WebSocket, TCP, or the polls of Matrix.

    python tests/support/planted_faults.py ws ws://127.0.0.1:4000 lose --every 31 [--match '"said"'] [--port P]

prints {"port": N} and serves until it is ended. Of every N-th delivery, `lose` drops it, `duplicate` forwards it twice,
`swap` forwards it after the next one of its sender in its room, and `leak` also forwards it to a connection that never
named its room (then only deliveries for which there is such a connection are counted). Messages and the numbers of
their rooms are recognized by their bodies (`ew1:`), and streams are cut into messages here: so the test does not depend
on the decoders under test. HTTP requests do not pass the proxy of a WebSocket: set only `urls.socket` to its address.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import queue
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

FAULTS = ("lose", "duplicate", "swap", "leak")
BODY = re.compile(r"ew1:[^:]*:(\d+:\d+):")
"""Pattern of a message's body; the group is the numbers of its sender and its room."""
ROOM = re.compile(r"\w+-r\d+-of-\d+")
LISTENS_S = 20.0
CLOSE_S = 1.0
RECORD_END = "\x1e"
PASSED = ("authorization", "cookie", "origin")


class Planter:
    """Planter of one kind of error into every n-th delivery; "" plants nothing. `planted`: number of errors planted."""

    def __init__(self, fault: str, every: int) -> None:
        self.fault, self._every = fault, every
        self._count = self.planted = 0
        self._held: dict[tuple[int, str], Any] = {}
        self.lock = threading.Lock()

    def plant(self, delivery: Any, peer: int, key: str, *, strangers: bool) -> tuple[list[Any], bool]:
        """Return (the deliveries to forward to the peer, whether to forward this one to an outsider as well).

        `key`: sender and room of the delivery; `strangers`: whether there is an outsider, a connection that never named
        the room. Without one a delivery cannot leak, and is not counted.
        """
        if self.fault == "leak" and not strangers:
            return [delivery], False
        with self.lock:
            held = self._held.pop((peer, key), None)
            if held is not None:
                return [delivery, held], False
            self._count += 1
            if not self.fault or self._count % self._every:
                return [delivery], False
            self.planted += 1
            if self.fault == "swap":
                self._held[peer, key] = delivery
            kept = {"lose": [], "swap": [], "duplicate": [delivery, delivery]}.get(self.fault, [delivery])
            return kept, self.fault == "leak"


class Peer:
    """One connection of a client: the function that sends to it, and the rooms that it named."""

    def __init__(self, send: Callable[[Any], Awaitable[None]]) -> None:
        self.send, self.named, self._tail = send, set[str](), ""

    def note(self, data: str | bytes) -> None:
        text = self._tail + as_text(data)
        self.named |= set(ROOM.findall(text))
        self._tail = text[-64:]


class Deliveries:
    """All connections of a proxy.

    A delivery is a message that has the body of a run and contains all texts in `match`.
    """

    def __init__(self, planter: Planter, match: Sequence[str] = ()) -> None:
        self.planter, self.match, self.peers = planter, match, list[Peer]()

    async def pass_on(self, peer: Peer, unit: str | bytes) -> None:
        text = as_text(unit)
        found = BODY.search(text) if all(part in text for part in self.match) else None
        if found is None:
            await peer.send(unit)
            return
        # A delivery of GraphQL names no room, but the number of one stands in the body: r2-of-10 is number 2.
        room = re.compile(rf"\w+-r{found[1].partition(':')[2]}-of-\d+")
        strangers = [other for other in self.peers if other.named and not any(map(room.fullmatch, other.named))]
        units, leaks = self.planter.plant(unit, id(peer), found[1], strangers=bool(strangers))
        for one in units:
            await peer.send(one)
        if leaks:
            await strangers[0].send(unit)


def as_text(data: str | bytes) -> str:
    return data if isinstance(data, str) else data.decode("latin-1")


def records(frame: str | bytes) -> list[str | bytes]:
    """Return the records in a frame (SignalR); a frame of another protocol as one record."""
    if isinstance(frame, str) and frame.endswith(RECORD_END):
        return [record + RECORD_END for record in frame[:-1].split(RECORD_END)]
    return [frame]


async def talk_frames(socket: ServerConnection, url: str, deliveries: Deliveries) -> None:
    """Forward frames between a client and the WebSocket server `url` until either side ends."""
    assert socket.request is not None
    headers = {key: value for key, value in socket.request.headers.items() if key.lower() in PASSED}
    asked = [cast(Subprotocol, socket.subprotocol)] if socket.subprotocol else None
    peer = Peer(socket.send)

    async def up(server: ClientConnection) -> None:
        async for frame in socket:
            peer.note(frame)
            await server.send(frame)

    async def down(server: ClientConnection) -> None:
        async for frame in server:
            for unit in records(frame):
                await deliveries.pass_on(peer, unit)

    with suppress(ConnectionClosed, InvalidHandshake):
        place = url.rstrip("/") + socket.request.path
        options: Any = {"additional_headers": headers, "subprotocols": asked, "compression": None}
        async with connect(place, close_timeout=CLOSE_S, **options) as server:
            deliveries.peers.append(peer)
            ways = [asyncio.create_task(up(server)), asyncio.create_task(down(server))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                deliveries.peers.remove(peer)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            code = server.close_code or 1000
            await socket.close(code if code not in (1005, 1006) else 1011)


def cut_nats(data: bytes) -> int:
    """Return the length in bytes of the first protocol message of `data`; 0 if it is incomplete."""
    end = data.find(b"\r\n")
    if end < 0:
        return 0
    words = data[:end].split()
    length = end + 2 + (int(words[-1]) + 2 if words and words[0] in (b"MSG", b"HMSG") else 0)
    return length if len(data) >= length else 0


def cut_mqtt(data: bytes) -> int:
    length, at = 0, 1
    while at < len(data):
        length |= (data[at] & 127) << (7 * (at - 1))
        at += 1
        if data[at - 1] < 128:
            return at + length if len(data) >= at + length else 0
    return 0


def cut_stomp(data: bytes) -> int:
    if data[:1] in (b"\n", b"\r"):
        return 1
    return data.find(b"\0") + 1


CUTS: dict[str, Callable[[bytes], int]] = {"nats": cut_nats, "mqtt": cut_mqtt, "stomp": cut_stomp}


async def talk_bytes(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: str, to: str, deliveries: Deliveries
) -> None:
    """Forward bytes between a client and the TCP server `to` (host:port), cut into messages of the protocol."""
    host, _, port = to.rpartition(":")
    server_reader, server_writer = await asyncio.open_connection(host, int(port))

    async def send(unit: bytes) -> None:
        writer.write(unit)

    async def up() -> None:
        while data := await reader.read(65536):
            peer.note(data)
            server_writer.write(data)
        server_writer.close()

    async def down() -> None:
        rest = b""
        while data := await server_reader.read(65536):
            rest += data
            while length := CUTS[protocol](rest):
                await deliveries.pass_on(peer, rest[:length])
                rest = rest[length:]
        writer.close()

    peer = Peer(send)
    deliveries.peers.append(peer)
    try:
        with suppress(OSError, asyncio.CancelledError):  # asyncio reports handlers that end as cancelled
            await asyncio.gather(up(), down())
    finally:
        deliveries.peers.remove(peer)
        writer.close()
        server_writer.close()
        await asyncio.gather(writer.wait_closed(), server_writer.wait_closed(), return_exceptions=True)


async def serve_proxy(
    protocol: str, to: str, deliveries: Deliveries, port: int, listens: Callable[[int], None]
) -> None:
    """Run a proxy until cancelled.

    `protocol`: ws or a key of CUTS; `to`: the server's URL, or its host:port; `listens`: called with the port.
    """
    if protocol == "ws":
        server: Any = await serve(
            lambda socket: talk_frames(socket, to, deliveries), "127.0.0.1", port, compression=None,
            close_timeout=CLOSE_S,
            select_subprotocol=lambda socket, offered: offered[0] if offered else None,
        )  # fmt: skip
    else:
        server = await asyncio.start_server(
            lambda reader, writer: talk_bytes(reader, writer, protocol, to, deliveries), "127.0.0.1", port
        )
    async with server:
        listens(next(iter(server.sockets)).getsockname()[1])
        await asyncio.get_running_loop().create_future()


@contextmanager
def planted(protocol: str, to: str, planter: Planter, *match: str) -> Iterator[int]:
    """Run a proxy in a thread within this context; yield its port. `match`: see `Deliveries`."""
    begun: queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = queue.Queue()

    async def run() -> None:
        ended = asyncio.Event()
        serving = asyncio.create_task(
            serve_proxy(
                protocol, to, Deliveries(planter, match), 0,
                lambda port: begun.put((asyncio.get_running_loop(), ended, port)),
            )
        )  # fmt: skip
        await ended.wait()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)  # it closes its socket

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    loop, ended, port = begun.get(timeout=LISTENS_S)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


@contextmanager
def planted_polls(url: str, planter: Planter) -> Iterator[str]:
    """Run a proxy of the Matrix homeserver `url` within this context; yield its address."""
    at, stray = urlsplit(url), list[tuple[str, Any]]()
    rooms: dict[str, set[str]] = {}

    def planted(answer: dict[str, Any], token: str) -> dict[str, Any]:
        joined = answer.setdefault("rooms", {}).setdefault("join", {})
        rooms.setdefault(token, set()).update(joined)
        for room_id, room in joined.items():
            timeline, kept = room["timeline"], []
            for event in timeline["events"]:
                found = BODY.search(str(event["content"].get("body")))
                if found is None:
                    kept.append(event)
                    continue
                strangers = any(room_id not in theirs for theirs in list(rooms.values()))
                events, leaks = planter.plant(event, hash(token), found[1], strangers=strangers)
                kept += events
                if leaks:
                    stray.append((room_id, event))
            timeline["events"] = kept
        with planter.lock:
            for room_id, event in [one for one in stray if one[0] not in rooms[token]]:
                joined[room_id] = {"timeline": {"events": [event]}}
                stray.remove((room_id, event))
        return answer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            upstream = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
            upstream.request(self.command, self.path, body, headers)
            response = upstream.getresponse()
            data = response.read()
            if "/sync?" in self.path and "since=" in self.path and response.status == 200:
                data = json.dumps(planted(json.loads(data), self.headers["authorization"])).encode()
            upstream.close()
            self.send_response(response.status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_PUT = do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads, request_queue_size = True, 100

        def handle_error(self, request: object, client_address: object) -> None:
            """Print nothing about errors: clients often abort their polls."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def main() -> None:
    """Parse the command line and run the proxy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=("ws", *CUTS))
    parser.add_argument("to", help="ws://HOST:PORT, or HOST:PORT for TCP")
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--every", type=int, default=20, metavar="N")
    parser.add_argument("--match", nargs="+", default=(), help="what a delivery contains besides a body of a run")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    deliveries = Deliveries(Planter(given.fault, given.every), given.match)
    with suppress(KeyboardInterrupt):
        asyncio.run(
            serve_proxy(
                given.protocol,
                given.to,
                deliveries,
                given.port,
                lambda port: print(json.dumps({"port": port}), flush=True),
            )
        )


if __name__ == "__main__":
    main()
