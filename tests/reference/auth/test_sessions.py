"""One interleaving of two transactions that no test of the process can force."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from earwitness.harness.reference.auth.sessions import RefreshRefused, Sessions


async def test_a_revocation_waits_for_the_refresh_beside_it(world: Any, email: str) -> None:
    """A refresh is about to hand out a token while a reuse ends the session: the new token is revoked too."""
    user_id = (await world.log_in(email))["user"]["id"]
    refresher, punisher = [await asyncpg.connect(world.dsns.auth) for _ in range(2)]
    sessions, later = Sessions(600), time.time() + 600
    opened = await sessions.open(refresher, user_id, 600)
    for token in (f"1 {email}", f"2 {email}"):
        await sessions.add_refresh_token(refresher, opened.session, token, later, f"jti {token}", later)
    await sessions.spend(refresher, f"1 {email}")

    async def punish() -> list[Any]:
        async with punisher.transaction():
            with pytest.raises(RefreshRefused) as caught:
                await sessions.spend(punisher, f"1 {email}")
        return list(caught.value.revocations)

    async with refresher.transaction():
        await sessions.spend(refresher, f"2 {email}")
        punishing = asyncio.create_task(punish())
        await asyncio.wait({punishing}, timeout=0.5)
        assert not punishing.done()
        await sessions.add_refresh_token(refresher, opened.session, f"3 {email}", later, f"jti 3 {email}", later)
    revoked = {revocation.token_id for revocation in await punishing}
    assert revoked == {f"jti {n} {email}" for n in (1, 2, 3)}
    with pytest.raises(RefreshRefused, match="revoked"):
        await sessions.spend(refresher, f"3 {email}")
    await refresher.close()
    await punisher.close()
