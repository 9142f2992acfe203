"""A WebSocket server on the `websockets` library whose paths misbehave on demand; ends with its standard input.

python ws_server.py CERTIFICATE KEY        prints {"plain": port, "secure": port, "http": port}
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol


async def echo(ws: ServerConnection, _: str) -> None:
    async for message in ws:
        await ws.send(message)


async def welcome(ws: ServerConnection, argument: str) -> None:
    """Greets, then echoes. The greeting tells the replica, the token it was shown and the first frame."""
    assert ws.request is not None
    first = json.loads(await ws.recv()) if argument == "first" else None
    info = {
        "user": "uid-3",
        "replica": "replica-1",
        "session": "s",
        "authorization": ws.request.headers.get("Authorization"),
        "subprotocol": ws.subprotocol,
        "first": first,
    }
    await ws.send(json.dumps({"k": "welcome", "x": info}))
    await echo(ws, "")


async def silent(ws: ServerConnection, _: str) -> None:
    """Never greets; answers nothing."""
    await ws.wait_closed()


async def fragments(ws: ServerConnection, _: str) -> None:
    """Each message comes back in three fragments with a ping between."""
    async for message in ws:
        assert isinstance(message, str)
        third = max(1, len(message) // 3)

        async def parts(message: str = message, third: int = third):  # type: ignore[no-untyped-def]
            yield message[:third]
            await ws.ping()
            yield message[third : 2 * third]
            yield message[2 * third :]

        await ws.send(parts())


async def ping(ws: ServerConnection, _: str) -> None:
    """Sends the round-trip state of its own ping as a message."""
    async for _message in ws:
        pong = await ws.ping(b"are you there")
        await asyncio.wait_for(pong, 5)
        await ws.send(json.dumps({"k": "pong seen"}))


async def close(ws: ServerConnection, argument: str) -> None:
    await ws.close(int(argument), "as asked")


async def close_after(ws: ServerConnection, argument: str) -> None:
    """Hears one message, answers nothing, closes with a code."""
    await ws.recv()
    await ws.close(int(argument), "as asked")


async def reset(ws: ServerConnection, _: str) -> None:
    """After one message the connection is reset (RST), without a close frame."""
    await ws.recv()
    sock = ws.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ws.transport.abort()


async def cut(ws: ServerConnection, _: str) -> None:
    """After one message the stream ends inside a frame."""
    await ws.recv()
    ws.transport.write(b"\x81\x05abc")
    ws.transport.close()


async def wrong(ws: ServerConnection, _: str) -> None:
    """After one message comes a frame with an opcode that does not exist."""
    await ws.recv()
    ws.transport.write(b"\x83\x01x")
    await ws.wait_closed()


async def slow(ws: ServerConnection, argument: str) -> None:
    """Reads nothing until its own kernel buffers are full for a while, then counts what comes."""
    ws.transport.pause_reading()
    await asyncio.sleep(0.3)
    ws.transport.resume_reading()
    count = size = 0
    async for message in ws:
        count += 1
        size += len(message)
        if count == int(argument):
            await ws.send(json.dumps({"k": "counted", "count": count, "size": size}))


async def flood(ws: ServerConnection, argument: str) -> None:
    """After one message: that message many times, as fast as possible."""
    message = await ws.recv()
    for _ in range(int(argument)):
        await ws.send(message)
    await ws.wait_closed()


async def stubborn(ws: ServerConnection, _: str) -> None:
    """Stops reading after one message, so that no close frame is ever answered."""
    await ws.recv()
    ws.transport.pause_reading()
    await ws.send(json.dumps({"k": "deaf now"}))
    await asyncio.sleep(30)


ROLES: dict[str, Callable[[ServerConnection, str], Awaitable[None]]] = {
    role.__name__: role
    for role in (echo, welcome, silent, fragments, ping, close, close_after, reset, cut, wrong, slow, flood, stubborn)
}


async def handle(ws: ServerConnection) -> None:
    assert ws.request is not None
    role, _, argument = ws.request.path.strip("/").partition("/")
    await ROLES[role](ws, argument)


def refuse(ws: ServerConnection, request: Request) -> Response | None:
    if request.path.startswith("/refuse/"):
        return ws.respond(HTTPStatus(int(request.path.rpartition("/")[2])), "no guests today\n")
    return None


def choose(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol("chat.v1") if "chat.v1" in offered else None


counts: dict[bytes, int] = {}
going = asyncio.Event()


async def stream(writer: asyncio.StreamWriter, script: dict[str, Any]) -> bool:
    """Answer as the request says: parts of a chunked body, where "GO" waits for a request of /go; return if whole."""
    kind = script.get("type", "text/event-stream")
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    for part in script["parts"]:
        if part == "GO":
            await writer.drain()
            await going.wait()
            going.clear()
        else:
            data = part.encode()
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
    if script.get("end") == "cut":
        await writer.drain()
        return False
    if script.get("end") == "silent":
        await asyncio.sleep(30)
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A few HTTP answers: /cookies, /redirect, /silence, /half (body cut), /garbage, /nothing, /stream (the
    body of the request says which); keep-alive."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, path = head.split(b" ", 2)[:2]
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                ),
                0,
            )
            body = await reader.readexactly(length)
            path = path.partition(b"?")[0]
            counts[path] = counts.get(path, 0) + 1
            if path == b"/silence":
                await reader.read()
                return
            if path == b"/stream":
                if not await stream(writer, json.loads(body)):
                    return
                continue
            if path == b"/go":
                going.set()
            answers = {
                b"/cookies": b"200 OK\r\nSet-Cookie: a=1; Expires=Wed, 01 Jan 2031 00:00:00 GMT\r\nSet-Cookie: b=2\r\n"
                b"Content-Length: 2\r\n\r\n{}",
                b"/redirect": b"302 Found\r\nLocation: /cookies\r\nContent-Length: 0\r\n\r\n",
                b"/counts": b"200 OK\r\nContent-Length: 3\r\n\r\n%3d" % counts.get(b"/nothing", 0),
                b"/go": b"200 OK\r\nContent-Length: 2\r\n\r\ngo",
                b"/": b"200 OK\r\nContent-Length: 4\r\n\r\nroot",
                b"/half": b"200 OK\r\nContent-Length: 100\r\n\r\nhalf",
                b"/echo": b"200 OK\r\nContent-Length: %d\r\n\r\n%s %s" % (len(method) + 1 + len(body), method, body),
            }
            if path == b"/nothing":
                return
            if path in (b"/endless", b"/endless-head"):
                writer.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if path == b"/endless" else b"x: "))
                while True:
                    writer.write(b"x" * 65536)
                    await writer.drain()
            if path == b"/garbage":
                writer.write(b"no http at all\r\n\r\n")
                return
            writer.write(b"HTTP/1.1 " + answers[path])
            await writer.drain()
            if path == b"/half":
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(sys.argv[1], sys.argv[2])
    options = {"process_request": refuse, "select_subprotocol": choose, "ping_interval": None, "max_size": None}
    async with (
        serve(handle, "127.0.0.1", 0, **options) as plain,
        serve(handle, "127.0.0.1", 0, ssl=tls, **options) as secure,
        await asyncio.start_server(http, "127.0.0.1", 0) as web,
    ):
        ports = {"plain": plain, "secure": secure, "http": web}
        print(json.dumps({name: s.sockets[0].getsockname()[1] for name, s in ports.items()}), flush=True)  # type: ignore[attr-defined]
        await asyncio.to_thread(sys.stdin.read)
        os._exit(0)  # connections that never answer must not keep it


if __name__ == "__main__":
    asyncio.run(main())
