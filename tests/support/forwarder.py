"""Forwarder of TCP connections: `python forwarder.py 127.0.0.1:8001=10.77.1.1:8001 …`.

Prints `ready` when all listen.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

CHUNK = 1 << 16


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    try:
        there, back = await asyncio.open_connection(host, port)
    except OSError:
        writer.transport.abort()
        return
    await asyncio.gather(_copy(reader, back), _copy(there, writer))
    for end in (writer, back):
        end.close()


async def main(pairs: list[str]) -> None:
    for pair in pairs:
        here, _, there = pair.partition("=")
        (own_host, own_port), (host, port) = here.rsplit(":", 1), there.rsplit(":", 1)

        async def accept(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = host, port: int = int(port)
        ) -> None:
            await _forward(reader, writer, host, port)

        await asyncio.start_server(accept, own_host, int(own_port))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
