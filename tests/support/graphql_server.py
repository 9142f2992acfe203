"""Chat with GraphQL subscriptions on strawberry-graphql and uvicorn: rooms, mutations, and a history in memory.

    python tests/support/graphql_server.py [--port 8000] [--silent] [--skip N] [--ping-s 20]

Needs `pip install 'earwitness[servers]'`. The user is named by the field `user` of the connection_init payload, or by
the header x-user. Each subscription begins with an event without a message when it is ready; with `--silent` it does
not. A subscription with the variable `after` starts with the messages after that number; `--skip` leaves out the first
N of these, as a planted error. Prints {"port": N} when the server listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections import defaultdict
from collections.abc import AsyncGenerator
from typing import Any

import strawberry
import uvicorn
from strawberry.asgi import GraphQL
from strawberry.types import Info


@strawberry.type
class Message:
    """A message in a room."""

    id: str
    text: str
    sender: str
    number: int


@strawberry.type
class Said:
    """Event of a subscription: a message, or None if it only states that the subscription is ready."""

    message: Message | None


LOGS: dict[str, list[Message]] = defaultdict(list)
LISTENERS: dict[str, list[asyncio.Queue[Message]]] = defaultdict(list)
SILENT, SKIP = False, 0


def user_of(info: Info[Any, Any]) -> str:
    shown = info.context.get("connection_params") or {}
    return str(shown.get("user") or info.context["request"].headers.get("x-user", "?"))


@strawberry.type
class Query:
    """GraphQL queries: reading the history of a room."""

    @strawberry.field
    def messages(self, room: str) -> list[Message]:
        return LOGS[room]


@strawberry.type
class Mutation:
    """GraphQL mutations: sending a message."""

    @strawberry.mutation
    async def send(self, info: Info[Any, Any], room: str, text: str, id: str) -> Message:
        if len(text) > 10_000:
            raise ValueError("too long")
        message = Message(id=id, text=text, sender=user_of(info), number=len(LOGS[room]) + 1)
        LOGS[room].append(message)
        for listener in LISTENERS[room]:
            listener.put_nowait(message)
        return message


@strawberry.type
class Subscription:
    """GraphQL subscriptions: messages of a room as they are sent."""

    @strawberry.subscription
    async def said(self, room: str, after: int | None = None) -> AsyncGenerator[Said, None]:
        queue: asyncio.Queue[Message] = asyncio.Queue()
        LISTENERS[room].append(queue)
        missed = [] if after is None else LOGS[room][after + SKIP :]
        try:
            if not SILENT:
                yield Said(message=None)
            for message in missed:
                yield Said(message=message)
            while True:
                yield Said(message=await queue.get())
        finally:
            LISTENERS[room].remove(queue)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="0: any free one")
    parser.add_argument("--silent", action="store_true", help="say nothing when a subscription is ready")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="leave out N of the messages that were missed")
    parser.add_argument("--ping-s", type=float, default=20.0, help="seconds between pings, and for their answers")
    options = parser.parse_args()
    global SILENT, SKIP
    SILENT, SKIP = options.silent, options.skip
    app: Any = GraphQL(strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription))
    listening = socket.create_server(("127.0.0.1", options.port))
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", ws="websockets-sansio", lifespan="off",
            ws_ping_interval=options.ping_s, ws_ping_timeout=options.ping_s,
        )
    )  # fmt: skip
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main())
