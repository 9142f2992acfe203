"""Hub: all conversations with listeners on this replica. Messages that Redis lost are read from the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from earwitness.harness.reference.backend.feed import Feed, Listener, Numbered, Pusher

ReadHeads: TypeAlias = Callable[[Iterable[int]], Awaitable[Mapping[int, int]]]
ReadFrames: TypeAlias = Callable[[Feed, int, int], Awaitable[list[Numbered]]]
Verify: TypeAlias = Callable[[Feed], Awaitable[None]]

FILL_PAGE = 1000
HEADS_AT_ONCE = 2000
log = logging.getLogger(__name__)


class Hub:
    """Feeds of all conversations with listeners here, by conversation id.

    `read_heads(ids)` and `read_frames(feed, first, last)` (at most FILL_PAGE frames) query the database. Numbers that
    are missing for `gap_wait_s` seconds are read from there: their messages were published late, or not at all.
    `verify(feed)` removes listeners that are no longer members. It is called before a message is delivered that was
    sent after a removal.
    """

    def __init__(self, read_heads: ReadHeads, read_frames: ReadFrames, verify: Verify, gap_wait_s: float) -> None:
        """Start without feeds; requires a running event loop. Defects may replace `pusher`, which sends frames."""
        self.feeds: dict[int, Feed] = {}
        self.pusher = Pusher()
        self._read_heads, self._read_frames, self._verify = read_heads, read_frames, verify
        self._gap_wait_s = gap_wait_s
        self._loop = asyncio.get_running_loop()

    async def open(self, conversations: Iterable[tuple[int, str]]) -> list[Feed]:
        """Return the feeds of the conversations (id, key), in order and with known heads; missing feeds are made.

        Release each feed with `close`. A feed accepts messages from the moment it exists, and its head is read after
        that, so no message is lost in between.
        """
        feeds, new = [], []
        for conversation_id, key in conversations:
            feed = self.feeds.get(conversation_id)
            if feed is None:
                feed = self.feeds[conversation_id] = Feed(conversation_id, key)
                new.append(feed)
            feed.pins += 1
            feeds.append(feed)
        try:
            if new:
                await self._begin(new)
            for feed in feeds:
                await asyncio.shield(feed.ready)
        except BaseException:
            for feed in feeds:
                self.close(feed)
            raise
        return feeds

    async def _begin(self, new: Sequence[Feed]) -> None:
        try:
            heads = await self._read_heads([feed.id for feed in new])
        except BaseException as error:
            for feed in new:
                # No session may join a feed whose head was never read; those that wait for it get the error.
                self.feeds.pop(feed.id, None)
                feed.ready.set_exception(ConnectionError(f"The head of {feed.key} could not be read: {error!r}"))
                feed.ready.exception()
            raise
        for feed in new:
            self._deliver(feed, feed.begin(heads.get(feed.id, 0)))
            feed.ready.set_result(None)

    def close(self, feed: Feed) -> None:
        """Release a feed once. It is removed when it has been released as often as it was opened."""
        feed.pins -= 1
        if feed.pins > 0:
            return
        if self.feeds.get(feed.id) is feed:
            del self.feeds[feed.id]
        if feed.timer is not None:
            feed.timer.cancel()
            feed.timer = None

    def leave(self, feed: Feed, listener: Listener) -> None:
        """Remove a listener from a feed, and release the feed with `close`."""
        feed.listeners.pop(listener, None)
        feed.replaying.pop(listener, None)
        self.close(feed)

    def offer(self, conversation_id: int, frames: Sequence[Numbered], removals: int = 0) -> None:
        """Deliver messages that this or another replica has stored, as soon as all before them are delivered.

        `removals`: count of removals from the conversation when their senders' membership was looked up. If the feed's
        listeners were not verified after that many, they are verified first, and the messages read from the database.
        """
        feed = self.feeds.get(conversation_id)
        if feed is None:
            return
        if removals <= feed.removals:
            self._deliver(feed, feed.accept(frames))
            return
        # Not delivered before the members are known; then it is read from the database.
        feed.target = max(feed.target, *(seq for seq, _ in frames))
        if feed.behind:
            self._begin_filling(feed)

    def note_head(self, conversation_id: int, head: int) -> None:
        """Make the feed wait for all messages up to `head`, which are known to exist."""
        feed = self.feeds.get(conversation_id)
        if feed is not None:
            feed.target = max(feed.target, head)
            self._watch(feed)

    async def check_heads(self) -> None:
        """Compare the head of every feed with the database.

        This finds lost messages that no later one follows.
        """
        ids = [feed.id for feed in self.feeds.values() if feed.next]
        for start in range(0, len(ids), HEADS_AT_ONCE):
            for conversation_id, head in (await self._read_heads(ids[start : start + HEADS_AT_ONCE])).items():
                self.note_head(conversation_id, head)

    async def catch_up(self, feed: Feed, seq: int) -> None:
        """Deliver all messages up to `seq` that the database has, without waiting for their publication."""
        if feed.next <= seq:
            feed.target = max(feed.target, (await self._read_heads([feed.id])).get(feed.id, 0))
            await asyncio.shield(self._begin_filling(feed))

    def _deliver(self, feed: Feed, frames: list[bytes]) -> None:
        if frames:
            self.pusher.push(feed, frames)
            for backlog in feed.replaying.values():
                backlog += frames
        self._watch(feed)

    def _watch(self, feed: Feed) -> None:
        """Run a timer exactly while numbers are missing."""
        if feed.behind:
            if feed.timer is None and feed.filling is None:
                feed.timer = self._loop.call_later(self._gap_wait_s, self._overdue, feed)
        elif feed.timer is not None:
            feed.timer.cancel()
            feed.timer = None

    def _overdue(self, feed: Feed) -> None:
        feed.timer = None
        if feed.behind and feed.pins > 0:
            self._begin_filling(feed)

    def _begin_filling(self, feed: Feed) -> asyncio.Task[None]:
        if feed.filling is None:
            feed.filling = asyncio.create_task(self._fill(feed))
        return feed.filling

    async def _fill(self, feed: Feed) -> None:
        try:
            while feed.behind and feed.pins > 0:
                first, last = feed.wanted()
                frames = await self._read_frames(feed, first, last)
                # In this order: a member who was removed before one of these messages is now known to be gone.
                await self._verify(feed)
                self._deliver(feed, feed.accept(frames))
                if len(frames) < FILL_PAGE and feed.next <= last:
                    ready, missing = feed.skip_missing(last)
                    log.error("conversation %s: numbers %s are not in the database; going on", feed.key, missing[:20])
                    self._deliver(feed, ready)
        except Exception as error:
            # The database is down. The next head check tries again; late messages are better than closed sockets.
            log.warning("conversation %s: missing messages cannot be read: %r", feed.key, error)
        finally:
            feed.filling = None
