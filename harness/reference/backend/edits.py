"""Edits of a user's own messages.

A message is stored as it was sent; its edits are stored in addition, and the last one is shown. Each edit has a number
in its conversation, without gaps, and a version of its message: 2 is the first edit. Both are assigned under the lock
of the conversation's row, so conflicting edits have one order everywhere. A replica sends edits to its listeners by
number. If a number is skipped, edits were missed, and the replica reads them from the table.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg
import orjson
import redis.exceptions

from earwitness.harness.reference.backend.bus import EDITS, Bus
from earwitness.harness.reference.backend.feed import Feed
from earwitness.harness.reference.backend.hub import Hub
from earwitness.harness.reference.backend.store import iso
from earwitness.harness.reference.backend.wire import frame
from earwitness.harness.reference.service import DEPENDENCY_DOWN

PAGE = 1000
log = logging.getLogger(__name__)


class Edit(NamedTuple):
    """Row of the table `edits`.

    `number`: number of the edit in the conversation; `version`: version of the message after it.
    """

    number: int
    seq: int
    version: int
    text: str
    at: datetime

    def public(self) -> dict[str, object]:
        """Return the edit as the API shows it: `n` (its number), `seq`, `version`, `text`, and `at` in ISO 8601."""
        return {"n": self.number, "seq": self.seq, "version": self.version, "text": self.text, "at": iso(self.at)}


class EditRefused(Exception):
    """Error for a refused edit.

    `code`: an HTTP status; `version`: with 409 the present version of the message.
    """

    def __init__(self, code: int, version: int = 0) -> None:
        """Refuse with the HTTP status `code`. `version`: the message's present version with 409, else 0."""
        super().__init__(code)
        self.code, self.version = code, version


class EditRows:
    """SQL on the table `edits`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """Keep `pool`, with which the database is queried."""
        self._pool = pool

    async def add(self, conversation_id: int, seq: int, sender: str, text: str, base: int | None) -> tuple[Edit, int]:
        """Store an edit; return (edit, count of removals from the conversation up to now).

        `seq`: number of the message in the conversation; `sender`: user id of who edits; `text`: the new one. `base`:
        the version that is edited; None: any. Raises EditRefused: 404 for an unknown message, 403 for another user's,
        409 if the message's present version is not `base`.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            number, removals = await connection.fetchrow(
                "UPDATE conversations SET edits = edits + 1 WHERE id = $1 RETURNING edits, removals", conversation_id
            )
            message = await connection.fetchrow(
                "SELECT m.sender, coalesce((SELECT max(e.version) FROM edits e WHERE e.conversation_id = $1 "
                "AND e.seq = $2), 1) FROM messages m WHERE m.conversation_id = $1 AND m.seq = $2",
                conversation_id,
                seq,
            )
            if message is None:
                raise EditRefused(404)
            if message[0] != sender:
                raise EditRefused(403)
            if base is not None and base != message[1]:
                raise EditRefused(409, message[1])
            at = await connection.fetchval(
                "INSERT INTO edits (conversation_id, number, seq, version, body, at) "
                "VALUES ($1, $2, $3, $4, $5, now()) RETURNING at",
                conversation_id,
                number,
                seq,
                message[1] + 1,
                text,
            )
        return Edit(number, seq, message[1] + 1, text, at), removals

    async def after(self, conversation_id: int, number: int, limit: int = PAGE) -> list[Edit]:
        """Return the edits of a conversation with a number above `number`, in order, at most `limit`."""
        rows = await self._pool.fetch(
            "SELECT number, seq, version, body, at FROM edits WHERE conversation_id = $1 AND number > $2 "
            "ORDER BY number LIMIT $3",
            conversation_id,
            number,
            limit,
        )
        return [Edit(*row) for row in rows]

    async def of_messages(self, conversation_id: int, seqs: Sequence[int]) -> dict[int, Edit]:
        """Return sequence number -> last edit, for those of the messages `seqs` that have an edit."""
        rows = await self._pool.fetch(
            "SELECT DISTINCT ON (seq) number, seq, version, body, at FROM edits "
            "WHERE conversation_id = $1 AND seq = ANY ($2::bigint[]) ORDER BY seq, version DESC",
            conversation_id,
            list(seqs),
        )
        return {row[1]: Edit(*row) for row in rows}

    async def numbers(self, ids: Iterable[int]) -> Mapping[int, int]:
        """Return conversation id -> count of its edits. Unknown ids are left out."""
        rows = await self._pool.fetch("SELECT id, edits FROM conversations WHERE id = ANY ($1::bigint[])", list(ids))
        return {row[0]: row[1] for row in rows}


