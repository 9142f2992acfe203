"""Sync of accounts from the auth service to `userbase` by a Redis stream, read at least once, applied idempotently."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import asyncpg
import orjson
import redis.asyncio
import redis.exceptions

from earwitness.harness.reference.backend.store import Users
from earwitness.harness.reference.service import DEPENDENCY_DOWN
from earwitness.harness.reference.userstream import STREAM

GROUP = "backend"
READ_MAX = 500
BLOCK_MS = 1000
CLAIM_IDLE_MS = 5000
RETRY_PAUSE_S = 0.2
log = logging.getLogger(__name__)


class UserSync:
    """Consumer of the stream `users`.

    An entry is acknowledged after its row is committed. `announce` publishes changed users to all replicas. `consumer`
    is the name of this replica in the consumer group.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        users: Users,
        consumer: str,
        announce: Callable[[list[dict[str, object]]], None],
    ) -> None:
        """Read the stream with `client`. Defects may replace `upsert`, which stores rows."""
        self._client, self._consumer, self._announce = client, consumer, announce
        self.upsert: Callable[[Sequence[dict[str, object]]], Awaitable[None]] = users.upsert

    async def run(self) -> None:
        """Apply entries of the stream until cancelled. An outage of Redis or the database only delays it."""
        while True:
            try:
                await self._ensure_group()
                while True:
                    await self._claim()
                    await self.apply(await self._read())
            except (*DEPENDENCY_DOWN, redis.exceptions.RedisError, asyncpg.PostgresError) as error:
                log.warning("waiting: %r", error)
            # Neither Redis nor the database notifies when it is back.
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _ensure_group(self) -> None:
        try:
            await self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except redis.exceptions.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _read(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        answer = await self._client.xreadgroup(GROUP, self._consumer, {STREAM: ">"}, count=READ_MAX, block=BLOCK_MS)
        return _entries(answer)

    async def _claim(self) -> None:
        """Take over entries that a replica took and did not acknowledge: it died, or lost its database."""
        start: str | bytes = "0-0"
        while True:
            answer = await self._client.xautoclaim(
                STREAM, GROUP, self._consumer, CLAIM_IDLE_MS, start_id=start, count=READ_MAX
            )
            await self.apply(answer[1])
            start = answer[0]
            if start in (b"0-0", "0-0"):
                return

    async def apply(self, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> None:
        """Store the users of these entries, acknowledge the entries, then announce the users.

        Invalid entries are logged.
        """
        if not entries:
            return
        users = []
        for entry_id, fields in entries:
            try:
                users.append(parse(fields))
            except (KeyError, ValueError) as error:
                # Acknowledged all the same: a retry would not help, and it must not block those behind it.
                log.error("entry %r is no user: %r", entry_id, error)
        if users:
            await self.upsert(users)
        await self._client.xack(STREAM, GROUP, *(entry_id for entry_id, _ in entries))
        self._announce(users)


def parse(fields: Mapping[bytes, bytes]) -> dict[str, object]:
    """Return a row of `userbase` from the fields of a stream entry.

    Raises KeyError for a missing field, ValueError for an invalid one.
    """
    text = {key.decode(): value.decode() for key, value in fields.items()}
    return {
        "id": str(uuid.UUID(text["id"])),
        "email": text["email"],
        "name": text["name"],
        "is_active": {"true": True, "false": False}[text["is_active"]],
        "permissions": orjson.loads(text["permissions"]),
        "provider": text["provider"],
        "subject": text["subject"],
        "version": int(text["version"]),
    }


def _entries(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries of our one stream; the client returns lists or, with the newer protocol, a mapping."""
    if not answer:
        return []
    if isinstance(answer, dict):
        return [entry for part in answer[STREAM.encode()] for entry in part]
    return list(answer[0][1])
