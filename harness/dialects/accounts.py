"""What a platform lets people do with their accounts: an optional capability of a target (`target.accounts`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from earwitness.checks.history.record import Place
from earwitness.harness.client.flow import Flow, HttpRequest
from earwitness.harness.dialects.protocol import Credentials


@dataclass(frozen=True, slots=True)
class Profile:
    """What a place shows of an account."""

    user_id: str
    email: str
    name: str


class Accounts(Protocol):
    """Changing and reading an account. None answers a refusal, which whoever records the request judges."""

    def rename(self, credentials: Credentials, name: str) -> Flow[Profile | None]: ...

    def set_active(self, user_id: str, active: bool) -> Flow[int]:
        """As an administrator: close an account, or open it again. The status."""
        ...

    def profile(self, credentials: Credentials, place: Place) -> Flow[Profile | None]:
        """As AUTH or BACKEND shows it."""
        ...


class ReferenceAccounts:
    """`Accounts` of the reference platform. `auth`, `edge`: base URLs."""

    def __init__(self, auth: str, edge: str) -> None:
        self._auth = auth
        self._urls = {Place.AUTH: f"{auth}/auth/me", Place.BACKEND: f"{edge}/api/me"}

    def rename(self, credentials: Credentials, name: str) -> Flow[Profile | None]:
        headers = {"authorization": f"Bearer {credentials.token}", "content-type": "application/json"}
        body = f'{{"name":"{name}"}}'.encode()
        response = yield HttpRequest("PATCH", self._urls[Place.AUTH], headers, body, "rename")
        return _profile(response.json()) if response.status == 200 else None

    def set_active(self, user_id: str, active: bool) -> Flow[int]:
        url, body = f"{self._auth}/auth/admin/users/{user_id}", b'{"is_active":%s}' % (b"true" if active else b"false")
        headers = {"content-type": "application/json"}
        response = yield HttpRequest("PATCH", url, headers, body, "open an account" if active else "close an account")
        return response.status

    def profile(self, credentials: Credentials, place: Place) -> Flow[Profile | None]:
        headers = {"authorization": f"Bearer {credentials.token}"}
        response = yield HttpRequest("GET", self._urls[place], headers, b"", f"profile at {place.name.lower()}")
        return _profile(response.json()) if response.status == 200 else None


def _profile(answer: Any) -> Profile:
    user = answer.get("user", answer)
    return Profile(str(user["id"]), str(user["email"]), str(user["name"]))


def accounts_of(target: Any) -> Accounts | None:
    """The capability, if the target has it."""
    found: Accounts | None = getattr(target, "accounts", None)
    return found
