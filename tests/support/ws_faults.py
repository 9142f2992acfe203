"""Proxy for WebSockets that breaks the delivery of messages on purpose; it works with any platform.

    python tests/support/ws_faults.py --to ws://127.0.0.1:4000 [--port P] [--lose N] [--twice N] [--swap N] [--leak N]

Only frames from the server that carry a message of a run (`ew1:`) are touched. Each Nth of them, counted over all
sockets, is dropped, sent twice, sent after the next one of its sender in its conversation, or sent to all other
sockets as well. Prints {"port": N} when it listens. HTTP requests do not go through it: point only `urls.socket` at it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from contextlib import suppress
from typing import Any, cast

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

MESSAGE = re.compile(r"ew1:[^:]*:(\d+:\d+):")
"""Body of a message; the group is its sender and its conversation."""
PASSED = ("authorization", "cookie", "origin")


class Proxy:
    """Open sockets of clients, each with the frames that wait to be swapped."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.sockets: set[ServerConnection] = set()
        self.seen = 0

    async def talk(self, socket: ServerConnection) -> None:
        """Connect a client to the platform until either side ends."""
        assert socket.request is not None
        headers = {key: value for key, value in socket.request.headers.items() if key.lower() in PASSED}
        asked = [cast(Subprotocol, socket.subprotocol)] if socket.subprotocol else None
        url = self.options.to.rstrip("/") + socket.request.path
        async with connect(url, additional_headers=headers, subprotocols=asked, compression=None) as server:
            self.sockets.add(socket)
            ways = [asyncio.create_task(self.up(socket, server)), asyncio.create_task(self.down(server, socket))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.sockets.discard(socket)
                for way in ways:
                    way.cancel()
                code = server.close_code or 1000
                await socket.close(code if code not in (1005, 1006) else 1011)

    async def up(self, socket: ServerConnection, server: Any) -> None:
        with suppress(ConnectionClosed):
            async for frame in socket:
                await server.send(frame)

    async def down(self, server: Any, socket: ServerConnection) -> None:
        held: dict[str, str | bytes] = {}  # by sender and conversation
        with suppress(ConnectionClosed):
            async for frame in server:
                found = MESSAGE.search(frame if isinstance(frame, str) else frame.decode(errors="replace"))
                if found is None:
                    await socket.send(frame)
                    continue
                self.seen += 1
                if self.due(self.options.swap) and found[1] not in held:
                    held[found[1]] = frame
                    continue
                if not self.due(self.options.lose):
                    await socket.send(frame)
                if self.due(self.options.twice):
                    await socket.send(frame)
                if self.due(self.options.leak):
                    for other in self.sockets - {socket}:
                        await other.send(frame)
                if found[1] in held:
                    await socket.send(held.pop(found[1]))

    def due(self, every: int) -> bool:
        return every > 0 and self.seen % every == 0


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", required=True, metavar="ws://HOST:PORT")
    parser.add_argument("--port", type=int, default=0)
    for kind in ("lose", "twice", "swap", "leak"):
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="N")
    proxy = Proxy(parser.parse_args())

    def choose(socket: ServerConnection, offered: list[Subprotocol]) -> Subprotocol | None:
        return offered[0] if offered else None

    async with serve(
        proxy.talk, "127.0.0.1", proxy.options.port, select_subprotocol=choose, compression=None
    ) as server:
        print(json.dumps({"port": next(iter(server.sockets)).getsockname()[1]}), flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
