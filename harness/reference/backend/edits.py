"""Edits of a user's own messages.

A message stays as it was sent; its edits are kept in addition, the last is shown. Each edit has a number in its
conversation, without gaps, and a version of its message: 2 is the first edit. Both are assigned under the lock of the
conversation's row, so conflicting edits have one order everywhere. A replica sends edits to its listeners by number.
One out of turn means that others were missed, which are then read from the table.
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
    """Row of `edits`.

    `number`: in the conversation; `version`: of the message.
    """

    number: int
    seq: int
    version: int
    text: str
    at: datetime

    def public(self) -> dict[str, object]:
        """Return the edit in the form of the API."""
        return {"n": self.number, "seq": self.seq, "version": self.version, "text": self.text, "at": iso(self.at)}


class EditRefused(Exception):
    """Error for a refused edit.

    `code` is an HTTP status; with 409 `version` is the present one.
    """

    def __init__(self, code: int, version: int = 0) -> None:
        """Refuse with an HTTP status, and with the present `version` where the edit was of an older one."""
        super().__init__(code)
        self.code, self.version = code, version


class EditRows:
    """SQL on the table `edits`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """Query by `pool`; `add` numbers and stores an edit in one transaction."""
        self._pool = pool

    async def add(self, conversation_id: int, seq: int, sender: str, text: str, base: int | None) -> tuple[Edit, int]:
        """Add an edit, and return it with the number of removals from the conversation up to now.

        `base`: the version that is edited; None: any. Raises EditRefused: 404 for an unknown message, 403 for another
        user's, 409 for a message with another version by now.
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
        """Return the edits with a higher number, in order."""
        rows = await self._pool.fetch(
            "SELECT number, seq, version, body, at FROM edits WHERE conversation_id = $1 AND number > $2 "
            "ORDER BY number LIMIT $3",
            conversation_id,
            number,
            limit,
        )
        return [Edit(*row) for row in rows]

    async def of_messages(self, conversation_id: int, seqs: Sequence[int]) -> dict[int, Edit]:
        """Return the last edit of each message that has one, by sequence number."""
        rows = await self._pool.fetch(
            "SELECT DISTINCT ON (seq) number, seq, version, body, at FROM edits "
            "WHERE conversation_id = $1 AND seq = ANY ($2::bigint[]) ORDER BY seq, version DESC",
            conversation_id,
            list(seqs),
        )
        return {row[1]: Edit(*row) for row in rows}

    async def numbers(self, ids: Iterable[int]) -> Mapping[int, int]:
        """Return the number of edits in each conversation."""
        rows = await self._pool.fetch("SELECT id, edits FROM conversations WHERE id = ANY ($1::bigint[])", list(ids))
        return {row[0]: row[1] for row in rows}


class Edits:
    """Edits, sent to the listeners on all replicas.

    `verify(feed)` removes listeners that are no longer members. It is called before any edit is sent that was made
    after a removal.
    """

    def __init__(self, rows: EditRows, hub: Hub, verify: Callable[[Feed], Awaitable[None]], bus: Bus) -> None:
        """Send edits from the rows to the feeds of `hub`; `bus` informs the other replicas."""
        self.rows, self._hub, self._verify, self._bus = rows, hub, verify, bus
        self._filling: dict[int, asyncio.Task[None]] = {}

    async def edit(self, conversation_id: int, key: str, seq: int, sender: str, text: str, base: int | None) -> Edit:
        """Add an edit as `EditRows.add` does, and send it to the listeners."""
        edit, removals = await self.rows.add(conversation_id, seq, sender, text, base)
        self.offer(conversation_id, removals, edit.number, edited_frame(key, edit))
        self._bus.publish(EDITS, orjson.dumps([conversation_id, removals, edit.number, key, edit.public()]))
        return edit

    def on_news(self, payload: bytes) -> None:
        """Handle an edit that another replica has made."""
        conversation_id, removals, number, key, shown = orjson.loads(payload)
        self.offer(conversation_id, removals, number, frame({"type": "edited", "conversation": key, **shown}))

    async def begin(self, feeds: Iterable[Feed]) -> None:
        """Set the starting point of feeds without listeners: the edits that the table has now are not sent."""
        new = {feed.id: feed for feed in feeds if feed.edits is None}
        if new:
            for conversation_id, number in (await self.rows.numbers(new)).items():
                if new[conversation_id].edits is None:
                    new[conversation_id].edits = number

    def offer(self, conversation_id: int, removals: int, number: int, data: bytes) -> None:
        """Handle news of an edit, in any order, repeats included."""
        feed = self._hub.feeds.get(conversation_id)
        if feed is None or feed.edits is None or number <= feed.edits:
            return
        if number == feed.edits + 1 and removals <= feed.removals:
            self._tell(feed, number, data)
        else:
            self._fill(feed)

    async def check(self) -> None:
        """Compare all conversations that have listeners with the table: news may have been lost."""
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
    """Return the frame of an edit."""
    return frame({"type": "edited", "conversation": key, **edit.public()})
