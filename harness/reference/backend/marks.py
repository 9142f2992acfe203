"""Read marks: how far a user has read each conversation. All devices share one mark, which only moves forward.

The row in the table is the truth. News of a change is sent to the other devices at once; if news is lost, the next
check of the table finds the mark. A device is sent only higher marks than it has, so order and repeats of news do not
matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import asyncpg
import orjson

from earwitness.harness.reference.backend.bus import MARKS, Bus
from earwitness.harness.reference.backend.registry import Registry
from earwitness.harness.reference.backend.session import Session
from earwitness.harness.reference.backend.wire import frame

AT_ONCE = 500

Mark: TypeAlias = tuple[str, str, int]
"""User id, conversation key, number of the last message that was read."""


class MarkRows:
    """SQL on the table `read_marks`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """Keep `pool`, with which the database is queried."""
        self._pool = pool

    async def advance(self, user_id: str, conversation_id: int, seq: int) -> int | None:
        """Move a mark to `seq` unless it is higher; return its value, None if there is no such message.

        The result is higher than `seq` if another device has read further.
        """
        mark: int | None = await self._pool.fetchval(
            "INSERT INTO read_marks AS r (user_id, conversation_id, seq) "
            "SELECT $1::text, c.id, $3::bigint FROM conversations c "
            "WHERE c.id = $2 AND $3::bigint BETWEEN 0 AND c.head "
            "ON CONFLICT (user_id, conversation_id) DO UPDATE SET seq = greatest(r.seq, excluded.seq) RETURNING seq",
            user_id,
            conversation_id,
            seq,
        )
        return mark

    async def of_users(self, user_ids: Iterable[str]) -> list[Mark]:
        """Return all read marks of these users."""
        rows = await self._pool.fetch(
            "SELECT r.user_id, c.key, r.seq FROM read_marks r JOIN conversations c ON c.id = r.conversation_id "
            "WHERE r.user_id = ANY ($1::text[])",
            list(user_ids),
        )
        return [(row[0], row[1], row[2]) for row in rows]


class Marks:
    """Sender of read marks to their owner's devices on all replicas."""

    def __init__(self, rows: MarkRows, registry: Registry, bus: Bus) -> None:
        """Keep `registry`, whose sessions get the marks, and `bus`, which sends marks to the other replicas."""
        self.rows, self._registry, self._bus = rows, registry, bus

    async def advance(self, user_id: str, conversation_id: int, key: str, seq: int) -> int | None:
        """Move a mark as `MarkRows.advance` does, send it to every device of the user, and return it."""
        mark = await self.rows.advance(user_id, conversation_id, seq)
        if mark is not None:
            self.tell((user_id, key, mark))
            self._bus.publish(MARKS, orjson.dumps((user_id, key, mark)))
        return mark

    def on_news(self, payload: bytes) -> None:
        """Send a mark that another replica has moved to the devices here."""
        user_id, key, seq = orjson.loads(payload)
        self.tell((user_id, key, seq))

    async def recheck(self) -> None:
        """Send connected users marks that they have missed because news was lost; they are read from the table."""
        users = list(self._registry.by_user)
        for start in range(0, len(users), AT_ONCE):
            for mark in await self.rows.of_users(users[start : start + AT_ONCE]):
                self.tell(mark)

    def tell(self, mark: Mark) -> None:
        """Send a mark to the owner's devices here that have a lower one."""
        user_id, key, seq = mark
        for session in list(self._registry.by_user.get(user_id, ())):
            self.show(session, key, seq)

    def show(self, session: Session, key: str, seq: int) -> None:
        """Send a mark to one device if it is higher than the one that the device has."""
        if seq > session.marks.get(key, 0):
            session.marks[key] = seq
            if session.welcomed.is_set():  # else the welcome frame will contain it
                session.push(frame({"type": "read", "conversation": key, "seq": seq}))
