"""Defects of the backend: what happens to pushes on their way, and to rows that were acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import orjson

from harness.reference.backend.app import Backend
from harness.reference.backend.feed import Feed, Listener, Pusher
from harness.reference.backend.store import Stored
from harness.reference.defects.chance import Chance

SWAP_WAIT_S = 2.0


def _seq(data: bytes) -> int:
    return int(orjson.loads(data[data.index(b"{") :])["seq"])


class PerListener(Pusher):
    """Alters what single listeners get. An opportunity is one message for one listener."""

    def __init__(self, inner: Pusher, chance: Chance) -> None:
        self.inner, self.chance = inner, chance

    def push(self, feed: Feed, frames: list[bytes]) -> None:
        for listener in list(feed.listeners):
            altered = self.altered(feed, listener, frames)
            if altered:
                listener.push(b"".join(altered))

    def altered(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        if isinstance(self.inner, PerListener):
            frames = self.inner.altered(feed, listener, frames)
        return self.change(feed, listener, list(frames))

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        raise NotImplementedError

    def say(self, feed: Feed, listener: Listener, **what: Any) -> None:
        self.chance.say(conversation=feed.key, user=listener.user_id, **what)


class DropPush(PerListener):
    """A listener misses a message."""

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        for at in reversed(list(self.chance.among(len(frames)))):
            self.say(feed, listener, seq=_seq(frames.pop(at)))
        return frames


class DuplicatePush(PerListener):
    """A listener gets a message twice."""

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        for at in reversed(list(self.chance.among(len(frames)))):
            self.say(feed, listener, seq=_seq(frames[at]))
            frames.insert(at, frames[at])
        return frames


class SwapPushes(PerListener):
    """A listener gets two messages in the wrong order; a single one is kept until the next one has overtaken it."""

    def __init__(self, inner: Pusher, chance: Chance) -> None:
        super().__init__(inner, chance)
        self._kept: dict[tuple[int, Listener], bytes] = {}

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        if not frames:
            return frames
        kept = self._kept.pop((feed.id, listener), None)
        if kept is not None:
            self.say(feed, listener, seq=_seq(kept), overtaken_by=_seq(frames[0]))
            frames.insert(1, kept)
        for at in list(self.chance.among(len(frames))):
            if at + 1 < len(frames):
                frames[at], frames[at + 1] = frames[at + 1], frames[at]
                self.say(feed, listener, seq=_seq(frames[at + 1]), overtaken_by=_seq(frames[at]))
            else:
                self._keep(feed, listener, frames.pop())
        return frames

    def _keep(self, feed: Feed, listener: Listener, data: bytes) -> None:
        self._kept[(feed.id, listener)] = data
        # When nothing follows there is nothing to swap with: late is not lost.
        asyncio.get_running_loop().call_later(SWAP_WAIT_S, self._give_up, feed, listener, data)

    def _give_up(self, feed: Feed, listener: Listener, data: bytes) -> None:
        if self._kept.get((feed.id, listener)) is data:
            del self._kept[(feed.id, listener)]
            listener.push(data)


class Leak(Pusher):
    """Somebody connected who is no member gets a message too. An opportunity is one message."""

    def __init__(self, inner: Pusher, chance: Chance, backend: Backend) -> None:
        self.inner, self._chance, self._backend = inner, chance, backend

    def push(self, feed: Feed, frames: list[bytes]) -> None:
        self.inner.push(feed, frames)
        for at in self._chance.among(len(frames)):
            strangers = [
                session
                for session in self._backend.registry.sessions
                if feed.key not in session.feeds and session.welcomed.is_set() and session.closing is None
            ]
            if strangers:
                stranger = self._chance.random.choice(strangers)
                stranger.push(frames[at])
                self._chance.say(conversation=feed.key, user=stranger.user_id, seq=_seq(frames[at]))


class LoseAfterAck:
    """A message is acknowledged and delivered, but its row is gone. An opportunity is one stored message."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._append, self._pool, self._chance = backend.committer.steps.append, backend.pool, chance

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> tuple[datetime, list[Stored]]:
        at, stored = await self._append(ids, senders, client_ids, texts)
        fresh = [(ids[place], one.seq) for place, one in enumerate(stored) if one.fresh]
        for place in list(self._chance.among(len(fresh))):
            conversation_id, seq = fresh[place]
            key = await self._pool.fetchval("SELECT key FROM conversations WHERE id = $1", conversation_id)
            await self._pool.execute(
                "DELETE FROM messages WHERE conversation_id = $1 AND seq = $2", conversation_id, seq
            )
            self._chance.say(conversation=key, seq=seq)
        return at, stored


def _pushes(kind: type[PerListener]) -> Callable[[Backend, Chance], None]:
    def install(backend: Backend, chance: Chance) -> None:
        outermost = backend.hub.pusher
        if isinstance(outermost, Leak):
            outermost.inner = kind(outermost.inner, chance)
        else:
            backend.hub.pusher = kind(outermost, chance)

    return install


def _leak(backend: Backend, chance: Chance) -> None:
    backend.hub.pusher = Leak(backend.hub.pusher, chance, backend)


def _lose_after_ack(backend: Backend, chance: Chance) -> None:
    backend.committer.steps.append = LoseAfterAck(backend, chance).append


DEFECTS: dict[str, Callable[[Backend, Chance], None]] = {
    "drop-push": _pushes(DropPush),
    "duplicate-push": _pushes(DuplicatePush),
    "leak": _leak,
    "lose-after-ack": _lose_after_ack,
    "swap-pushes": _pushes(SwapPushes),
}
