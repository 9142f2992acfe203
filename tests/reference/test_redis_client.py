"""The client of Redis when its connections are reset: on uvloop, as in the services."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

import uvloop

from earwitness.harness.reference.redis_client import make_redis

RESET = struct.pack("ii", 1, 0)


class Answering:
    """As Redis would, without understanding anything: one line for each command."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.tasks: list[asyncio.Task[None] | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.tasks.append(asyncio.current_task())
        with suppress(ConnectionError):
            while head := await reader.readline():
                for _ in range(2 * int(head[1:])):
                    await reader.readline()
                writer.write(b"+PONG\r\n")
            writer.close()
            await writer.wait_closed()

    def reset(self) -> None:
        for writer in self.writers:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


async def _reset_and_ask() -> list[bool]:
    """Answers to one request before and three after all connections were reset."""
    answering = Answering()
    server = await asyncio.start_server(answering.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = make_redis(f"redis://127.0.0.1:{port}?protocol=2", 2, answer_s=5, connect_s=5)
    try:
        answers = [await client.ping()]
        (connection,) = client.connection_pool._available_connections
        transport = connection._writer.transport
        answering.reset()
        await asyncio.gather(*(task for task in answering.tasks if task))
        while not transport.is_closing():  # the client's loop takes notice
            await asyncio.sleep(0)
        return answers + [await client.ping() for _ in range(3)]
    finally:
        await client.aclose()
        await asyncio.gather(*(task for task in answering.tasks if task))
        server.close()
        await server.wait_closed()


def test_a_connection_that_was_reset_is_replaced() -> None:
    """Within the same command: whoever asks does not notice."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(asyncio.wait_for(_reset_and_ask(), 20)) == [True] * 4
