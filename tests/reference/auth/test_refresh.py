"""Refresh tokens rotate, are good once, and their reuse ends the session."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_a_refresh_rotates(world: Any, email: str) -> None:
    """New tokens, same person, same permissions, same session; the new ones work in turn."""
    first = await world.log_in(email)
    second = (await world.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    old, new = claims_of(first["access_token"]), claims_of(second["access_token"])
    for name in ("sub", "email", "name", "permissions", "sid", "iss", "aud"):
        assert old[name] == new[name]
    assert old["jti"] != new["jti"]
    assert (await world.me(second["access_token"])).status_code == 200
    assert (await world.refresh(second["refresh_token"])).status_code == 200


async def test_reuse_ends_the_session(world: Any, email: str) -> None:
    """After a spent token came again neither its successor nor any access token of the session works; others do."""
    other = await world.log_in(email)
    first = await world.log_in(email)
    second = (await world.refresh(first["refresh_token"])).json()
    reused = await world.refresh(first["refresh_token"])
    assert (reused.status_code, reused.json()["error"]) == (401, "refresh_token_reused")
    successor = await world.refresh(second["refresh_token"])
    assert (successor.status_code, successor.json()["error"]) == (401, "session_revoked")
    for token in (first["access_token"], second["access_token"]):
        refused = await world.me(token)
        assert (refused.status_code, refused.json()["error"]) == (401, "revoked")
    assert (await world.me(other["access_token"])).status_code == 200
    assert (await world.refresh(other["refresh_token"])).status_code == 200


async def test_concurrent_refreshes_have_one_winner(world: Any, email: str) -> None:
    """Ten sessions, four refreshes of the same token at once: at most one wins, and then the session ends."""
    logins = [await world.log_in(email) for _ in range(10)]
    for login in logins:
        answers = await asyncio.gather(*(world.refresh(login["refresh_token"]) for _ in range(4)))
        won = [answer.json() for answer in answers if answer.status_code == 200]
        assert len(won) == 1
        assert (await world.refresh(won[0]["refresh_token"])).status_code == 401
        assert (await world.me(won[0]["access_token"])).status_code == 401


async def test_reuse_beside_refreshes_leaves_nothing_alive(world: Any, email: str) -> None:
    """A thief replays the first token while the owner goes on refreshing: no token of the session survives."""
    first = await world.log_in(email)
    alive = [first]

    enough = asyncio.Event()

    async def owner() -> None:
        for _ in range(100):
            answer = await world.refresh(alive[-1]["refresh_token"])
            if answer.status_code != 200:
                break
            alive.append(answer.json())
            if len(alive) == 4:
                enough.set()
        enough.set()

    async def thief() -> None:
        await enough.wait()
        assert (await world.refresh(first["refresh_token"])).status_code == 401

    await asyncio.gather(owner(), thief())
    assert len(alive) >= 4
    for tokens in alive:
        assert (await world.me(tokens["access_token"])).status_code == 401
        assert (await world.refresh(tokens["refresh_token"])).status_code == 401


async def test_refresh_sees_changed_permissions(world: Any, browser: Any, email: str) -> None:
    """The person is read from the database at each refresh."""
    first = await world.log_in(email)
    changed = await browser.patch(
        f"{world.auth.url}/auth/admin/users/{first['user']['id']}", json={"permissions": ["chat", "admin"]}
    )
    assert changed.status_code == 200
    second = (await world.refresh(first["refresh_token"])).json()
    assert claims_of(second["access_token"])["permissions"] == ["admin", "chat"]


async def test_what_is_no_refresh_token(world: Any, browser: Any, email: str) -> None:
    """Access tokens, unknown tokens, wrong types and broken JSON are each refused with their own sentence."""
    tokens = await world.log_in(email)
    assert (await world.refresh(tokens["access_token"])).status_code == 401
    assert (await world.refresh("made-up")).json()["error"] == "invalid_refresh_token"
    url = f"{world.auth.url}/auth/refresh"
    for body in (b"{", b"[]", b"{}", b'{"refresh_token": 3}', b""):
        answer = await browser.post(url, content=body)
        assert answer.status_code == 400
        assert answer.json().keys() == {"error", "message"}


async def test_an_expired_refresh_token_is_refused(world: Any, database: Any, email: str) -> None:
    """Time is the database's; a token past its expiry is not a reuse and ends nothing."""
    tokens = await world.log_in(email)
    session = claims_of(tokens["access_token"])["sid"]
    await database.execute(
        "UPDATE refresh_tokens SET expires_at = now() - interval '1 s' WHERE family = $1::text::uuid", session
    )
    answer = await world.refresh(tokens["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (401, "refresh_token_expired")
    assert (await world.me(tokens["access_token"])).status_code == 200


async def test_only_hashes_are_stored(world: Any, database: Any, email: str) -> None:
    """Whoever reads the database cannot refresh."""
    tokens = await world.log_in(email)
    rows = await database.fetch("SELECT t::text FROM refresh_tokens t")
    assert rows
    assert not any(tokens["refresh_token"] in row[0] for row in rows)
