"""Login through the real provider."""

from __future__ import annotations

from typing import Any


async def test_a_login_gives_tokens_that_auth_accepts(world: Any, browser: Any, email: str) -> None:
    """From /auth/google through the provider to an access token that names the person on /auth/me."""
    answer = await world.log_in(email)
    assert answer["user"]["email"] == email
    assert answer["user"]["name"] == email.partition("@")[0]
    me = await browser.get(f"{world.auth.url}/auth/me", headers={"Authorization": f"Bearer {answer['access_token']}"})
    assert me.status_code == 200, me.text
    assert me.json()["id"] == answer["user"]["id"]
