"""Restarts, lost news, slow clients, a replica that dies while it holds accounts."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import websockets
from websockets.asyncio.client import connect

from earwitness.harness.reference.backend.bus import Bus
from earwitness.harness.reference.backend.commit import Committer, Item, Steps
from earwitness.harness.reference.backend.store import Stored
from earwitness.harness.reference.userstream import STREAM, to_entry


@pytest.fixture
def entry() -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()), "provider": "p", "subject": uuid.uuid4().hex, "email": "Sync@Example.test",
        "name": "First", "is_active": True, "permissions": ["chat"], "version": 1,
    }  # fmt: skip


async def until(ask: Any, expected: Any, timeout_s: float = 30.0) -> None:
    """Asks the database again until it says what is expected."""
    found = None
    try:
        async with asyncio.timeout(timeout_s):
            while (found := await ask()) != expected:
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"{found!r} instead of {expected!r} after {timeout_s} s")


async def test_graceful_shutdown(start_platform: Any, spawn_shared: Any) -> None:
    """SIGTERM: everything that was acknowledged is stored and pushed, sockets end with 1012, exit 0; then resume."""
    platform = start_platform(2)
    users = await platform.log_in_many(2)
    key = await platform.room(users)
    sender, listener = await platform.connect(users[0], 0), await platform.connect(users[1], 1)
    for n in range(200):
        await sender.send(key, str(n), str(n))
    status = await asyncio.to_thread(platform.backends[0].stop)
    assert status == 0
    assert await sender.closed() == 1012
    acked = {a["id"] for a in sender.all("ack")}
    stored = await platform.history(users[1], key, 1)
    assert acked <= {m["id"] for m in stored}
    await listener.hear(len(stored), key)
    assert listener.seqs(key) == list(range(1, len(stored) + 1))
    old = platform.backends[0]
    platform.backends[0] = spawn_shared(old.name, platform.settings, module="backend", listener=old.listener)
    again = await platform.connect(users[0], 0, resume=True)
    seen = max(sender.seqs(key), default=0)
    await again.say(type="resume", **{"from": {key: seen}})
    await again.hear(len(stored) - seen, key)
    assert again.seqs(key) == list(range(seen + 1, len(stored) + 1))
    await platform.end()


async def test_lost_news_is_read_from_the_database(platform: Any, valkey: Any) -> None:
    """The subscriptions are cut while messages are sent on the other replica: nothing is missed."""
    users = await platform.log_in_many(2)
    key = await platform.room(users)
    sender, listener = await platform.connect(users[0], 0), await platform.connect(users[1], 1)
    for n in range(40):
        if n % 10 == 5:
            await valkey.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await sender.send(key, str(n))
    await listener.hear(40, key)
    assert listener.seqs(key) == list(range(1, 41))


async def test_a_slow_reader_is_shown_out(start_platform: Any) -> None:
    """Who does not read is closed, never silently skipped; the others hear everything."""
    platform = start_platform(1, outbound_bytes=200_000)
    users = await platform.log_in_many(2)
    key = await platform.room(users)
    sender = await platform.connect(users[0])
    slow = await connect(
        platform.ws_url(), additional_headers=users[1].bearer, compression=None, max_queue=1, max_size=None
    )
    total = 250
    for n in range(total):
        await sender.send(key, "x" * 60_000)
        await sender.hear(n + 1, key)
    seqs: list[int] = []

    async def read_on() -> None:
        while True:
            frame = json.loads(await slow.recv())
            if frame["type"] == "message":
                seqs.append(frame["seq"])

    with pytest.raises(websockets.ConnectionClosed) as closed:
        await read_on()
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) < total
    # The close frame lies behind what is unsent; a client that never reads on is cut off without it.
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1013
    await platform.end()


async def test_accounts_of_a_dead_replica_are_taken_over(
    platform: Any, valkey: Any, database: Any, entry: dict[str, Any]
) -> None:
    """An entry that a dead consumer had taken reaches `userbase`, once it is idle; an older version changes nothing."""

    async def row() -> Any:
        found = await database.fetchrow(
            "SELECT name, email, version FROM userbase WHERE id = $1::text::uuid", entry["id"]
        )
        return None if found is None else tuple(found)

    await valkey.xadd(STREAM, to_entry({**entry, "name": "Second", "version": 2}))
    await until(row, ("Second", "Sync@Example.test", 2))
    await valkey.xadd(STREAM, to_entry(entry))
    await valkey.xadd(STREAM, {"no": "user"})
    taken = await valkey.xadd(STREAM, to_entry({**entry, "name": "Third", "version": 3}))
    await until(row, ("Third", "Sync@Example.test", 3))
    # As if a consumer had read it and died six seconds ago, before it could write the row.
    await database.execute("UPDATE userbase SET version = 2, name = 'Second' WHERE id = $1::text::uuid", entry["id"])
    await valkey.execute_command("XCLAIM", STREAM, "backend", "dead", 0, taken, "IDLE", 6000, "FORCE")
    await until(row, ("Third", "Sync@Example.test", 3))

    async def pending() -> int:
        return int((await valkey.xpending(STREAM, "backend"))["pending"])

    await until(pending, 0)


async def test_a_database_that_is_away_while_news_is_caught_up(valkey: Any) -> None:
    """After a lost subscription the database is read; if it cannot be, the subscription is made again until it can."""
    bus = Bus(valkey)
    tried: list[int] = []
    caught_up = asyncio.Event()

    async def resync() -> None:
        tried.append(len(tried))
        if len(tried) < 3:
            raise (asyncpg.CannotConnectNowError, asyncpg.InternalClientError)[len(tried) - 1]("shutting down")
        caught_up.set()

    listening = asyncio.create_task(bus.run_subscriber({"backend:test": lambda _: None}, resync))
    await asyncio.wait({listening, asyncio.create_task(caught_up.wait())}, timeout=10, return_when="FIRST_COMPLETED")
    assert not listening.done()
    assert tried == [0, 1, 2]
    assert bus.connected
    listening.cancel()


async def test_a_database_restart_in_the_midst_of_a_commit() -> None:
    """A driver that is confused by a connection that died is a database that is away: the batch is tried again."""
    failures = iter([asyncpg.InternalClientError("another operation is in progress"), OSError("gone")])
    said: list[str] = []

    async def append(*_: Any) -> Any:
        for failure in failures:
            raise failure
        return datetime.now(UTC), [Stored(7, fresh=True)]

    class Asking:
        def stored(self, item: Any, seq: int, decision: Any) -> None:
            said.append(f"stored {seq}")

        def refused(self, item: Any, code: int, reason: str, decision: Any) -> None:
            said.append(reason)

        def unknown(self, item: Any) -> None:
            said.append("unknown")

    async def nothing(_: Any) -> Any:
        return {}

    steps = Steps(
        memberships=nothing, take_many=nothing, append=append, deliver=lambda _: None, note_head=lambda *_: None
    )
    committer = Committer(steps, retry_s=5.0)
    running = asyncio.create_task(committer.run())
    item = Item(Asking(), "u", "e", "k", "id", "text", metered=False)
    item.conversation_id = 1
    committer.submit(item)
    await asyncio.wait({running, asyncio.create_task(committer.idle())}, timeout=10, return_when="FIRST_COMPLETED")
    assert not running.done()
    assert said == ["stored 7"]
    running.cancel()
