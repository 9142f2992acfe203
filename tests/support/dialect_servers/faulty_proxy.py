"""WebSocket proxy that spoils each Nth message of a server: for tests that a planted fault is found.

    python tests/support/dialect_servers/faulty_proxy.py --port 3001 --server ws://127.0.0.1:3000 --fault lose \\
        --every 20 --match '"said"'

lose drops a message, duplicate sends it twice, swap sends it after the next one of the connection, leak sends it to
another connection too. A message is a text frame, or a record of one that ends with 0x1e, which contains `--match`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

END = "\x1e"
FAULTS = ("none", "lose", "duplicate", "swap", "leak")


class Proxy:
    """Connections of the proxy, and how many messages it has passed on."""

    def __init__(self, server: str, fault: str, every: int, match: Sequence[str]) -> None:
        self.server, self.fault, self.every, self.match = server, fault, every, match
        self.passed = 0
        self.clients: list[ServerConnection] = []

    async def serve(self, client: ServerConnection) -> None:
        """Pass on everything in both directions until one side ends."""
        assert client.request is not None
        shown = client.request.headers.get("Authorization")
        headers = {"Authorization": shown} if shown else {}
        with suppress(ConnectionClosed, InvalidStatus):
            async with connect(self.server + client.request.path, additional_headers=headers) as server:
                self.clients.append(client)
                up = asyncio.create_task(self._up(client, server))
                try:
                    await self._down(server, client)
                finally:
                    self.clients.remove(client)
                    up.cancel()

    async def _up(self, client: ServerConnection, server: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for frame in client:
                await server.send(frame)
        await server.close()

    async def _down(self, server: ClientConnection, client: ServerConnection) -> None:
        held: list[str | bytes] = []
        async for frame in server:
            for part in parts(frame):
                if not isinstance(part, str) or not all(text in part for text in self.match):
                    await client.send(part)
                    continue
                self.passed += 1
                for one in self._spoilt(part, held, client):
                    await client.send(one)

    def _spoilt(self, message: str, held: list[str | bytes], client: ServerConnection) -> list[str | bytes]:
        if held:
            return [message, held.pop()]
        if self.passed % self.every:
            return [message]
        if self.fault == "leak":
            others = [one for one in self.clients if one is not client]
            if others:
                asyncio.get_running_loop().create_task(others[self.passed // self.every % len(others)].send(message))
        if self.fault == "swap":
            held.append(message)
        return {"lose": [], "swap": [], "duplicate": [message, message]}.get(self.fault, [message])


def parts(frame: str | bytes) -> list[str | bytes]:
    """Return the records of a frame, or the frame itself where it is no list of records."""
    if isinstance(frame, str) and frame.endswith(END):
        return [record + END for record in frame[:-1].split(END)]
    return [frame]


async def run(port: int, proxy: Proxy) -> None:
    """Serve until the process is ended."""
    async with serve(proxy.serve, "127.0.0.1", port):
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=3001)
    parser.add_argument("--server", default="ws://127.0.0.1:3000")
    parser.add_argument("--fault", choices=FAULTS, default="none")
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--match", nargs="+", default=['"said"'])
    given = parser.parse_args()
    asyncio.run(run(given.port, Proxy(given.server, given.fault, given.every, given.match)))


if __name__ == "__main__":
    main()
