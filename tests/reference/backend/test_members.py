"""Removing a member: what they hear, read and say afterwards, on the replica that did it and on the other one."""

from __future__ import annotations

from typing import Any

import httpx
import pytest


async def remove(platform: Any, by: Any, key: str, who: Any, backend: int = 0) -> httpx.Response:
    url = f"{platform.backends[backend].url}/api/conversations/{key}/members/{who.email}"
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.delete(url, headers=by.bearer)


@pytest.mark.parametrize("backend", [0, 1])
async def test_who_is_removed_hears_nothing_more(platform: Any, backend: int) -> None:
    """Whatever replica removes them; those who stay hear everything, and the socket is told that it has left."""
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    talking, listening = await platform.connect(user), await platform.connect(other, 1)
    await talking.send(key, "before")
    await listening.hear(1, key)
    answer = await remove(platform, user, key, other, backend)
    assert (answer.status_code, answer.json()) == (200, {"key": key, "removed": True})
    # Sent where the removal was not made: its replica learns of it from the message at the latest.
    speaking = await platform.connect(user, 1)
    for n in range(5):
        await speaking.send(key, str(n))
    await talking.hear(6, key)
    await listening.hear(1, key, "left")
    await listening.say(type="ping", id="p")
    await listening.hear(1, kind="pong")
    assert listening.seqs(key) == [1]


async def test_who_is_removed_is_refused(platform: Any) -> None:
    """Reading, writing, inviting and removing, on both replicas; a repeated removal changes nothing."""
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    socket = await platform.connect(other, 1)
    assert (await platform.put(other, key, [user, other], 1)).status_code == 200
    assert (await remove(platform, user, key, other)).json()["removed"]
    assert not (await remove(platform, user, key, other, 1)).json()["removed"]
    for backend in (0, 1):
        assert (await platform.get(other, f"/api/conversations/{key}/messages", backend)).status_code == 403
        assert (await platform.put(other, key, [user, other], backend)).status_code == 403
        assert (await remove(platform, other, key, user, backend)).status_code == 403
    await socket.send(key, "still here?", "m1")
    assert [(n["id"], n["code"]) for n in await socket.hear(1, kind="nack")] == [("m1", 403)]
    again = await platform.connect(other, 1, resume=True)
    await again.say(type="resume", **{"from": {key: 0}})
    await again.hear(1, key, "left")


async def test_invited_again(platform: Any) -> None:
    """On either replica: the socket joins at the head and hears what is said from then on; history is whole."""
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    talking, listening = await platform.connect(user), await platform.connect(other, 1)
    assert (await platform.put(user, key, [user, other], 1)).status_code == 200
    await remove(platform, user, key, other)
    await talking.send(key, "while out")
    await talking.hear(1, key)
    assert (await platform.put(user, key, [user, other], 1)).status_code == 200
    (joined,) = await listening.hear(1, key, "joined")
    assert (joined["head"], joined["complete"]) == (1, None)
    await talking.send(key, "welcome back")
    assert [m["text"] for m in await listening.hear(1, key)] == ["welcome back"]
    assert [m["text"] for m in await platform.history(other, key)] == ["while out", "welcome back"]


async def test_leaving(platform: Any) -> None:
    """A member may remove themselves."""
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    assert (await remove(platform, other, key, other)).json()["removed"]
    assert (await platform.get(other, f"/api/conversations/{key}/messages")).status_code == 403


async def test_out_and_in_many_times_under_load(platform: Any) -> None:
    """Whoever is put out while others talk hears nothing that was sent between the answer and their next joining."""
    user, other, third = await platform.log_in_many(3)
    key = await platform.room([user, other, third])
    speakers = [await platform.connect(user), await platform.connect(third, 1)]
    listening = await platform.connect(other, 1)
    for turn in range(8):
        assert (await remove(platform, user, key, other, turn % 2)).json()["removed"]
        for speaker in speakers:
            for _ in range(3):
                await speaker.send(key, f"secret {turn}")
        for speaker in speakers:
            await speaker.hear(3 * (turn + 1), key, "ack")
        assert (await platform.put(user, key, [user, other, third], turn % 2)).status_code == 200
        await listening.hear(turn + 1, key, "joined")
    assert listening.all("message", key) == []
    assert len(listening.all("left", key)) == 8


async def test_a_run_of_a_replica_that_died_is_ended(start_platform: Any) -> None:
    """The other replica's listeners are told an error when nothing of it was heard for a while."""
    platform = start_platform(agent_pace_s=0.5, agent_silence_s=1.0)
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    asking, listening = await platform.connect(user), await platform.connect(other, 1)
    await asking.send(key, "a question", ask=True)
    await listening.hear(2, key, "agent")
    platform.backends[0].process.kill()
    await listening.until(lambda: listening.all("agent", key)[-1]["event"] == "error", "the end of the run")
    await platform.end()
