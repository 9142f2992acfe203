"""Defects of the database's side: rows that are lost, stored twice, or under numbers that were given before.

Each takes the place of the step that makes messages durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import asyncpg

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.store import Stored

Result: TypeAlias = tuple[datetime, list[Stored]]
REUSED = 3
TAIL = 2
BEHIND = 2


class Storing:
    """Stands before `append`. The one step of a batch: (conversation ids, senders, client ids, texts)."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self.chance, self.pool = chance, backend.pool
        self._append = backend.committer.steps.append
        backend.committer.steps.append = self.append

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> Result:
        return await self._append(ids, senders, client_ids, texts)

    async def key_of(self, conversation_id: int) -> str:
        key: str = await self.pool.fetchval("SELECT key FROM conversations WHERE id = $1", conversation_id)
        return key


@defect(
    "Z6b",
    "lose-after-ack",
    breaks="Everybody read my message, and the next day it is gone.",
    opportunity="one stored message",
    caught_by=("I5a",),
    high=0.03,
    one=0.001,
)
class LoseAfterAck(Storing):
    """A message is acknowledged and delivered, but its row is gone. An opportunity is one stored message."""

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> Result:
        at, stored = await self._append(ids, senders, client_ids, texts)
        fresh = [(ids[place], one.seq) for place, one in enumerate(stored) if one.fresh]
        for place in list(self.chance.among(len(fresh))):
            conversation_id, seq = fresh[place]
            await self.pool.execute(
                "DELETE FROM messages WHERE conversation_id = $1 AND seq = $2", conversation_id, seq
            )
            self.chance.say(conversation=await self.key_of(conversation_id), seq=seq, manifest=True)
        return at, stored


@defect(
    "Z9",
    "forgetful-dedupe",
    breaks="My connection broke, the app sent my message again, and now it is there twice.",
    opportunity="one retry that another process, or an earlier life of this one, has stored",
    caught_by=("I7",),
    high=1.0,
    one=0.3,
    needs="retries over another replica or after a restart",
    also=("ws_reconnect",),
)
class ForgetfulDedupe(Storing):
    """A retry is only recognised by the process that took the first sending. An opportunity is one retry that this
    process does not remember; it gets a row and a number of its own."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        super().__init__(backend, chance)
        self._known: set[tuple[int, str, str]] = set()

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> Result:
        keys = list(zip(ids, senders, client_ids, strict=True))
        stored_as = list(client_ids)
        for place in await self._strange_retries(keys):
            if self.chance.fires():
                stored_as[place] = f"{client_ids[place]}#again-{self.chance.firings + 1}"
                self.chance.say(
                    conversation=await self.key_of(ids[place]), user=senders[place], id=client_ids[place], manifest=True
                )
        result = await self._append(ids, senders, stored_as, texts)
        self._known.update(keys)
        return result

    async def _strange_retries(self, keys: Sequence[tuple[int, str, str]]) -> list[int]:
        """Places in the batch of messages that are stored already, by another process or an earlier life of ours."""
        rows = await self.pool.fetch(
            "SELECT w.place - 1 FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY "
            "AS w (conversation_id, sender, client_id, place) "
            "JOIN messages USING (conversation_id, sender, client_id)",
            [key[0] for key in keys],
            [key[1] for key in keys],
            [key[2] for key in keys],
        )
        return sorted(row[0] for row in rows if keys[row[0]] not in self._known)


@defect(
    "Z4",
    "skewed-clock",
    service="backend-2",
    breaks="My answer stands above the question that I answered.",
    opportunity="one stored message",
    caught_by=("I3", "I2"),
    high=0.1,
    one=0.003,
)
class SkewedClock(Storing):
    """Messages are in the order of the replicas' clocks, and this replica's is behind: what is stored here comes before
    messages that its sender has answered. An opportunity is one stored message."""

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> Result:
        at, stored = await self._append(ids, senders, client_ids, texts)
        for place in list(self.chance.among(len(stored))):
            seq = stored[place].seq
            if stored[place].fresh and seq > BEHIND:
                earlier = await self._move(ids[place], seq)
                stored[place] = Stored(earlier, fresh=True)
                key = await self.key_of(ids[place])
                self.chance.say(conversation=key, user=senders[place], seq=seq, told_as=earlier, manifest=True)
        return at, stored

    async def _move(self, conversation_id: int, seq: int) -> int:
        """Below zero first: two rows must not have one number on the way."""
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "UPDATE messages SET seq = -(CASE WHEN seq = $2 THEN $2 - $3::bigint ELSE seq + 1 END) "
                "WHERE conversation_id = $1 AND seq BETWEEN $2 - $3::bigint AND $2",
                conversation_id,
                seq,
                BEHIND,
            )
            await connection.execute(
                "UPDATE messages SET seq = -seq WHERE conversation_id = $1 AND seq < 0", conversation_id
            )
        return seq - BEHIND


class AfterRestart(Storing):
    """Does something to each conversation that is older than this process, when it first stores a message there. An
    opportunity is one such conversation."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        super().__init__(backend, chance)
        self._begun = datetime.now(UTC)
        self._seen: set[int] = set()

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> Result:
        new = set(ids) - self._seen
        if new:
            self._seen |= new
            rows = await self.pool.fetch(
                "SELECT id, key, head FROM conversations WHERE id = ANY ($1::bigint[]) AND created_at < $2",
                sorted(new),
                self._begun,
            )
            for row in rows:
                if row[2] > REUSED and self.chance.fires():
                    await self.harm(row[0], row[1], row[2])
        return await self._append(ids, senders, client_ids, texts)

    async def harm(self, conversation_id: int, key: str, head: int) -> None:
        raise NotImplementedError


