"""Small SignalR server, used because no other can be installed here: JSON hub protocol 1 over a WebSocket.

    python tests/support/dialect_servers/signalr_hub.py --port 5000 [--keep-alive-s 15]

Written from https://github.com/dotnet/aspnetcore/blob/main/src/SignalR/docs/specs/HubProtocol.md. The methods are those
of examples/dialects/signalr.toml. Like ASP.NET Core the server pings, and closes connections that were silent for two
keep-alive intervals.
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

END = "\x1e"


class Connection:
    """One connection: the records that wait to be sent on it, and the user's name."""

    def __init__(self, socket: ServerConnection, name: str) -> None:
        self.socket, self.name = socket, name
        self.waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def send(self, record: dict[str, Any]) -> None:
        """Queue a record; `write` sends it as soon as possible."""
        self.waiting.put_nowait(record)

    async def write(self, keep_alive_s: float) -> None:
        """Send queued records, several in one frame; send a ping after `keep_alive_s` seconds without a record."""
        with suppress(ConnectionClosed):
            while True:
                try:
                    records = [await asyncio.wait_for(self.waiting.get(), keep_alive_s)]
                except TimeoutError:
                    records = [{"type": 6}]
                while not self.waiting.empty():
                    records.append(self.waiting.get_nowait())
                await self.socket.send("".join(json.dumps(record) + END for record in records))


class Hub:
    """Methods of the chat, its groups and their messages."""

    def __init__(self, keep_alive_s: float) -> None:
        self.keep_alive_s = keep_alive_s
        self.groups: dict[str, set[Connection]] = defaultdict(set)
        self.rows: dict[str, list[dict[str, Any]]] = defaultdict(list)

    async def serve(self, socket: ServerConnection) -> None:
        """Serve one connection until it ends."""
        assert socket.request is not None
        shown = socket.request.headers.get("Authorization", "").removeprefix("Bearer ")  # browsers show it in the query
        name = shown or parse_qs(urlsplit(socket.request.path).query).get("access_token", [""])[0]
        hello = json.loads(str(await socket.recv()).rstrip(END))
        if hello.get("protocol") != "json" or hello.get("version") != 1 or not name:
            await socket.send(json.dumps({"error": "Requested protocol or token is not available."}) + END)
            return
        await socket.send("{}" + END)
        connection = Connection(socket, name)
        writer = asyncio.create_task(connection.write(self.keep_alive_s))
        try:
            while await self._read(connection):
                pass
        except TimeoutError:
            await socket.send('{"type":7,"error":"Client timeout."}' + END)
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            for group in self.groups.values():
                group.discard(connection)

    async def _read(self, connection: Connection) -> bool:
        frame = str(await asyncio.wait_for(connection.socket.recv(), 2 * self.keep_alive_s))
        for record in frame.rstrip(END).split(END):
            said = json.loads(record)
            if said["type"] == 7:
                return False
            if said["type"] == 1:
                self._invoked(connection, said)
        return True

    def _invoked(self, connection: Connection, said: dict[str, Any]) -> None:
        methods = {"Join": self.join, "Send": self.send, "History": self.history}
        answer: dict[str, Any] = {"type": 3, "invocationId": said.get("invocationId")}
        try:
            result = methods[said["target"]](connection, *said["arguments"])
            answer |= {} if result is None else {"result": result}
        except (KeyError, TypeError, PermissionError) as error:
            answer["error"] = f"Failed to invoke {said['target']!r}: {type(error).__name__}."
        if answer["invocationId"] is not None:
            connection.send(answer)

    def join(self, connection: Connection, room: str) -> int:
        """Add the connection to the group of a room; return the number of the room's last message."""
        self.groups[room].add(connection)
        return len(self.rows[room])

    def send(self, connection: Connection, room: str, message_id: str, text: str) -> dict[str, int]:
        """Number a message and send it to all members of its room; return {"seq": number}.

        Raises PermissionError if the connection has not joined the room.
        """
        if connection not in self.groups[room]:
            raise PermissionError
        rows = self.rows[room]
        row = {"room": room, "from": connection.name, "id": message_id, "text": text, "seq": len(rows) + 1}
        rows.append(row)
        for member in self.groups[room]:
            member.send({"type": 1, "target": "Said", "arguments": [row]})
        return {"seq": len(rows)}

    def history(self, connection: Connection, room: str) -> list[dict[str, Any]]:
        """Return all messages of a room."""
        return self.rows[room]


async def run(port: int, keep_alive_s: float) -> None:
    """Serve until the process is ended."""
    async with serve(Hub(keep_alive_s).serve, "127.0.0.1", port):
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--keep-alive-s", type=float, default=15.0)
    given = parser.parse_args()
    asyncio.run(run(given.port, given.keep_alive_s))


if __name__ == "__main__":
    main()
