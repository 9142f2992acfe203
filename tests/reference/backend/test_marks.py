"""Read marks: one for all devices of a person, never backwards, whatever replica they are on."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx


async def read(platform: Any, user: Any, key: str, seq: Any, backend: int = 0) -> httpx.Response:
    url = f"{platform.backends[backend].url}/api/conversations/{key}/read"
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.put(url, json={"seq": seq}, headers=user.bearer)


async def talk(platform: Any, user: Any, key: str, n: int) -> None:
    socket = await platform.connect(user)
    for number in range(n):
        await socket.send(key, str(number))
    await socket.hear(n, key)


async def test_every_device_is_told(platform: Any) -> None:
    """A mark set on one replica is heard by the person's sockets on both, and by nobody else's."""
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    await talk(platform, user, key, 3)
    devices = [await platform.connect(user, i) for i in (0, 1)]
    stranger = await platform.connect(other)
    answer = await read(platform, user, key, 2, 1)
    assert (answer.status_code, answer.json()) == (200, {"conversation": key, "seq": 2})
    for device in devices:
        (told,) = await device.hear(1, key, "read")
        assert told["seq"] == 2
    await read(platform, other, key, 3)
    await stranger.hear(1, key, "read")
    assert [f["seq"] for f in stranger.all("read")] == [3]
    assert [f["seq"] for f in devices[0].all("read")] == [2]


async def test_a_mark_never_goes_back(platform: Any) -> None:
    """An older mark changes nothing and is answered with the present one; of racing marks the highest stands."""
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    await talk(platform, user, key, 8)
    devices = [await platform.connect(user, i) for i in (0, 1)]
    await asyncio.gather(*(read(platform, user, key, seq, seq % 2) for seq in (3, 8, 1, 5, 7, 2)))
    assert (await read(platform, user, key, 4)).json()["seq"] == 8
    for device in devices:
        await device.until(lambda device=device: [f["seq"] for f in device.all("read")][-1:] == [8], "the last mark")
        told = [f["seq"] for f in device.all("read")]
        assert told == sorted(set(told))


async def test_whoever_comes_later_knows_it(platform: Any) -> None:
    """The greeting and the list of conversations say the mark, on every replica."""
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    await talk(platform, user, key, 2)
    await read(platform, user, key, 2)
    for backend in (0, 1):
        assert (await platform.connect(user, backend)).frames[0]["read"] == {key: 2}
        (found,) = (await platform.get(user, "/api/conversations", backend)).json()["conversations"]
        assert (found["key"], found["read"]) == (key, 2)


async def test_lost_news_is_found(platform: Any, database: Any) -> None:
    """A mark of which no news came, because Redis was away, is told after the next look at the table."""
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    await talk(platform, user, key, 2)
    device = await platform.connect(user, 1)
    await database.execute(
        "INSERT INTO read_marks SELECT $1, id, 2 FROM conversations WHERE key = $2", user.id, key
    )  # as a replica does whose publication is lost
    (told,) = await device.hear(1, key, "read")
    assert told["seq"] == 2


async def test_what_is_no_mark_is_refused(platform: Any) -> None:
    """A number beyond the end, no number, and a conversation of others; nobody is told."""
    user, other = await platform.log_in_many(2)
    key = await platform.room([user])
    await talk(platform, user, key, 1)
    device = await platform.connect(user)
    for seq in (2, -1, "1", None, True):
        assert (await read(platform, user, key, seq)).status_code == 400
    assert (await read(platform, other, key, 1)).status_code == 403
    assert (await read(platform, user, key, 1)).status_code == 200
    await device.hear(1, key, "read")
    assert [f["seq"] for f in device.all("read")] == [1]
