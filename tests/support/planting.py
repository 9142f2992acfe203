"""Proxies in threads of a test that plant a fault into the deliveries of an XMPP or a Matrix server.

Of every n-th delivery, `lose` drops it, `duplicate` passes it on twice, `swap` passes it on behind the next one of its
room, and `leak` also passes it on to a user who is not in its room. They read messages by their own means, so they
prove nothing by the decoders under test.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

BODY = re.compile(r"ew1:[^:]+:\d+:(\d+):")
ROOM = re.compile(r"\w+-r\d+-of-\d+")


class Planter:
    """Fault in every n-th delivery. `planted`: how many there were."""

    def __init__(self, fault: str, every: int) -> None:
        self._fault, self._every = fault, every
        self._count = self.planted = 0
        self._held: dict[tuple[int, str], Any] = {}
        self.lock = threading.Lock()

    def plant(self, delivery: Any, peer: int, conv: str, *, strangers: bool) -> tuple[list[Any], bool]:
        """Return (what the peer gets, whether a stranger gets it too).

        `conv`: the number of its room; `strangers`: there is one. Without, it can not leak, and is not counted.
        """
        if self._fault == "leak" and not strangers:
            return [delivery], False
        with self.lock:
            held = self._held.pop((peer, conv), None)
            if held is not None:
                return [delivery, held], False
            self._count += 1
            if not self._fault or self._count % self._every:
                return [delivery], False
            self.planted += 1
            if self._fault == "lose":
                return [], False
            if self._fault == "duplicate":
                return [delivery, delivery], False
            if self._fault == "swap":
                self._held[peer, conv] = delivery
                return [], False
            return [delivery], True


@contextmanager
def xmpp_proxy(url: str, planter: Planter) -> Iterator[str]:
    """Pass frames between clients and the WebSocket `url`; yield the proxy's address."""
    rooms: dict[ServerConnection, set[str]] = {}

    def down(client: ServerConnection, server: Any) -> None:
        for frame in server:
            found = BODY.search(frame) if "<message" in frame else None
            if found is None:
                client.send(frame)
                continue
            room = ROOM.search(frame)
            strangers = [peer for peer, named in rooms.items() if room and named and room[0] not in named]
            frames, leaks = planter.plant(frame, id(client), found[1], strangers=bool(strangers))
            for one in frames:
                client.send(one)
            if leaks:
                strangers[0].send(frame)

    def handle(client: ServerConnection) -> None:
        rooms[client] = set()
        with suppress(ConnectionClosed), connect(url, subprotocols=[Subprotocol("xmpp")], proxy=None) as server:
            thread = threading.Thread(target=lambda: _quietly(down, client, server))
            thread.start()
            try:
                for frame in client:
                    rooms[client] |= set(ROOM.findall(str(frame)))
                    server.send(frame)
            finally:
                rooms.pop(client, None)
                server.close()
                thread.join()

    with serve(handle, "127.0.0.1", 0, subprotocols=[Subprotocol("xmpp")]) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{listening.socket.getsockname()[1]}{urlsplit(url).path}"
        listening.shutdown()
        thread.join()


def _quietly(down: Any, client: ServerConnection, server: Any) -> None:
    with suppress(ConnectionClosed):
        down(client, server)
    client.close()


@contextmanager
def matrix_proxy(url: str, planter: Planter) -> Iterator[str]:
    """Pass requests on to the homeserver `url`; yield the proxy's address."""
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
            """Say nothing: clients leave their polls."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
