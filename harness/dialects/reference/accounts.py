"""Accounts of the reference platform: changing and reading them."""

from __future__ import annotations

from typing import Any

import orjson

from earwitness.checks.history.record import Place
from earwitness.harness.client.flow import Flow, HttpRequest
from earwitness.harness.dialects.parts import Profile
from earwitness.harness.dialects.protocol import Credentials


class ReferenceAccounts:
    """Implementation of `harness.dialects.parts.Accounts` for the reference platform.

    `auth` and `edge` are the base URLs of the auth service and of the reverse proxy.
    """

    def __init__(self, auth: str, edge: str) -> None:
        """Derive the addresses: changes go to `auth`; profiles come from `auth`, and from the backend behind `edge`."""
        self._auth = auth
        self._urls = {Place.AUTH: f"{auth}/auth/me", Place.BACKEND: f"{edge}/api/me"}

    def rename(self, credentials: Credentials, name: str) -> Flow[Profile | None]:
        """Implement `Accounts.rename`: send PATCH /auth/me."""
        headers = {"authorization": f"Bearer {credentials.token}", "content-type": "application/json"}
        body = orjson.dumps({"name": name})
        response = yield HttpRequest("PATCH", self._urls[Place.AUTH], headers, body, "rename")
        return _profile(response.json()) if response.status == 200 else None

    def set_active(self, user_id: str, active: bool) -> Flow[int]:
        """Implement `Accounts.set_active`: send PATCH /auth/admin/users/{id}.

        The request carries no administrator's secret, so the platform must run in test mode.
        """
        url, body = f"{self._auth}/auth/admin/users/{user_id}", b'{"is_active":%s}' % (b"true" if active else b"false")
        headers = {"content-type": "application/json"}
        response = yield HttpRequest("PATCH", url, headers, body, "open an account" if active else "close an account")
        return response.status

    def profile(self, credentials: Credentials, place: Place) -> Flow[Profile | None]:
        """Implement `Accounts.profile`: send GET /auth/me to auth (AUTH), or GET /api/me to the edge (BACKEND)."""
        headers = {"authorization": f"Bearer {credentials.token}"}
        response = yield HttpRequest("GET", self._urls[place], headers, b"", f"profile at {place.name.lower()}")
        return _profile(response.json()) if response.status == 200 else None


def _profile(answer: Any) -> Profile:
    user = answer.get("user", answer)
    return Profile(str(user["id"]), str(user["email"]), str(user["name"]))
