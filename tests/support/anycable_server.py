"""Small server of the extended Action Cable protocol, with the channel ChatChannel and its action `speak`.

    python tests/support/anycable_server.py [--port 3010] [--keep N] [--skip N]

Written from https://docs.anycable.io/misc/action_cable_protocol, because AnyCable cannot be installed here. The query
parameter `user` names the user. `--keep`: number of messages of a stream that are kept; a request for earlier history
is rejected. `--skip`: leaves out the first N messages of each history, as a planted error. Prints {"port": N} when the
server listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import defaultdict
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

PROTOCOL: Any = "actioncable-v1-ext-json"
EPOCH = "e1"
PING_S = 3.0


class Cable:
    """Streams by identifier: their messages, and the sockets that are subscribed."""

    def __init__(self, keep: int, skip: int) -> None:
        self.keep, self.skip = keep, skip
        self.logs: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.members: dict[str, set[ServerConnection]] = defaultdict(set)

    async def talk(self, socket: ServerConnection) -> None:
        """Serve one socket until it ends."""
        assert socket.request is not None
        user = parse_qs(urlsplit(socket.request.path).query).get("user", ["?"])[0]
        pings = asyncio.create_task(self.ping(socket))
        try:
            await self.send(socket, {"type": "welcome", "sid": "s1"})
            async for data in socket:
                await self.take(socket, user, json.loads(data))
        except ConnectionClosed:
            pass
        finally:
            pings.cancel()
            for members in self.members.values():
                members.discard(socket)

    async def ping(self, socket: ServerConnection) -> None:
        """Send a ping every PING_S seconds until the socket ends."""
        while True:
            await asyncio.sleep(PING_S)
            await self.send(socket, {"type": "ping", "message": 1681828329})

    async def take(self, socket: ServerConnection, user: str, frame: dict[str, Any]) -> None:
        """Execute a command frame: subscribe to a stream, or publish a message."""
        identifier = frame.get("identifier", "")
        if frame["command"] == "subscribe":
            confirmed = {"type": "confirm_subscription", "identifier": identifier}
            if "history" in frame:
                await self.send(socket, confirmed)
                await self.history(socket, identifier, frame["history"])
            else:
                self.members[identifier].add(socket)
                await self.send(socket, confirmed)
        elif frame["command"] == "message":
            data, log = json.loads(frame["data"]), self.logs[identifier]
            message = {"text": data["text"], "id": data["id"], "user": user}
            log.append(
                {"identifier": identifier, "message": message, "stream_id": f"chat_{identifier}", "epoch": EPOCH,
                 "offset": len(log) + 1}
            )  # fmt: skip
            broadcast(
                self.members[identifier], json.dumps(log[-1])
            )  # waits for nobody, not even for a socket that ends

    async def history(self, socket: ServerConnection, identifier: str, asked: dict[str, Any]) -> None:
        """Send the messages after the requested position, and confirm; reject if they are not kept any more."""
        position, log = asked["streams"].get(f"chat_{identifier}"), self.logs[identifier]
        kind = "reject_history"
        if position and position["epoch"] == EPOCH and position["offset"] >= len(log) - self.keep:
            sent, kind = position["offset"] + self.skip, "confirm_history"
            while sent < len(log):
                await self.send(socket, log[sent])
                sent += 1
        self.members[identifier].add(socket)  # only now, so that nothing live comes between
        await self.send(socket, {"type": kind, "identifier": identifier})

    @staticmethod
    async def send(socket: ServerConnection, frame: dict[str, Any]) -> None:
        with suppress(ConnectionClosed):
            await socket.send(json.dumps(frame))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=3010, help="0: any free one")
    parser.add_argument("--keep", type=int, default=10_000, metavar="N")
    parser.add_argument("--skip", type=int, default=0, metavar="N")
    options = parser.parse_args()
    cable = Cable(options.keep, options.skip)
    async with serve(cable.talk, "127.0.0.1", options.port, subprotocols=[PROTOCOL]) as server:
        print(json.dumps({"port": next(iter(server.sockets)).getsockname()[1]}), flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
