"""Hold-back and repair of one conversation's feed, on a real event loop, with the database's answers written here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from earwitness.harness.reference.backend.bus import pack, unpack
from earwitness.harness.reference.backend.feed import HELD_MAX, Feed
from earwitness.harness.reference.backend.hub import Hub


class Ear:
    """A listener that keeps what it hears."""

    user_id = "ear"

    def __init__(self) -> None:
        self.heard = b""
        self.news = asyncio.Event()

    def push(self, data: bytes) -> None:
        self.heard += data
        self.news.set()

    async def until(self, expected: bytes) -> None:
        async with asyncio.timeout(5):
            while self.heard != expected:
                self.news.clear()
                await self.news.wait()


class Table:
    """What stands in the database: messages 1 … head, less what is missing."""

    def __init__(self, head: int) -> None:
        self.head, self.missing, self.reads = head, set[int](), 0
        self.removals, self.removed = 0, list[Ear]()

    async def heads(self, ids: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(ids, self.head)

    async def verify(self, feed: Feed) -> None:
        for listener in self.removed:
            feed.listeners.pop(listener, None)
        feed.removals = self.removals

    async def frames(self, feed: Feed, first: int, last: int) -> list[tuple[int, bytes]]:
        self.reads += 1
        return [(n, text(n)) for n in range(first, min(last, self.head) + 1) if n not in self.missing]


def text(*numbers: int) -> bytes:
    return b"".join(b"<%d>" % n for n in numbers)


def news(*numbers: int) -> list[tuple[int, bytes]]:
    return [(n, text(n)) for n in numbers]


@pytest.fixture
def table() -> Table:
    return Table(head=10)


@pytest.fixture
async def hub(table: Table) -> Hub:
    return Hub(table.heads, table.frames, table.verify, gap_wait_s=0.02)


@pytest.fixture
async def ear(hub: Hub) -> Ear:
    """Listens to conversation 1 from 11 on."""
    (feed,) = await hub.open([(1, "room")])
    listener = Ear()
    feed.listeners[listener] = None
    return listener


async def test_news_out_of_order_is_held_back(hub: Hub, ear: Ear, table: Table) -> None:
    """Late, early and repeated news comes out as 11, 12, 13, 14, without asking the database."""
    hub.offer(1, news(12, 14))
    assert ear.heard == b""
    hub.offer(1, news(11))
    hub.offer(1, news(12, 13, 11))
    assert ear.heard == text(11, 12, 13, 14)
    await asyncio.sleep(0)
    assert table.reads == 0
    assert hub.feeds[1].timer is None


async def test_a_gap_is_read_from_the_database(hub: Hub, ear: Ear, table: Table) -> None:
    """A number that does not come is read after the wait."""
    table.head = 13
    hub.offer(1, news(13))
    await ear.until(text(11, 12, 13))
    assert table.reads == 1


async def test_the_lost_end_is_found_by_the_head(hub: Hub, ear: Ear, table: Table) -> None:
    """Nothing follows the lost messages: the check of heads finds them."""
    table.head = 12
    await hub.check_heads()
    await ear.until(text(11, 12))


async def test_who_was_removed_hears_nothing_sent_afterwards(hub: Hub, ear: Ear, table: Table) -> None:
    """News that names a removal not known here waits until it is known who may hear it; older news does not."""
    other = Ear()
    hub.feeds[1].listeners[other] = None
    table.head, table.removals, table.removed = 13, 1, [ear]
    hub.offer(1, news(11))
    hub.offer(1, news(12, 13), 1)
    assert ear.heard == other.heard == text(11)
    await other.until(text(11, 12, 13))
    assert ear.heard == text(11)
    hub.offer(1, news(14), 1)
    assert other.heard == text(11, 12, 13, 14)


async def test_what_the_database_lacks_is_passed_over(hub: Hub, ear: Ear, table: Table) -> None:
    """A feed never stands still for a row that does not exist."""
    table.head, table.missing = 14, {12}
    hub.offer(1, news(14))
    await ear.until(text(11, 13, 14))
    hub.offer(1, news(15))
    await ear.until(text(11, 13, 14, 15))


async def test_news_before_the_head_is_known(table: Table) -> None:
    """Messages between subscription and snapshot are neither lost nor repeated."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def heads(ids: Iterable[int]) -> dict[int, int]:
        asked.set()
        await answer.wait()
        return {1: 10}

    hub = Hub(heads, table.frames, table.verify, gap_wait_s=0.02)
    opening = asyncio.create_task(hub.open([(1, "room")]))
    await asked.wait()
    hub.offer(1, news(10, 11, 12))
    answer.set()
    (feed,) = await opening
    assert feed.head == 12
    listener = Ear()
    feed.listeners[listener] = None
    hub.offer(1, news(13))
    assert listener.heard == text(13)


async def test_a_head_that_cannot_be_read(table: Table) -> None:
    """Whoever opens the feed is told, and nothing of it stays."""

    async def heads(ids: Iterable[int]) -> dict[int, int]:
        raise ConnectionError("away")

    hub = Hub(heads, table.frames, table.verify, gap_wait_s=0.02)
    with pytest.raises(ConnectionError):
        await hub.open([(1, "room")])
    assert hub.feeds == {}


async def test_catching_up_at_once(hub: Hub, ear: Ear, table: Table) -> None:
    """A client that has seen more than this replica does not wait for the news."""
    table.head = 15
    await hub.catch_up(hub.feeds[1], 14)
    assert ear.heard == text(11, 12, 13, 14, 15)


async def test_feeds_are_forgotten(hub: Hub, ear: Ear) -> None:
    """The last listener takes the feed along, its timer too."""
    feed = hub.feeds[1]
    (again,) = await hub.open([(1, "room")])
    assert again is feed
    hub.offer(1, news(12))
    hub.close(again)
    assert 1 in hub.feeds
    hub.leave(feed, ear)
    assert hub.feeds == {}
    assert feed.timer is None


async def test_what_is_held_is_bounded(hub: Hub, ear: Ear, table: Table) -> None:
    """More than fits is read again later instead of being kept."""
    table.head = 12 + HELD_MAX + 5
    hub.offer(1, news(*range(13, table.head + 1)))
    assert len(hub.feeds[1].held) <= HELD_MAX
    await ear.until(text(*range(11, table.head + 1)))


def test_batches_travel_whole() -> None:
    """Frames with any bytes, newlines included, come out as they went in."""
    batch: Any = [(7, 0, [(1, b"a\nb"), (2, b"")]), (1 << 40, 3, [(99, bytes(range(256)))])]
    assert unpack(pack("me", batch)) == ("me", batch)