class Edits:
    """Sender of edits to the listeners on all replicas.

    `verify(feed)` removes listeners that are no longer members. It is called before an edit is sent that was made after
    a removal.
    """

    def __init__(self, rows: EditRows, hub: Hub, verify: Callable[[Feed], Awaitable[None]], bus: Bus) -> None:
        """Keep `hub`, whose feeds get the edits, `bus`, which sends edits to other replicas, and `rows` (SQL)."""
        self.rows, self._hub, self._verify, self._bus = rows, hub, verify, bus
        self._filling: dict[int, asyncio.Task[None]] = {}

    async def edit(self, conversation_id: int, key: str, seq: int, sender: str, text: str, base: int | None) -> Edit:
        """Store an edit as `EditRows.add` does, send it to the listeners on all replicas, and return it.

        Raises EditRefused as `EditRows.add` does. `key`: of the conversation.
        """
        edit, removals = await self.rows.add(conversation_id, seq, sender, text, base)
        self.offer(conversation_id, removals, edit.number, edited_frame(key, edit))
        self._bus.publish(EDITS, orjson.dumps([conversation_id, removals, edit.number, key, edit.public()]))
        return edit

    def on_news(self, payload: bytes) -> None:
        """Send an edit that another replica has stored to the listeners here."""
        conversation_id, removals, number, key, shown = orjson.loads(payload)
        self.offer(conversation_id, removals, number, frame({"type": "edited", "conversation": key, **shown}))

    async def begin(self, feeds: Iterable[Feed]) -> None:
        """Set the starting point of feeds that have none: edits that are in the table now are not sent."""
        new = {feed.id: feed for feed in feeds if feed.edits is None}
        if new:
            for conversation_id, number in (await self.rows.numbers(new)).items():
                if new[conversation_id].edits is None:
                    new[conversation_id].edits = number

    def offer(self, conversation_id: int, removals: int, number: int, data: bytes) -> None:
        """Send an edit to the listeners here, after those before it.

        Edits may be offered in any order and several times. `removals`: count of removals when the edit was made;
        `data`: its frame.
        """
        feed = self._hub.feeds.get(conversation_id)
        if feed is None or feed.edits is None or number <= feed.edits:
            return
        if number == feed.edits + 1 and removals <= feed.removals:
            self._tell(feed, number, data)
        else:
            self._fill(feed)

    async def check(self) -> None:
        """Read from the table the edits whose news was lost, and send those edits to the listeners."""
        feeds = {feed.id: feed for feed in self._hub.feeds.values() if feed.edits is not None}
        for conversation_id, number in (await self.rows.numbers(feeds)).items():
            feed = feeds[conversation_id]
            if feed.edits is not None and number > feed.edits:
                self._fill(feed)

    def _tell(self, feed: Feed, number: int, data: bytes) -> None:
        feed.edits = number
        for listener in feed.listeners:
            listener.push(data)
        for backlog in feed.replaying.values():
            backlog.append(data)

    def _fill(self, feed: Feed) -> None:
        if feed.id not in self._filling:
            self._filling[feed.id] = asyncio.create_task(self._read(feed))

    async def _read(self, feed: Feed) -> None:
        try:
            while page := await self.rows.after(feed.id, feed.edits or 0):
                # In this order: a member who was removed before one of these edits is now known to be gone.
                await self._verify(feed)
                for edit in page:
                    if edit.number > (feed.edits or 0):
                        self._tell(feed, edit.number, edited_frame(feed.key, edit))
        except (*DEPENDENCY_DOWN, redis.exceptions.RedisError, asyncpg.PostgresError) as error:
            log.warning("edits in %s cannot be read, until the next look: %r", feed.key, error)
        finally:
            del self._filling[feed.id]


def edited_frame(key: str, edit: Edit) -> bytes:
    """Return the frame that shows an edit of a conversation (`key`)."""
    return frame({"type": "edited", "conversation": key, **edit.public()})
