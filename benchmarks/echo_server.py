"""WebSocket server that sends every data frame back, fast enough not to limit the client that is measured.

python -m benchmarks.echo_server      prints its port, then echoes on 127.0.0.1 until its standard input ends
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import resource
import sys
from typing import cast

import uvloop
from websockets.speedups import apply_mask

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Echo(asyncio.Protocol):
    """One connection: accepts any upgrade request, then sends back the frames of each read, unmasked, in one write."""

    def __init__(self) -> None:
        self.rest = b""
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio.Transport
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        data = self.rest + data if self.rest else data
        if not self.open:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self.rest = head
                return
            self._upgrade(head)
        self.rest = b""
        answers = []
        at, end = 0, len(data)
        while at + 6 <= end:
            size = data[at + 1] & 127
            start = at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            stop = start + 4 + size
            if stop > end:
                break
            payload = apply_mask(data[start + 4 : stop], data[start : start + 4])
            length = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
            answers.append(data[at : at + 1] + length + payload)
            at = stop
        if answers:
            self.transport.write(b"".join(answers))
        self.rest = data[at:]

    def _upgrade(self, head: bytes) -> None:
        key = next(
            line.split(b":", 1)[1].strip()
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        )
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.open = True


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), lambda: ended.done() or ended.set_result(None))
    await ended


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(serve())
