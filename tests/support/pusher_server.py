"""Small server of the Pusher protocol 7, and of the part of its HTTP API that triggers events.

    python tests/support/pusher_server.py [--port 6001] [--activity S]

Written from https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol, …/auth-signatures and
…/rest-api, because neither Pusher, Reverb nor soketi can be installed here. The application is app-id, app-key,
app-secret. A socket that sends nothing for `--activity` seconds gets a pusher:ping, and is closed with 4201 if it sends
nothing for as long again. Prints {"port": N} when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import random
import signal
from collections import defaultdict
from typing import Any
from urllib.parse import urlencode

from aiohttp import WSMsgType, web

APP_ID, KEY, SECRET = "app-id", "app-key", "app-secret"
GUARDED = ("private-", "presence-")


def sign(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


class Pusher:
    """Channels and their subscribers: socket → user id of its presence, "" for a channel without presence."""

    def __init__(self, activity_s: float) -> None:
        self.activity_s = activity_s
        self.channels: dict[str, dict[web.WebSocketResponse, str]] = defaultdict(dict)

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if request.match_info["key"] != KEY:
            await self.put(socket, "pusher:error", {"message": "Application does not exist", "code": 4001})
            await socket.close(code=4001)
            return socket
        socket_id = f"{random.randrange(1 << 30)}.{random.randrange(1 << 30)}"
        await self.put(
            socket,
            "pusher:connection_established",
            json.dumps({"socket_id": socket_id, "activity_timeout": max(1, int(self.activity_s))}),
        )
        try:
            await self.talk(socket, socket_id)
        finally:
            for members in self.channels.values():
                members.pop(socket, None)
        return socket

    async def talk(self, socket: web.WebSocketResponse, socket_id: str) -> None:
        asked = False
        while True:
            try:
                message = await socket.receive(timeout=self.activity_s)
            except TimeoutError:
                if asked:
                    await socket.close(code=4201, message=b"Pong reply not received in time")
                    return
                asked = True
                await self.put(socket, "pusher:ping", {})
                continue
            if message.type != WSMsgType.TEXT:
                return
            asked = False
            await self.take(socket, socket_id, json.loads(message.data))

    async def take(self, socket: web.WebSocketResponse, socket_id: str, frame: dict[str, Any]) -> None:
        event, data = str(frame.get("event")), frame.get("data")
        if event == "pusher:ping":
            await self.put(socket, "pusher:pong", {})
        elif event == "pusher:subscribe" and isinstance(data, dict):
            await self.subscribe(socket, socket_id, data)
        elif event.startswith("client-"):
            channel = str(frame.get("channel"))
            members = self.channels[channel]
            if socket in members and channel.startswith(GUARDED):
                said = {"event": event, "channel": channel, "data": data}
                if members[socket]:
                    said["user_id"] = members[socket]
                for member in [one for one in members if one is not socket]:
                    await self.say(member, said)

    async def subscribe(self, socket: web.WebSocketResponse, socket_id: str, data: dict[str, Any]) -> None:
        channel, shown, user = str(data.get("channel")), data.get("channel_data"), ""
        signed = f"{socket_id}:{channel}" + (f":{shown}" if shown else "")
        if channel.startswith(GUARDED) and data.get("auth") != f"{KEY}:{sign(signed)}":
            error = json.dumps({"type": "AuthError", "error": "Invalid signature", "status": 401})
            await self.say(socket, {"event": "pusher:subscription_error", "channel": channel, "data": error})
            return
        if shown:
            user = str(json.loads(shown)["user_id"])
        self.channels[channel][socket] = user
        await self.say(socket, {"event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}"})

    async def events(self, request: web.Request) -> web.Response:
        """Trigger the event of a request POST /apps/ID/events; answer 401 to a wrong signature, 413 to long data."""
        body, query = await request.read(), dict(request.query)
        given = query.pop("auth_signature", "")
        wanted = sign(f"POST\n{request.path}\n{urlencode(sorted(query.items()))}")
        if given != wanted or query.get("body_md5") != hashlib.md5(body).hexdigest():
            return web.Response(status=401, text="Invalid signature")
        event = json.loads(body)
        if len(event["data"]) > 10_240:
            return web.Response(status=413, text="The data content of this event exceeds the allowed maximum")
        for channel in event["channels"]:
            for member in list(self.channels[channel]):
                await self.say(member, {"event": event["name"], "channel": channel, "data": event["data"]})
        return web.json_response({})

    async def put(self, socket: web.WebSocketResponse, event: str, data: object) -> None:
        await self.say(socket, {"event": event, "data": data})

    async def say(self, socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if not socket.closed:
            try:
                await socket.send_str(json.dumps(frame))
            except ConnectionError:
                return


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=6001, help="0: any free one")
    parser.add_argument("--activity", type=float, default=120.0, metavar="S")
    options = parser.parse_args()
    pusher, app = Pusher(options.activity), web.Application()
    app.router.add_get("/app/{key}", pusher.socket)
    app.router.add_post(f"/apps/{APP_ID}/events", pusher.events)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
