"""Small server of Phoenix channels v2, and of the broadcasts of Supabase Realtime, on one port.

    python tests/support/phoenix_server.py [--port 4000] [--timeout S] [--skip N]

Written from https://hexdocs.pm/phoenix/writing_a_channels_client.html and
https://supabase.com/docs/guides/realtime/protocol, because no Phoenix server can be installed here. Phoenix itself
resends nothing; a join with `last_seen_id` is answered with the messages after that number, as an application may do.
The query parameter `user` names the user. A socket that sends nothing for `--timeout` seconds is closed, as Phoenix
does after 60. `--skip`: leaves out the first N missed messages, as a planted error. Prints {"port": N} when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import defaultdict
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


class Phoenix:
    """Topics, and the sockets that have joined each: socket → (reference of the join, configuration of the join)."""

    def __init__(self, timeout_s: float, skip: int = 0) -> None:
        self.timeout_s, self.skip = timeout_s, skip
        self.members: dict[str, dict[ServerConnection, tuple[str, dict[str, Any]]]] = defaultdict(dict)
        self.numbers: dict[str, int] = defaultdict(int)
        self.logs: dict[str, list[Any]] = defaultdict(list)

    async def talk(self, socket: ServerConnection) -> None:
        """Serve one socket until it ends."""
        assert socket.request is not None
        query = parse_qs(urlsplit(socket.request.path).query)
        user = query.get("user", ["?"])[0]
        if query.get("vsn") != ["2.0.0"]:
            await socket.close(1008, "only vsn=2.0.0")
            return
        try:
            while True:
                frame = await asyncio.wait_for(socket.recv(), self.timeout_s)
                await self.take(socket, user, *json.loads(frame))
        except TimeoutError:
            await socket.close(1000, "no heartbeat")
        except ConnectionClosed:
            pass
        finally:
            for members in self.members.values():
                members.pop(socket, None)

    async def take(
        self, socket: ServerConnection, user: str, join_ref: Any, ref: Any, topic: str, event: str, payload: Any
    ) -> None:
        """Execute the command of a frame and send its reply."""
        joined = self.members[topic].get(socket)
        status: str = "ok"
        response: dict[str, Any] = {}
        if event == "phx_join":
            self.members[topic][socket] = (str(join_ref), payload.get("config", {}).get("broadcast", {}))
            if "last_seen_id" in payload:
                response = {"messages": self.logs[topic][payload["last_seen_id"] + self.skip :]}
        elif event == "phx_leave":
            self.members[topic].pop(socket, None)
        elif event != "heartbeat":
            if joined is None or joined[0] != join_ref:
                status, response = "error", {"reason": "unmatched topic"}
            else:
                response = await self.publish(socket, user, topic, event, payload)
                if event == "broadcast" and not joined[1].get("ack"):
                    return
        await self.send(socket, [join_ref, ref, topic, "phx_reply", {"status": status, "response": response}])

    async def publish(
        self, socket: ServerConnection, user: str, topic: str, event: str, payload: Any
    ) -> dict[str, Any]:
        """Send a message to all members of its topic; return the content of its reply."""
        self.numbers[topic] += 1
        number = self.numbers[topic]
        if event != "broadcast":  # an application of its own: it adds who spoke, and a number
            payload = {**payload, "user": user, "number": number}
            self.logs[topic].append(payload)
        for member, (_, config) in list(self.members[topic].items()):
            if event != "broadcast" or member is not socket or config.get("self"):
                await self.send(member, [None, None, topic, event, payload])
        return {} if event == "broadcast" else {"number": number}

    @staticmethod
    async def send(socket: ServerConnection, frame: list[Any]) -> None:
        with suppress(ConnectionClosed):
            await socket.send(json.dumps(frame))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=4000, help="0: any free one")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S")
    parser.add_argument("--skip", type=int, default=0, metavar="N")
    options = parser.parse_args()
    async with serve(Phoenix(options.timeout, options.skip).talk, "127.0.0.1", options.port) as server:
        print(json.dumps({"port": next(iter(server.sockets)).getsockname()[1]}), flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
