"""One provider for all tests of the folder, and a client of it that is not our auth service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

CLIENT, SECRET = "the client", "se cret:with %odd+characters"
REDIRECT = "http://127.0.0.1:9/callback"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636, appendix B


@dataclass
class Client:
    """An OpenID client by hand: every parameter can be changed or left out (None)."""

    http: httpx.AsyncClient
    url: str

    def request(self, **changes: str | None) -> dict[str, str]:
        whole: dict[str, str | None] = {
            "response_type": "code",
            "client_id": CLIENT,
            "redirect_uri": REDIRECT,
            "scope": "openid email profile",
            "state": "the state",
            "nonce": "the nonce",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "login_hint": "ann@example.test",
            **changes,
        }
        return {name: value for name, value in whole.items() if value is not None}

    async def authorize(self, **changes: str | None) -> httpx.Response:
        return await self.http.get(f"{self.url}/authorize", params=self.request(**changes))

    async def code(self, **changes: str | None) -> str:
        return self.answer(await self.authorize(**changes))["code"]

    def answer(self, response: httpx.Response) -> dict[str, str]:
        """The parameters that came back to the client's address."""
        assert response.status_code == 303, response.text
        location = response.headers["location"]
        assert location.startswith(f"{REDIRECT}?")
        return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}

    async def token(self, **changes: str | None) -> httpx.Response:
        whole: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
            "client_id": CLIENT,
            "client_secret": SECRET,
            **changes,
        }
        form = {name: value for name, value in whole.items() if value is not None}
        return await self.http.post(f"{self.url}/token", data=form)

    async def refresh(self, refresh_token: str) -> httpx.Response:
        return await self.token(
            grant_type="refresh_token", refresh_token=refresh_token, redirect_uri=None, code_verifier=None
        )

    async def userinfo(self, access_token: str) -> httpx.Response:
        return await self.http.get(f"{self.url}/userinfo", headers={"Authorization": f"Bearer {access_token}"})


@pytest.fixture(scope="session")
def provider(spawn_session: Any, new_listener: Any) -> Any:
    at = new_listener()
    settings = {"issuer": at.url, "client_id": CLIENT, "client_secret": SECRET, "redirect_uris": [REDIRECT]}
    return spawn_session("provider", settings, listener=at)


@pytest.fixture
async def client(provider: Any) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(verify=False, timeout=30) as http:
        yield Client(http, provider.url)
