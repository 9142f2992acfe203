"""Foreign chat server: another envelope and login than the reference platform, no sequence numbers, no common code.

    python tests/support/other_chat/server.py --port 8765 [--lose N] [--stumble N] [--tire N] [--die N] [--slow S]
        [--lag S] [--silent N] [--mute N] [--tls CERTIFICATE KEY AUTHORITY]

A login form sets a session cookie; the first frame of a socket contains its value. A client enters each circle (room)
separately. Events for a member are sent as one JSON list in each frame. Prints {"port": N} when it listens.

The circle "lobby" is open to everybody, and a built-in visitor sends messages there all the time. Messages may also be
sent by HTTP. Planted errors:

- `--lose N` drops the Nth delivery to a member other than the author, once
- `--stumble N` answers the Nth message by HTTP with 503, after the message was accepted
- `--tire N` closes each socket with 4002 after its Nth message
- `--die N` ends the server in the middle of the Nth message of all
- `--slow S` sends one event in each frame, and waits S seconds after it
- `--lag S` waits S seconds between acknowledging a message and delivering it
- `--silent N` never acknowledges each Nth message
- `--mute N` stops sending to the first socket of each visitor after N messages, and cuts it three seconds later

With `--tls` clients need a certificate of the authority. `--rude` puts terminal escapes into texts.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import secrets
import signal
import ssl
from typing import Any

from aiohttp import WSMsgType, web

PAGE = 50
RUDE = "\x1b[2J\x1b[31mEVIL\x07\x9b\nearwitness: PASS"
OLD_HAND = "old.hand"  # what he says is never lost: the one loss is to be a guest's


class Circle:
    def __init__(self, name: str, insiders: set[str] | None) -> None:
        """Create an empty circle. `insiders`: names of those who may enter, None for everybody."""
        self.name = name
        self.insiders = insiders
        self.log: list[dict[str, Any]] = []
        self.present: set[Visitor] = set()

    def admits(self, handle: str) -> bool:
        return self.insiders is None or handle in self.insiders


class Visitor:
    """One open socket. A writer sends all events in `outbox` as one list."""

    def __init__(self, socket: web.WebSocketResponse, handle: str, slow: float) -> None:
        self.socket = socket
        self.handle = handle
        self.slow = slow
        self.said = self.heard = 0
        self.outbox: list[dict[str, Any]] = []
        self.news = asyncio.Event()

    def tell(self, event: dict[str, Any]) -> None:
        self.outbox.append(event)
        self.news.set()

    async def write(self) -> None:
        while not self.socket.closed:
            await self.news.wait()
            self.news.clear()
            batch, self.outbox = self.outbox, []
            for events in [[event] for event in batch] if self.slow else [batch] if batch else []:
                await self.socket.send_str(json.dumps(events, ensure_ascii=False))
                await asyncio.sleep(self.slow)


class Chat:
    def __init__(self, habits: argparse.Namespace) -> None:
        self.lose, self.stumble, self.tire, self.die = habits.lose, habits.stumble, habits.tire, habits.die
        self.slow, self.lag, self.silent, self.mute = habits.slow, habits.lag, habits.silent, habits.mute
        self.rude = habits.rude
        self.met: set[str] = set()
        self.muted: dict[Visitor, asyncio.Transport] = {}
        self.deliveries = self.posts = self.messages = 0
        self.passwords: dict[str, str] = {}
        self.sessions: dict[str, str] = {}
        self.circles: dict[str, Circle] = {"lobby": Circle("lobby", None)}

    async def talk_all_day(self) -> None:
        while True:
            self.publish(self.circles["lobby"], OLD_HAND, "those were the days")
            await asyncio.sleep(0.1)

    # -- HTTP --

    async def log_in(self, request: web.Request) -> web.Response:
        form = await request.post()
        handle, password = str(form.get("nick", "")), hashlib.sha256(str(form.get("pass", "")).encode()).hexdigest()
        if not handle:
            return web.json_response({"oops": "a nick is needed"}, status=400)
        if self.passwords.setdefault(handle, password) != password:
            return web.json_response({"oops": "wrong password"}, status=403)
        session = secrets.token_hex(16)
        self.sessions[session] = handle
        answer = web.json_response({"you": {"handle": handle}})
        answer.set_cookie("oc_session", session, httponly=True)
        return answer

    def who(self, request: web.Request) -> str:
        handle = self.sessions.get(request.cookies.get("oc_session", ""))
        if handle is None:
            raise web.HTTPUnauthorized(text='{"oops": "log in first"}', content_type="application/json")
        return handle

    def circle_for(self, request: web.Request) -> Circle:
        handle, circle = self.who(request), self.circles.get(request.match_info["name"])
        if circle is None:
            raise web.HTTPNotFound(text='{"oops": "no such circle"}', content_type="application/json")
        if not circle.admits(handle):
            raise web.HTTPForbidden(text='{"oops": "not your circle"}', content_type="application/json")
        return circle

    async def me(self, request: web.Request) -> web.Response:
        return web.json_response({"handle": self.who(request)})

    async def found(self, request: web.Request) -> web.Response:
        self.who(request)
        name, wanted = request.match_info["name"], await request.json()
        if name in self.circles:
            self.circle_for(request)
            return web.json_response({"circle": name}, status=200)
        self.circles[name] = Circle(name, set(wanted["insiders"]))
        return web.json_response({"circle": name}, status=201)

    async def log(self, request: web.Request) -> web.Response:
        circle, skip = self.circle_for(request), int(request.query.get("skip", "0"))
        return web.json_response({"log": circle.log[skip : skip + PAGE]})

    async def post(self, request: web.Request) -> web.Response:
        circle, said = self.circle_for(request), await request.json()
        number = self.publish(circle, self.who(request), str(said["body"]))
        self.posts += 1
        if self.posts == self.stumble:
            return web.json_response({"oops": "stumbled"}, status=503)
        return web.json_response({"said": {"n": number}}, status=201)

    # -- the socket --

    async def live(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        hello = await socket.receive()
        frame = json.loads(hello.data) if hello.type == WSMsgType.TEXT else {}
        handle = self.sessions.get(str(frame.get("session", ""))) if frame.get("op") == "hello" else None
        if handle is None:
            await socket.close(code=4001, message=b"say hello with your session")
            return socket
        visitor = Visitor(socket, handle, self.slow)
        if self.mute and handle not in self.met and isinstance(request.transport, asyncio.Transport):
            self.muted[visitor] = request.transport
        self.met.add(handle)
        visitor.tell({"ev": "ready", "me": handle} | ({"node": f"node{RUDE}"} if self.rude else {}))
        writer = asyncio.create_task(visitor.write())
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    self.take(visitor, json.loads(message.data))
                    if visitor.said == self.tire > 0:
                        await socket.close(code=4002, message=RUDE.encode() if self.rude else b"that was enough")
        finally:
            for circle in self.circles.values():
                circle.present.discard(visitor)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return socket

    def take(self, visitor: Visitor, frame: dict[str, Any]) -> None:
        circle = self.circles.get(str(frame.get("circle", "")))
        ref = frame.get("ref")
        if circle is None or not circle.admits(visitor.handle):
            visitor.tell({"ev": "no", "ref": ref, "why": 403})
        elif frame.get("op") == "enter":
            circle.present.add(visitor)
            visitor.tell({"ev": "entered", "circle": circle.name})
        elif frame.get("op") == "say":
            self.say(visitor, circle, ref, str(frame.get("body", "")))
        else:
            visitor.tell({"ev": "no", "ref": ref, "why": 400})

    def say(self, visitor: Visitor, circle: Circle, ref: Any, body: str) -> None:
        visitor.said += 1
        self.messages += 1
        if self.messages == self.die:
            os._exit(0)
        if not self.silent or self.messages % self.silent:
            visitor.tell({"ev": "ok", "ref": ref})
        if self.lag:
            asyncio.get_running_loop().call_later(self.lag, self.publish, circle, visitor.handle, body)
        else:
            self.publish(circle, visitor.handle, body)

    def publish(self, circle: Circle, author: str, body: str) -> int:
        entry = {"by": author, "body": body, "n": len(circle.log)}
        circle.log.append(entry)
        for listener in circle.present:
            if author not in (listener.handle, OLD_HAND):
                self.deliveries += 1
                if self.deliveries == self.lose:
                    continue
            listener.heard += 1
            if listener in self.muted and listener.heard > self.mute:
                if listener.heard == self.mute + 1:
                    asyncio.get_running_loop().call_later(3.0, self.muted[listener].abort)
                continue
            listener.tell({"ev": "said", "circle": circle.name, "what": entry})
        return int(entry["n"])


def tls_context(files: list[str] | None) -> ssl.SSLContext | None:
    """Return a TLS context from three files: certificate, key, and the clients' authority; None without files."""
    if files is None:
        return None
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files[2])
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(files[0], files[1])
    return made


