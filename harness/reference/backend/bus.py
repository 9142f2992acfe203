"""Messages between replicas ("news") by Redis pub/sub. They are fast, and some may be lost.

Code that must not miss anything queries the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import orjson
import redis.asyncio
import redis.exceptions

from earwitness.harness.reference.backend.feed import Numbered
from earwitness.harness.reference.service import DEPENDENCY_DOWN

MESSAGES = "backend:messages"
AGENT = "backend:agent"
MEMBERS = "backend:members"
REMOVALS = "backend:removals"
USERS = "backend:users"
MARKS = "backend:marks"
EDITS = "backend:edits"
PRESENCE = "backend:presence"

LOST: tuple[type[BaseException], ...] = (redis.exceptions.RedisError, *DEPENDENCY_DOWN)
"""Exceptions of a lost subscription, including those of the database when it is read after a reconnection."""
PENDING_MAX = 10_000
RETRY_PAUSE_S = 0.2
PING_EVERY_S = 2.0
PING_ANSWER_S = 2.0

Handler: TypeAlias = Callable[[bytes], None]
Batch: TypeAlias = list[tuple[int, int, list[Numbered]]]
"""List of (conversation id, count of removals from the conversation, numbered frames)."""
log = logging.getLogger(__name__)


def pack(origin: str, batch: Batch) -> bytes:
    """Return frames of several conversations as bytes for `unpack`: one line of JSON with their sizes, then the frames.

    `origin`: the sending replica.
    """
    sizes = [[conversation, n, [[seq, len(data)] for seq, data in frames]] for conversation, n, frames in batch]
    return b"".join([orjson.dumps([origin, sizes]), b"\n", *(data for _, _, frames in batch for _, data in frames)])


def unpack(payload: bytes) -> tuple[str, Batch]:
    """Return (origin, batch) from the result of `pack`."""
    head, _, _ = payload.partition(b"\n")
    origin, sizes = orjson.loads(head)
    at = len(head) + 1
    batch: Batch = []
    for conversation, removals, numbered in sizes:
        frames = []
        for seq, size in numbered:
            frames.append((seq, payload[at : at + size]))
            at += size
        batch.append((conversation, removals, frames))
    return origin, batch


class Bus:
    """Publisher and subscriber of news.

    `publish` never waits: the task `run_publisher` sends queued messages in order. Messages that cannot be sent are
    dropped and counted.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        """Start with an empty queue. `client` publishes and subscribes; nothing is sent before `run_publisher` runs."""
        self._client = client
        self._pending: list[tuple[str, bytes]] = []
        self._wake = asyncio.Event()
        self.dropped = 0
        self.connected = False

    def publish(self, channel: str, payload: bytes) -> None:
        """Queue a message for a channel.

        If PENDING_MAX are queued, they are all dropped first.
        """
        if len(self._pending) >= PENDING_MAX:
            self._drop(len(self._pending))
            self._pending.clear()
        self._pending.append((channel, payload))
        self._wake.set()

    async def run_publisher(self) -> None:
        """Send queued messages until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                await self.flush()

    async def flush(self) -> None:
        """Send the queued messages now; drop and count them if Redis does not accept them."""
        batch, self._pending = self._pending, []
        if not batch:
            return
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                for channel, payload in batch:
                    pipe.publish(channel, payload)
                await pipe.execute()
        except (redis.exceptions.RedisError, OSError) as error:
            # Not tried again: late news is worthless, the other replicas have read the database by then.
            self._drop(len(batch))
            log.warning("%d publications dropped, Redis does not answer: %r", len(batch), error)

    def _drop(self, n: int) -> None:
        self.dropped += n

    async def run_subscriber(self, handlers: Mapping[str, Handler], resync: Callable[[], Awaitable[None]]) -> None:
        """Call the channel's handler for each message until cancelled.

        `resync` is called after each (re)connection, because messages were missed before.
        """
        while True:
            pubsub = self._client.pubsub()
            try:
                await pubsub.subscribe(*handlers)
                await self._listen(pubsub, handlers, resync)
            except LOST as error:
                log.warning("subscription lost: %r", error)
            finally:
                self.connected = False
                await _close(pubsub)
            # Redis does not notify when it is back.
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _listen(
        self,
        pubsub: redis.asyncio.client.PubSub,
        handlers: Mapping[str, Handler],
        resync: Callable[[], Awaitable[None]],
    ) -> None:
        confirmed = 0
        asked = False
        while True:
            message = await pubsub.get_message(timeout=PING_ANSWER_S if asked else PING_EVERY_S)
            if message is None:
                if asked:
                    raise TimeoutError(f"no answer within {PING_ANSWER_S} s")
                # Without a ping, a half-open connection looks like one without news.
                await pubsub.ping()
                asked = True
                continue
            asked = False
            if message["type"] == "subscribe":
                confirmed += 1
                if confirmed % len(handlers) == 0:
                    self.connected = True
                    await resync()
            elif message["type"] == "message":
                _handle(handlers[message["channel"].decode()], message["data"])


def _handle(handler: Handler, data: bytes) -> None:
    try:
        handler(data)
    except Exception:
        # One bad message of another replica must not end the subscription of all.
        log.exception("news not understood: %r", data[:200])


async def _close(pubsub: Any) -> None:
    try:
        await pubsub.aclose()
    except (redis.exceptions.RedisError, OSError) as error:
        log.info("closing a broken subscription: %r", error)
