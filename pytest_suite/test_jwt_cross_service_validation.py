"""Scenario 4: one token on all services: its end everywhere at once, its refresh, and the signing keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import jwt
import pytest

from earwitness.harness.dialects.reference.dialect import reference_contract
from earwitness.harness.dialects.reference.forgery import FORGERIES, Forger
from pytest_suite.chat import verdict_on
from pytest_suite.factory import Databases, Factory, User, bearer
from pytest_suite.under_test import UnderTest

pytestmark = [pytest.mark.critical, pytest.mark.p0]

CONTRACT = reference_contract()
LEEWAY_S = float(CONTRACT.token_leeway_s or 0)
REVOCATION_S = float(CONTRACT.revocation_bound_s or 0)
SLACK_S = 1.0
"""Seconds of delay allowed between a planned moment and the request that is sent then."""
SHORT_S = 3.0

Place = Callable[[str], Coroutine[Any, Any, int]]


def places(platform: UnderTest, http: httpx.AsyncClient) -> dict[str, Place]:
    """Return name → function that presents a token to one service or socket and returns the status of its answer.

    A socket that opens counts as 200; a socket that is refused counts as its close code minus 4000.
    """

    def rest(url: str) -> Place:
        async def ask(token: str) -> int:
            return (await http.get(url, headers=bearer(token))).status_code

        return ask

    def socket(base: str) -> Place:
        async def ask(token: str) -> int:
            code = await verdict_on(base, token)
            return 200 if code == 0 else code - 4000

        return ask

    found = {"auth": rest(f"{platform.auth}/auth/me"), "backend": rest(f"{platform.edge}/api/me")}
    found |= {"frontend": rest(f"{platform.frontend}/api/me"), "frontend to auth": rest(f"{platform.frontend}/auth/me")}
    found |= {name: rest(f"{url}/api/me") for name, url in platform.replicas.items()}
    found |= {f"socket of {name}": socket(url) for name, url in platform.replicas.items()}
    return found


async def asked(where: dict[str, Place], token: str) -> dict[str, int]:
    """Return the status with which each place answers to a token; all are asked at the same time."""
    return dict(zip(where, await asyncio.gather(*(ask(token) for ask in where.values())), strict=True))


def everywhere(where: dict[str, Place], status: int) -> dict[str, int]:
    """Return the same status for each place, for a comparison with the result of `asked`."""
    return dict.fromkeys(where, status)


async def refresh(people: Factory, token: str) -> httpx.Response:
    """Send a refresh token to auth; return the answer."""
    return await people.http.post(f"{people.platform.auth}/auth/refresh", json={"refresh_token": token})


class TestJWTCrossServiceValidation:
    """Validity of tokens at every service and socket that accepts tokens."""

    @pytest.mark.fails_with("S10")
    async def test_jwt_accepted_all_services(self, platform: UnderTest, people: Factory) -> None:
        """Ten people at once: each place takes each token for its own person, also when all ask at the same time."""
        users = await people.log_in_many(10)
        urls = [f"{platform.auth}/auth/me", f"{platform.edge}/api/me", f"{platform.frontend}/api/me"]
        urls += [f"{platform.frontend}/auth/me", *(f"{url}/api/me" for url in platform.replicas.values())]

        async def told(user: User, url: str) -> tuple[str, str]:
            answer = await people.get(url, user.token)
            assert answer.status_code == 200, f"{url}: expected 200 for a valid token, got {answer.text}"
            return answer.json()["id"], answer.json()["email"]

        answers = await asyncio.gather(*(told(user, url) for user in users for url in urls))
        assert answers == [(user.id, user.email) for user in users for _ in urls]
        sockets = await asyncio.gather(*(people.connect(user) for user in users))
        assert [socket.frames[0]["user"] for socket in sockets] == [user.id for user in users]

    @pytest.mark.parametrize("forgery", FORGERIES)
    @pytest.mark.fails_with("Z42", "Z43", "Z44", "Z45")
    async def test_a_forged_token_is_refused_everywhere(
        self, platform: UnderTest, people: Factory, forger: Forger, forgery: str
    ) -> None:
        """Every forgery is answered with 401 at every place; a control is accepted by every place."""
        where = places(platform, people.http)
        assert await asked(where, FORGERIES[forgery](forger)) == everywhere(where, 401)
        assert await asked(where, forger.control()) == everywhere(where, 200)

    @pytest.mark.fails_with("Z39")
    async def test_jwt_expiry_handling(self, platform: UnderTest, people: Factory, forger: Forger) -> None:
        """A token works until its deadline and is refused after deadline and leeway, at every place.

        Sockets are stricter: they are opened until the deadline only.
        """
        where = places(platform, people.http)
        rest = {name: ask for name, ask in where.items() if not name.startswith("socket")}
        deadline = int(time.time()) + 3
        token = forger.minted(exp=deadline)
        assert await asked(where, token) == everywhere(where, 200)
        assert time.time() < deadline, "this machine is too slow for this test"
        await asyncio.sleep(deadline + LEEWAY_S + SLACK_S / 2 - time.time())
        assert await asked(where, token) == everywhere(where, 401)
        assert await asked(rest, forger.control()) == everywhere(rest, 200)

    @pytest.mark.fails_with("Z39")
    async def test_a_refused_expired_token_says_so(self, platform: UnderTest, people: Factory, forger: Forger) -> None:
        """A client learns that it must refresh: 401 with the code `expired`, and the challenge of RFC 6750."""
        for url in (f"{platform.auth}/auth/me", f"{platform.edge}/api/me", f"{platform.frontend}/api/me"):
            answer = await people.get(url, forger.expired())
            assert (answer.status_code, answer.json().get("error")) == (401, "expired"), url
            assert "invalid_token" in answer.headers["www-authenticate"]

    @pytest.mark.fails_with("Z51")
    async def test_a_socket_does_not_outlive_its_token(self, people: Factory) -> None:
        """A socket works until its token's deadline, then closes with 4401; after a refresh the person continues."""
        ann, control = await people.log_in(ttl_s=SHORT_S), await people.log_in()
        key = await people.conversation(ann, control)
        mine, theirs = await people.connect(ann), await people.connect(control)
        assert await mine.tell(key, "in time") == 1
        left_s = ann.claims["exp"] - time.time()
        assert left_s > 0, "this machine is too slow for this test"
        assert await mine.closed(left_s + SLACK_S) == 4401
        assert time.time() >= ann.claims["exp"] - 0.1, "closed before its deadline"
        answer = await refresh(people, ann.refresh_token)
        assert answer.status_code == 200, answer.text
        again = await people.connect(User.of(answer.json()), resume={key: 1})
        assert await again.tell(key, "refreshed") == 2
        assert (await theirs.hear(2))[1]["sender"] == ann.id
        assert theirs.code is None

    @pytest.mark.fails_with("Z48b")
    async def test_refresh_keeps_the_person(self, platform: UnderTest, people: Factory, databases: Databases) -> None:
        """A refresh gives new tokens of the same person, permissions and session; they work everywhere."""
        ann = await people.log_in()
        answer = await refresh(people, ann.refresh_token)
        assert answer.status_code == 200, answer.text
        new = User.of(answer.json())
        assert new.token != ann.token
        assert new.refresh_token != ann.refresh_token
        for name in ("sub", "email", "name", "permissions", "sid", "iss", "aud", "typ"):
            assert new.claims[name] == ann.claims[name], name
        assert new.claims["jti"] != ann.claims["jti"]
        assert new.claims["exp"] >= ann.claims["exp"]
        where = places(platform, people.http)
        assert await asked(where, new.token) == everywhere(where, 200)
        assert len(await databases.account(ann.email)) == 1

    @pytest.mark.fails_with("Z47")
    async def test_a_reused_refresh_token_revokes_its_family(self, platform: UnderTest, people: Factory) -> None:
        """Thief and owner both lose the session, at every place and on live sockets; other sessions stay."""
        first = await people.log_in()
        other_device = await people.log_in(first.email)
        second = User.of((await refresh(people, first.refresh_token)).json())
        sockets = [await people.connect(user) for user in (second, other_device)]
        reused = await refresh(people, first.refresh_token)
        at = time.monotonic()
        assert (reused.status_code, reused.json().get("error")) == (401, "refresh_token_reused")
        assert await sockets[0].closed(REVOCATION_S) == 4401
        where = places(platform, people.http)
        for token in (first.token, second.token):
            assert await asked(where, token) == everywhere(where, 401)
        assert time.monotonic() - at < REVOCATION_S + SLACK_S
        assert (await refresh(people, second.refresh_token)).status_code == 401
        assert await asked(where, other_device.token) == everywhere(where, 200)
        await sockets[1].fence()
        assert sockets[1].code is None

    @pytest.mark.fails_with("Z46")
    async def test_concurrent_refreshes_never_both_win(self, people: Factory, databases: Databases) -> None:
        """Of several refreshes with one token at once, at most one succeeds, every time."""
        users = await people.log_in_many(6)
        for user in users:
            answers = await asyncio.gather(*(refresh(people, user.refresh_token) for _ in range(4)))
            assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
        used = await databases.auth.fetchval(
            "SELECT count(*) FROM refresh_tokens r JOIN sessions s ON s.id = r.family "
            "WHERE s.user_id = ANY ($1::uuid[]) AND r.used_at IS NULL AND s.revoked_at IS NULL",
            [user.id for user in users],
        )
        assert used == 0, "the winner's session must be revoked too: one of the others may have been a thief"

    @pytest.mark.fails_with("Z40", "Z41")
    async def test_a_logout_holds_everywhere(self, platform: UnderTest, people: Factory) -> None:
        """After a logout its token and its refresh token are refused at every place; the other device stays."""
        ann = await people.log_in()
        phone = await people.log_in(ann.email)
        where = places(platform, people.http)
        assert await asked(where, ann.token) == everywhere(where, 200)
        socket = await people.connect(ann)
        answer = await people.http.post(f"{platform.auth}/auth/logout", headers=ann.bearer)
        assert answer.status_code == 200
        assert await asked(where, ann.token) == everywhere(where, 401)
        assert await socket.closed(REVOCATION_S) == 4401
        assert (await refresh(people, ann.refresh_token)).status_code == 401
        assert await asked(where, phone.token) == everywhere(where, 200)

    @pytest.mark.fails_with("S12")
    async def test_key_rotation_drops_nobody(self, platform: UnderTest, people: Factory) -> None:
        """Tokens and sockets from before a rotation continue, tokens from after it work at once, at every place."""
        ann = await people.log_in()
        key = await people.conversation(ann)
        socket = await people.connect(ann)
        where = places(platform, people.http)
        rotated = await people.http.post(f"{platform.auth}/auth/admin/rotate-keys")
        assert rotated.status_code == 200, rotated.text
        bob = await people.log_in()
        kids = [jwt.get_unverified_header(user.token)["kid"] for user in (ann, bob)]
        assert kids[0] != kids[1] == rotated.json()["kid"]
        assert await asked(where, bob.token) == everywhere(where, 200)
        assert await asked(where, ann.token) == everywhere(where, 200)
        assert await socket.tell(key, "still here") == 1
        published = (await people.http.get(f"{platform.auth}/.well-known/jwks.json")).json()["keys"]
        assert set(kids) <= {jwk["kid"] for jwk in published}
        assert not any("d" in jwk for jwk in published), "a private key was published"
        refreshed = User.of((await refresh(people, ann.refresh_token)).json())
        assert jwt.get_unverified_header(refreshed.token)["kid"] == kids[1]
        assert await asked(where, refreshed.token) == everywhere(where, 200)
