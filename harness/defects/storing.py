"""Defects at the database: rows that are lost, stored twice, or stored under numbers that were used before.

Each replaces the step that makes messages durable.
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
    """Base class of the defects that replace `Steps.append`, the step that stores a batch of messages.

    A batch is given as parallel sequences: conversation ids, senders, client ids and texts.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace the step `append` of a batch, which stores messages."""
        self.chance, self.pool = chance, backend.pool
        self._append = backend.committer.steps.append
        backend.committer.steps.append = self.append

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> Result:
        """Implement `Steps.append`: store a batch; return (its time, one `Stored` for each message).

        Subclasses override this method.
        """
        return await self._append(ids, senders, client_ids, texts)

    async def key_of(self, conversation_id: int) -> str:
        """Return the key (label) of the conversation with this number in the database."""
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
    """Defect that acknowledges and delivers a message, but deletes its row.

    Opportunity: one stored message. A firing is manifest at once.
    """

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> Result:
        """Implement `Steps.append`: delete the new rows for which the defect fires."""
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
    """Defect that recognises a retry only in the process that stored the message first.

    Opportunity: one retry of a message that this process has not stored; it gets a row and a number of its own.
    A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Start without known messages, like a process that has just been started."""
        super().__init__(backend, chance)
        self._known: set[tuple[int, str, str]] = set()

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> Result:
        """Implement `Steps.append`: store a retry under a new client id if the defect fires."""
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
        """Return the indices of messages that another process, or an earlier start of this service, has stored."""
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
    """Defect that sorts messages by the clocks of the replicas, of which this replica's is slow.

    A message stored here gets a place before messages that its sender has answered (BEHIND places earlier).
    Opportunity: one stored message. It fires, and the firing is manifest at once, for new messages with a number above
    BEHIND.
    """

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> Result:
        """Implement `Steps.append`: store the batch, then lower sequence numbers by BEHIND where the defect fires.

        The result states the lowered numbers.
        """
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
        """Move a message BEHIND places to the front and return its new number.

        The numbers pass through negative values, because two rows must never have the same number.
        """
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
    """Base class of the defects that harm a conversation older than this process. Subclasses implement `harm`.

    Opportunity: one such conversation with more than REUSED messages, when this process stores its first message in it.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Store the time of this start: conversations made before it can be harmed, each once."""
        super().__init__(backend, chance)
        self._begun = datetime.now(UTC)
        self._seen: set[int] = set()

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> Result:
        """Implement `Steps.append`: before storing, harm older conversations for which the defect fires."""
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
        """Harm a conversation. Subclasses implement it. `key`: its label; `head`: its last sequence number."""
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
    """Defect that loses the last TAIL messages from before the restart, as if they had not reached the disk.

    Opportunity: one conversation older than this process, when the process stores its first message in it. A firing is
    manifest at once.
    """

    async def harm(self, conversation_id: int, key: str, head: int) -> None:
        """Implement `AfterRestart.harm`: delete the last TAIL messages."""
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
    """Defect that restarts the counter of a conversation REUSED numbers too low, as if it had been kept in memory.

    Opportunity: one conversation older than this process, when the process stores its first message in it. A firing is
    manifest at once: this message is the first that gets a used number.
    """

    async def harm(self, conversation_id: int, key: str, head: int) -> None:
        """Implement `AfterRestart.harm`: lower the counter by REUSED."""
        async with self.pool.acquire() as connection, connection.transaction():
            await self._allow_twice(connection)
            await connection.execute("UPDATE conversations SET head = head - $2 WHERE id = $1", conversation_id, REUSED)
        self.chance.say(conversation=key, head=head, again_from=head - REUSED + 1, manifest=True)

    async def _allow_twice(self, connection: Any) -> None:
        """Drop the constraint that would prevent two messages with one number.

        Raises TimeoutError if the table is locked for more than 2 s.
        """
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '2s'")
                await connection.execute("ALTER TABLE messages DROP CONSTRAINT IF EXISTS messages_pkey")
                await connection.execute(
                    "CREATE INDEX IF NOT EXISTS messages_numbers ON messages (conversation_id, seq)"
                )
        except asyncpg.LockNotAvailableError:
            raise TimeoutError("the table of messages is busy") from None