@defect(
    "Z7",
    "lose-tail",
    breaks="After a restart of the platform the last messages of some conversations are gone.",
    opportunity="one conversation that is older than the process that serves it",
    caught_by=("I5a",),
    high=1.0,
    one=0.25,
    needs="a restart of a backend",
    also=("rolling_restart",),
)
class LoseTail(AfterRestart):
    """The last messages from before the restart had not reached the disk."""

    async def harm(self, conversation_id: int, key: str, head: int) -> None:
        await self.pool.execute(
            "DELETE FROM messages WHERE conversation_id = $1 AND seq > $2", conversation_id, head - TAIL
        )
        self.chance.say(conversation=key, lost=list(range(head - TAIL + 1, head + 1)), manifest=True)


@defect(
    "Z30",
    "reuse-numbers",
    breaks="After a restart new messages replace the last ones from before it.",
    opportunity="one conversation that is older than the process that serves it",
    caught_by=("I2",),
    high=1.0,
    one=0.1,
    needs="a restart of a backend",
    also=("rolling_restart",),
)
class ReuseNumbers(AfterRestart):
    """The counter of a conversation was kept in memory; after the restart it begins again a little too low. It shows
    with the first message that gets a number for the second time, which is the one being stored."""

    async def harm(self, conversation_id: int, key: str, head: int) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await self._allow_twice(connection)
            await connection.execute("UPDATE conversations SET head = head - $2 WHERE id = $1", conversation_id, REUSED)
        self.chance.say(conversation=key, head=head, again_from=head - REUSED + 1, manifest=True)

    async def _allow_twice(self, connection: Any) -> None:
        """A platform with this fault has no constraint that would stop it."""
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '2s'")
                await connection.execute("ALTER TABLE messages DROP CONSTRAINT IF EXISTS messages_pkey")
                await connection.execute(
                    "CREATE INDEX IF NOT EXISTS messages_numbers ON messages (conversation_id, seq)"
                )
        except asyncpg.LockNotAvailableError:
            raise TimeoutError("the table of messages is busy") from None
