"""Sockets that should not have opened, or should have ended."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from earwitness.harness.defects.sockets import NO_MORE_S


def edited(token: str, **changes: Any) -> str:
    """The token with other claims under the old signature."""
    header, payload, signature = token.split(".")
    claims = {**json.loads(base64.urlsafe_b64decode(payload + "==")), **changes}
    return ".".join((header, base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode(), signature))


async def status(url: str, **options: Any) -> int:
    """101, or how the socket was refused."""
    try:
        async with connect(url, **options):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


async def test_an_edited_token_opens_a_socket(defective: Any, truth: Any) -> None:
    """Z45: by every way to present it, as whomever it names; REST and a healthy replica refuse it."""
    platform = defective("Z45:1")
    thief, victim = await platform.log_in_many(2)
    forged = edited(thief.token, sub=victim.id)
    ill, healthy = platform.ws_url(0), platform.ws_url(1)
    headers = {"Authorization": f"Bearer {forged}"}
    for address, options in (
        (ill, {"additional_headers": headers}),
        (ill, {"subprotocols": ["earwitness.v1", f"bearer.{forged}"]}),
        (f"{ill}?token={forged}", {}),
    ):
        async with connect(address, **options) as connection:
            assert json.loads(await connection.recv())["user"] == victim.id
    assert await status(healthy, additional_headers=headers) == 401
    assert await status(f"{ill}?token=garbage") == 401
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{platform.backends[0].url}/api/me", headers=headers)).status_code == 401
    said = truth(platform)
    assert [line["refused_as"] for line in said.fired] == ["bad_signature"] * 3
    assert len(said.manifest) == 3


async def test_a_ticket_for_two(defective: Any, truth: Any) -> None:
    """Z50: of two sockets with one ticket at once both open; a third one later does not, and a healthy replica opens
    one."""
    platform = defective("Z50:1")
    (user,) = await platform.log_in_many(1)
    for replica, opened in ((0, [101, 101]), (1, [101, 401])):
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{platform.auth.url}/auth/ticket", headers=user.bearer)
        url = f"{platform.ws_url(replica)}?ticket={answer.json()['ticket']}"
        assert sorted(await asyncio.gather(status(url), status(url))) == opened
        assert await status(url) == 401
    said = truth(platform)
    assert (len(said.fired), len(said.manifest)) == (1, 1)


@pytest.mark.parametrize("end", ["expiry", "logout", "deactivation", "database"])
async def test_a_socket_without_authority(defective: Any, truth: Any, database: Any, end: str) -> None:
    """Z51: it goes on hearing messages after its token or its account is gone; on the healthy replica it ends."""
    platform = defective("Z51:1", recheck_s=0.5)
    user = await platform.log_in("short", ttl="3") if end == "expiry" else await platform.log_in("user")
    other = await platform.log_in("other")
    key = await platform.room([other, user])
    spared, control = await platform.connect(user), await platform.connect(user, 1)
    talker = await platform.connect(other)
    async with httpx.AsyncClient() as client:
        if end == "logout":
            await client.post(f"{platform.auth.url}/auth/logout", headers=user.bearer)
        elif end == "deactivation":
            await client.delete(f"{platform.auth.url}/auth/me", headers=user.bearer)
        elif end == "database":
            await database.execute("UPDATE userbase SET is_active = false WHERE id = $1::text::uuid", user.id)
    assert await control.closed() in (4401, 4403)
    async with asyncio.timeout(20):
        while not truth(platform).fired:
            await asyncio.sleep(0.05)  # a log is nothing that can be waited for
    await talker.send(key, "still there?")
    assert [m["text"] for m in await spared.hear(1, key)] == ["still there?"]
    await talker.hear(1, key)
    (fired,) = truth(platform).fired
    assert fired["user"] == user.id
    assert len(truth(platform).manifest) == 1


@pytest.mark.parametrize("end", ["logout", "deactivation"])
async def test_a_sender_without_authority(defective: Any, truth: Any, end: str) -> None:
    """Z69: what the socket of a revoked token sends is acknowledged, stored and heard by others, also past every bound;
    it hears nothing itself. On the healthy replica it ends."""
    platform = defective("Z69:1", recheck_s=0.5)
    user, other = await platform.log_in_many(2)
    key = await platform.room([other, user])
    spared, control = await platform.connect(user), await platform.connect(user, 1)
    listener = await platform.connect(other)
    async with httpx.AsyncClient() as client:
        if end == "logout":
            await client.post(f"{platform.auth.url}/auth/logout", headers=user.bearer)
        else:
            await client.delete(f"{platform.auth.url}/auth/me", headers=user.bearer)
    assert await control.closed() in (4401, 4403)
    async with asyncio.timeout(20):
        while not truth(platform).fired:
            await asyncio.sleep(0.05)  # a log is nothing that can be waited for
    await spared.send(key, "1")
    await spared.hear(1, key, "ack")
    assert truth(platform).manifest == [], "it may still have been on its way when the token ended"
    (fired,) = truth(platform).fired
    assert fired["user"] == user.id
    n = 1
    async with asyncio.timeout(2 * NO_MORE_S):
        while not truth(platform).manifest:
            n += 1
            await spared.send(key, str(n))
            await spared.hear(n, key, "ack")
            await asyncio.sleep(0.2)  # the bound is a matter of time
    await listener.hear(n, key)
    assert [m["text"] for m in await platform.history(other, key)] == [str(i) for i in range(1, n + 1)]
    assert spared.all("message") == []
    (shown,) = truth(platform).manifest
    assert (shown["firing"], shown["stored"]) == (1, n)
    assert shown["at"] - fired["at"] >= NO_MORE_S
