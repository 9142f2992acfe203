"""Small chat server to try Earwitness on: one file, in memory, WebSockets only.

    python examples/tiny_chat/server.py [--port 8765] [--lose N] [--ping-s 20]

Each frame is a JSON object. A client first sends `hello` with a JWT that is signed with the key in `key.txt`, then
`join` for each room. `--lose N` silently drops each Nth delivery to a member other than the sender: a defect that the
tester should find. `--ping-s` is the number of seconds between two pings, and the time limit for the answer to one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

KEY = (Path(__file__).parent / "key.txt").read_text().strip()
BAD_TOKEN = 4401


class Chat:
    """State of the server: rooms, their members and the numbers of their messages."""

    def __init__(self, lose: int) -> None:
        self.lose = lose
        self.deliveries = 0
        self.members: dict[str, dict[ServerConnection, str]] = defaultdict(dict)
        self.numbers: dict[str, int] = defaultdict(int)

    async def talk(self, socket: ServerConnection) -> None:
        """Serve one connection until it ends."""
        name = ""
        try:
            async for frame in socket:
                said = json.loads(frame)
                if said["type"] == "hello":
                    name = jwt.decode(said["token"], KEY, ["HS256"])["sub"]
                    await self.send(socket, {"type": "welcome", "name": name})
                elif said["type"] == "join":
                    self.members[said["room"]][socket] = name
                    await self.send(socket, {"type": "joined", "room": said["room"]})
                elif said["type"] == "say":
                    await self.deliver(socket, name, said)
        except ConnectionClosed:
            pass
        except jwt.InvalidTokenError:
            await socket.close(BAD_TOKEN, "bad token")
        finally:
            for members in self.members.values():
                members.pop(socket, None)

    async def deliver(self, sender: ServerConnection, name: str, said: dict[str, Any]) -> None:
        """Number a message, acknowledge it to the sender, and send it to all members of the room."""
        room = said["room"]
        self.numbers[room] += 1
        number = self.numbers[room]
        message = {"type": "message", "room": room, "from": name, "text": said["text"], "number": number}
        await self.send(sender, {"type": "accepted", "id": said["id"], "number": number})
        for member in list(self.members[room]):
            if not self.loses(member, sender):
                await self.send(member, message)

    def loses(self, member: ServerConnection, sender: ServerConnection) -> bool:
        """Return whether this delivery is one that `--lose` drops."""
        if not self.lose or member is sender:
            return False
        self.deliveries += 1
        return self.deliveries % self.lose == 0

    @staticmethod
    async def send(socket: ServerConnection, message: dict[str, Any]) -> None:
        with suppress(ConnectionClosed):  # its own `talk` ends and takes it out of the rooms
            await socket.send(json.dumps(message, ensure_ascii=False))


async def main() -> None:
    """Listen on 127.0.0.1 until interrupted; print {"port": N} as soon as the server listens."""
    parser = argparse.ArgumentParser(description="A small chat server to try earwitness on.")
    parser.add_argument("--port", type=int, default=8765, help="0: any free one (default 8765)")
    parser.add_argument("--lose", type=int, default=0, metavar="N", help="drop each Nth delivery (default: none)")
    parser.add_argument("--ping-s", type=float, default=20.0, metavar="S", help="seconds between pings (default 20)")
    options = parser.parse_args()
    beat = {"ping_interval": options.ping_s, "ping_timeout": options.ping_s}
    async with serve(Chat(options.lose).talk, "127.0.0.1", options.port, **beat) as server:
        print(json.dumps({"port": next(iter(server.sockets)).getsockname()[1]}), flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
