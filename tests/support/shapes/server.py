"""Small chats in the forms of well-known protocols, each with what its sockets need besides messages.

    python tests/support/shapes/server.py --port 8766 [--lose N] [--bytes]

Each address is one form; `NAME.toml` beside this file describes it. A stated user name is not verified.

- `/engine`   Engine.IO 4: an opening of two steps, packets with a digit before the JSON, a ping every half second that
              must be answered within one
- `/bayeux`   Bayeux: all frames contain a client id from the handshake; without `/meta/connect` for 1.5 s a socket
              is cut
- `/counted`  SocketCluster: the client numbers its frames in the JSON; answers state the number; pings are `#1`
- `/room/R`   the Channels tutorial: the address names the room; no ids, no senders, no acknowledgements
- `/hub`      SignalR: JSON texts that end with 0x1e, several in one frame, a handshake; with `--bytes` all are binary
- `/order/R`  the address names the room, a greeting states that it is entered, and answers come without an id

`--lose N` drops the Nth delivery to a member other than its author, once. Prints {"port": N} when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import signal
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import WSMsgType, web

PING_S, PONG_S, QUIET_S = 0.5, 1.0, 1.5
END = "\x1e"


class Guest:
    """One open socket. Texts in `outbox` are sent at once; a chat decides into how many frames they go."""

    def __init__(self, socket: web.WebSocketResponse, *, together: bool = False, binary: bool = False) -> None:
        """Accept a socket.

        `together`: texts that are due at the same time go into one frame; `binary`: frames are bytes.
        """
        self.socket, self.together, self.binary = socket, together, binary
        self.name = self.id = ""
        self.outbox: list[str] = []
        self.news = asyncio.Event()
        self.heard_at = asyncio.get_running_loop().time()

    def tell(self, text: str) -> None:
        self.outbox.append(text)
        self.news.set()

    async def write(self) -> None:
        while not self.socket.closed:
            await self.news.wait()
            self.news.clear()
            batch, self.outbox = self.outbox, []
            for text in ["".join(batch)] if self.together and batch else batch:
                await (self.socket.send_bytes(text.encode()) if self.binary else self.socket.send_str(text))

    async def frames(self) -> AsyncIterator[str]:
        """Yield the text of each frame received; a frame of the wrong kind closes the socket."""
        async for message in self.socket:
            self.heard_at = asyncio.get_running_loop().time()
            if message.type != (WSMsgType.BINARY if self.binary else WSMsgType.TEXT):
                await self.socket.close(code=1003, message=b"the other kind of frame, please")
                return
            yield message.data.decode() if self.binary else message.data

    async def watch(self, ping: str, every_s: float, quiet_s: float) -> None:
        """Send `ping` every `every_s` s, unless it is ""; close a socket that has sent nothing for `quiet_s` s."""
        while not self.socket.closed:
            await asyncio.sleep(every_s)
            if asyncio.get_running_loop().time() - self.heard_at > quiet_s:
                await self.socket.close(code=4000, message=b"you said nothing")
            elif ping:
                self.tell(ping)


class Chat:
    def __init__(self, lose: int, binary: bool) -> None:
        self.lose, self.binary = lose, binary
        self.deliveries = 0
        self.rooms: dict[str, set[Guest]] = {}

    def enter(self, room: str, guest: Guest) -> None:
        self.rooms.setdefault(room, set()).add(guest)

    def publish(self, room: str, author: Guest, text: str) -> None:
        for guest in self.rooms.get(room, ()):
            if guest is not author:
                self.deliveries += 1
                if self.deliveries == self.lose:
                    continue
            guest.tell(text)

    async def open(self, request: web.Request, **habits: Any) -> Guest:
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        return Guest(socket, **habits)

    async def serve(self, guest: Guest, talk: Any, *watches: Any) -> web.StreamResponse:
        """Run the tasks of a socket until `talk`, its dialogue, has ended; return the socket."""
        tasks = [asyncio.ensure_future(one) for one in (guest.write(), *watches)]
        try:
            await talk
        finally:
            for room in self.rooms.values():
                room.discard(guest)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return guest.socket

    # -- Engine.IO ------------------------------------------------------------------------------------------------

    async def engine(self, request: web.Request) -> web.StreamResponse:
        guest = await self.open(request)
        guest.id = secrets.token_hex(4)
        guest.tell("0" + json.dumps({"sid": guest.id, "pingInterval": 500, "pingTimeout": 1000}))
        return await self.serve(guest, self.engine_talk(guest), guest.watch("2", PING_S, PONG_S))

    async def engine_talk(self, guest: Guest) -> None:
        async for frame in guest.frames():
            if frame.startswith("40"):
                asked = json.loads(frame[2:])
                guest.name = str(asked.get("name", ""))
                fits = guest.name and asked.get("sid") == guest.id
                guest.tell("40" + json.dumps({"sid": "of-the-namespace"}) if fits else '44{"message":"who are you?"}')
            elif frame.startswith("42") and guest.name:
                what, room, *more = json.loads(frame[2:])
                if what == "join":
                    self.enter(room, guest)
                    guest.tell("42" + json.dumps(["joined", room]))
                else:
                    guest.tell("42" + json.dumps(["ok", more[0]]))
                    self.publish(room, guest, "42" + json.dumps(["said", room, more[1], guest.name]))

    # -- Bayeux ---------------------------------------------------------------------------------------------------

    async def bayeux(self, request: web.Request) -> web.StreamResponse:
        guest = await self.open(request)
        return await self.serve(guest, self.bayeux_talk(guest), guest.watch("", PING_S, QUIET_S))

    async def bayeux_talk(self, guest: Guest) -> None:
        quiet_since = guest.heard_at
        async for frame in guest.frames():
            for asked in json.loads(frame):
                channel = asked["channel"]
                if channel in ("/meta/handshake", "/meta/connect"):
                    quiet_since = guest.heard_at
                guest.heard_at = quiet_since  # only /meta/connect counts as a sign of life
                guest.tell(json.dumps([self.bayeux_answer(guest, channel, asked)]))

    def bayeux_answer(self, guest: Guest, channel: str, asked: dict[str, Any]) -> dict[str, Any]:
        answer = {"channel": channel, "id": asked.get("id"), "successful": True}
        if channel == "/meta/handshake":
            guest.id, guest.name = secrets.token_hex(4), str(asked["ext"]["name"])
            return {**answer, "clientId": guest.id}
        if asked.get("clientId") != guest.id or not guest.id:
            return {**answer, "successful": False, "error": "401::who are you?"}
        if channel == "/meta/subscribe":
            self.enter(asked["subscription"], guest)
            return {**answer, "subscription": asked["subscription"]}
        if not channel.startswith("/meta/"):
            self.publish(channel, guest, json.dumps([{"channel": channel, "data": asked["data"]}]))
        return answer

    # -- SocketCluster --------------------------------------------------------------------------------------------

    async def counted(self, request: web.Request) -> web.StreamResponse:
        guest = await self.open(request)
        return await self.serve(guest, self.counted_talk(guest), guest.watch("#1", PING_S, PONG_S))

    async def counted_talk(self, guest: Guest) -> None:
        async for frame in guest.frames():
            if frame == "#2":
                continue
            asked = json.loads(frame)
            number, data = asked["cid"], asked.get("data")
            if type(number) is not int:
                guest.tell(json.dumps({"rid": number, "error": {"name": "no number"}}))
            elif asked["event"] == "#handshake":
                guest.name = str(data["name"])
                guest.tell(json.dumps({"rid": number, "data": {"id": "s", "isAuthenticated": True}}))
            elif asked["event"] == "#subscribe":
                self.enter(data["channel"], guest)
                guest.tell(json.dumps({"rid": number}))
            else:
                guest.tell(json.dumps({"rid": number}))
                said = {"channel": data["channel"], "data": {"text": data["text"], "by": guest.name}}
                self.publish(data["channel"], guest, json.dumps({"event": "#publish", "data": said}))

    # -- the Channels tutorial ------------------------------------------------------------------------------------

    async def room(self, request: web.Request) -> web.StreamResponse:
        guest = await self.open(request)
        name = request.match_info["name"]
        self.enter(name, guest)

        async def talk() -> None:
            async for frame in guest.frames():
                self.publish(name, guest, json.dumps({"message": json.loads(frame)["message"]}))

        return await self.serve(guest, talk())

    # -- SignalR --------------------------------------------------------------------------------------------------

    async def hub(self, request: web.Request) -> web.StreamResponse:
        guest = await self.open(request, together=True, binary=self.binary)
        guest.name = request.query.get("name", "")
        return await self.serve(guest, self.hub_talk(guest))

    async def hub_talk(self, guest: Guest) -> None:
        shaken = False
        async for frame in guest.frames():
            *texts, rest = frame.split(END)
            if rest:
                await guest.socket.close(code=1002, message=b"every text ends with 0x1e")
                return
            for asked in map(json.loads, texts):
                if not shaken:
                    shaken = asked == {"protocol": "json", "version": 1}
                    guest.tell(("{}" if shaken else '{"error":"no such protocol"}') + END)
                elif asked["type"] == 1:
                    self.hub_call(guest, asked)

    def hub_call(self, guest: Guest, asked: dict[str, Any]) -> None:
        room = asked["arguments"][0]
        if asked["target"] == "Join":
            self.enter(room, guest)
            guest.tell(json.dumps({"type": 1, "target": "Joined", "arguments": [room]}) + END)
            return
        guest.tell(json.dumps({"type": 3, "invocationId": asked["invocationId"], "result": None}) + END)
        said = {"type": 1, "target": "Said", "arguments": [room, guest.name, asked["arguments"][1]]}
        self.publish(room, guest, json.dumps(said) + END)

    # -- answers in order -----------------------------------------------------------------------------------------

    async def order(self, request: web.Request) -> web.StreamResponse:
        guest = await self.open(request)
        guest.name, name = request.query.get("name", ""), request.match_info["name"]
        self.enter(name, guest)
        guest.tell(json.dumps({"welcome": guest.name}))

        async def talk() -> None:
            async for frame in guest.frames():
                guest.tell(json.dumps({"ok": True}))
                self.publish(name, guest, json.dumps({"by": guest.name, "text": json.loads(frame)["text"]}))

        return await self.serve(guest, talk())


async def run(port: int, chat: Chat) -> None:
    app = web.Application()
    for path, serve in {"engine": chat.engine, "bayeux": chat.bayeux, "counted": chat.counted, "hub": chat.hub}.items():
        app.router.add_get(f"/{path}", serve)
    app.router.add_get("/room/{name}", chat.room)
    app.router.add_get("/order/{name}", chat.order)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8766, help="0: any free one")
    parser.add_argument("--lose", type=int, default=0, metavar="N", help="drop the Nth delivery; 0: none")
    parser.add_argument("--bytes", action="store_true", help="the hub speaks in binary frames")
    given = parser.parse_args()
    asyncio.run(run(given.port, Chat(given.lose, given.bytes)))


if __name__ == "__main__":
    main()
