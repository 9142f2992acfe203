"""Group commit: messages that arrive while the database is busy are stored in the next transaction together.

The order of the steps is a promise: rate and membership are checked, the batch is made durable, then it is
acknowledged, then it is delivered. A retry (same conversation, sender and client id) gets the sequence number of the
first and has no other effect.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

import asyncpg
import redis.exceptions

from earwitness.harness.reference.backend.store import Stored, iso
from earwitness.harness.reference.limits import Decision
from earwitness.harness.reference.service import DEPENDENCY_DOWN

BATCH_MAX = 1000
QUEUE_MAX = 20_000
RETRY_PAUSE_S = 0.1

Append: TypeAlias = Callable[
    [Sequence[int], Sequence[str], Sequence[str], Sequence[str]], Awaitable[tuple[datetime, list[Stored]]]
]
log = logging.getLogger(__name__)


class Answer(Protocol):
    """Protocol of the sender of a message, who gets its outcome.

    Exactly one of the three methods is called, once. None of them may block.
    """

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        """Handle the outcome "stored": the message is durable and has the sequence number `seq`.

        `decision`: of the rate limiter, None for a message that is not limited.
        """

    def refused(self, item: Item, code: int, reason: str, decision: Decision | None) -> None:
        """Handle the outcome "refused": the message was not stored. `code`: an HTTP status."""

    def unknown(self, item: Item) -> None:
        """Handle the outcome "unknown": the message may or may not be stored, so neither ack nor nack would be true."""


@dataclass(slots=True)
class Item:
    """Message that is not stored yet.

    `key`: of the conversation; `client_id`: the sender's id of the message; `ask`: it is a question to the agent.
    `metered`: the rate limit applies; `decision`: of the rate limiter. `conversation_id` None: the membership is not
    looked up yet. `removals`: count of removals from the conversation when the membership was looked up. A replica that
    knows of fewer removals verifies its listeners before it delivers the message.
    """

    answer: Answer
    user_id: str
    email: str
    key: str
    client_id: str
    text: str
    ask: bool = False
    metered: bool = True
    conversation_id: int | None = None
    removals: int = 0
    decision: Decision | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Fresh:
    """Message that was stored just now and has to be delivered. `at`: its time in ISO 8601."""

    item: Item
    seq: int
    at: str


Memberships: TypeAlias = Callable[[list[tuple[str, str, str]]], Awaitable[Mapping[tuple[str, str], tuple[int, int]]]]
TakeMany: TypeAlias = Callable[[Mapping[str, int]], Awaitable[Mapping[str, Decision]]]


@dataclass(slots=True)
class Steps:
    """Steps of the message path, as functions. Defects may replace each of them.

    memberships  looks up memberships, see `store.Rooms.memberships`
    take_many    charges rate budgets, see `Limiter.take_many`
    append       stores a batch, see `store.Messages.append`
    deliver      sends new messages to their listeners on all replicas
    note_head    tells the hub that messages up to a number exist, see `Hub.note_head`
    """

    memberships: Memberships
    take_many: TakeMany
    append: Append
    deliver: Callable[[list[Fresh]], None]
    note_head: Callable[[int, int], None]


class Committer:
    """Queue of messages, and the loop that stores them.

    `submit` never waits; `room` waits while the queue is full. `retry_s`: seconds for which a batch is retried while
    the database is down.
    """

    def __init__(self, steps: Steps, retry_s: float) -> None:
        """Start with an empty queue. Messages are stored once `run` runs."""
        self.steps = steps
        self._retry_s = retry_s
        self._queue: list[Item] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._room = asyncio.Event()
        self._room.set()

    def submit(self, item: Item) -> None:
        """Queue a message. Its `answer` gets the outcome later."""
        self._queue.append(item)
        self._idle.clear()
        self._wake.set()
        if len(self._queue) >= QUEUE_MAX:
            self._room.clear()

    async def room(self) -> None:
        """Wait until the queue is not full."""
        if not self._room.is_set():
            await self._room.wait()

    async def idle(self) -> None:
        """Wait until every submitted message has its outcome."""
        await self._idle.wait()

    async def run(self) -> None:
        """Store queued messages in batches until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
                if len(self._queue) < QUEUE_MAX:
                    self._room.set()
                await self._process(batch)
            self._idle.set()

    async def _process(self, batch: list[Item]) -> None:
        try:
            admitted = await self._within_budget(await self._of_members(batch))
        except (*DEPENDENCY_DOWN, redis.exceptions.RedisError, asyncpg.PostgresError) as error:
            log.warning("%d messages refused, nothing of them was stored: %r", len(batch), error)
            for item in batch:
                item.answer.refused(item, 503, "The platform cannot take messages just now.", None)
            return
        if admitted:
            await self._store(admitted)

    async def _of_members(self, batch: list[Item]) -> list[Item]:
        unresolved = {(i.user_id, i.email, i.key) for i in batch if i.conversation_id is None}
        if not unresolved:
            return batch
        found = await self.steps.memberships(list(unresolved))
        members = []
        for item in batch:
            if item.conversation_id is None and (known := found.get((item.user_id, item.key))) is not None:
                item.conversation_id, item.removals = known
            if item.conversation_id is None:
                item.answer.refused(item, 403, "You are not a member of this conversation.", None)
            else:
                members.append(item)
        # A refused item must not be refused again if the budget cannot be read.
        batch[:] = members
        return members

    async def _within_budget(self, batch: list[Item]) -> list[Item]:
        """Charge the whole batch in one call; of each sender's messages the first that fit are admitted, in order."""
        wanted: dict[str, int] = {}
        for item in batch:
            if item.metered:
                wanted[item.user_id] = wanted.get(item.user_id, 0) + 1
        if not wanted:
            return batch
        decisions = await self.steps.take_many(wanted)
        left = {subject: decision.allowed for subject, decision in decisions.items()}
        admitted = []
        for item in batch:
            if item.metered:
                item.decision = decisions[item.user_id]
                if left[item.user_id] == 0:
                    item.answer.refused(item, 429, "You have used up your message budget.", item.decision)
                    continue
                left[item.user_id] -= 1
            admitted.append(item)
        return admitted

    async def _store(self, batch: list[Item]) -> None:
        first: dict[tuple[int | None, str, str], int] = {}
        repeats: list[tuple[Item, int]] = []
        items: list[Item] = []
        for item in batch:
            place = first.setdefault((item.conversation_id, item.user_id, item.client_id), len(items))
            if place == len(items):
                items.append(item)
            else:
                repeats.append((item, place))
        result = await self._append(items)
        if result is None:
            for item in batch:
                item.answer.unknown(item)
            return
        at, stored, retried = result
        self._answer(items, stored, repeats)
        if retried:
            # An attempt whose answer was lost may have stored them: noted heads make the hub read them.
            for item, one in zip(items, stored, strict=True):
                self.steps.note_head(item.conversation_id or 0, one.seq)
        said_at = iso(at)
        fresh = [Fresh(item, one.seq, said_at) for item, one in zip(items, stored, strict=True) if one.fresh]
        if fresh:
            self.steps.deliver(fresh)

    def _answer(self, items: list[Item], stored: list[Stored], repeats: list[tuple[Item, int]]) -> None:
        for item, one in zip(items, stored, strict=True):
            item.answer.stored(item, one.seq, item.decision)
        for item, place in repeats:
            item.answer.stored(item, stored[place].seq, item.decision)

    async def _append(self, items: list[Item]) -> tuple[datetime, list[Stored], bool] | None:
        """Store the batch, retrying for at most `retry_s`; None if that failed.

        Retries are safe because messages are idempotent.
        """
        deadline = time.monotonic() + self._retry_s
        retried = False
        while True:
            try:
                at, stored = await self.steps.append(
                    [item.conversation_id or 0 for item in items],
                    [item.user_id for item in items],
                    [item.client_id for item in items],
                    [item.text for item in items],
                )
                return at, stored, retried
            except (*DEPENDENCY_DOWN, asyncpg.PostgresError) as error:
                log.warning("a batch of %d could not be committed: %r", len(items), error)
                if time.monotonic() > deadline:
                    return None
            retried = True
            await asyncio.sleep(RETRY_PAUSE_S)