async def serve(port: int, chat: Chat, tls: ssl.SSLContext | None) -> None:
    app = web.Application()
    app.router.add_post("/session", chat.log_in)
    app.router.add_get("/me", chat.me)
    app.router.add_put("/circles/{name}", chat.found)
    app.router.add_get("/circles/{name}/log", chat.log)
    app.router.add_post("/circles/{name}/say", chat.post)
    app.router.add_get("/live", chat.live)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    talking = asyncio.create_task(chat.talk_all_day())
    await ended.wait()
    talking.cancel()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8765, help="0: any free one")
    parser.add_argument("--lose", type=int, default=0, metavar="N", help="drop the Nth delivery; 0: none")
    parser.add_argument("--stumble", type=int, default=0, metavar="N", help="answer the Nth post with 503; 0: none")
    parser.add_argument("--tire", type=int, default=0, metavar="N", help="hang up after N messages; 0: never")
    parser.add_argument("--die", type=int, default=0, metavar="N", help="end at the Nth message of all; 0: never")
    parser.add_argument("--slow", type=float, default=0.0, metavar="S", help="one event per S seconds and socket")
    parser.add_argument("--lag", type=float, default=0.0, metavar="S", help="deliver S seconds after acknowledging")
    parser.add_argument("--silent", type=int, default=0, metavar="N", help="never acknowledge each Nth; 0: all")
    parser.add_argument("--mute", type=int, default=0, metavar="N", help="fall silent after N messages; 0: never")
    parser.add_argument("--rude", action="store_true", help="write escapes into names and reasons")
    parser.add_argument("--tls", nargs=3, metavar="FILE", help="certificate, key, and authority of the clients")
    given = parser.parse_args()
    asyncio.run(serve(given.port, Chat(given), tls_context(given.tls)))


if __name__ == "__main__":
    main()
