"""Scenario 7: auth_users and userbase agree about every person, also after an outage of anything between them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from earwitness.harness.dialects.reference.dialect import reference_contract
from pytest_suite.chat import verdict_on
from pytest_suite.factory import Databases, Factory, User, eventually
from pytest_suite.under_test import UnderTest

pytestmark = [pytest.mark.critical, pytest.mark.p0]

CONTRACT = reference_contract()
SYNC_S = float(CONTRACT.sync_bound_s or 0)
REVOCATION_S = float(CONTRACT.revocation_bound_s or 0)
AFTER_OUTAGE_S = 20.0
"""Seconds within which both tables must agree, counted from when all services are ready again."""
COLUMNS = ("email", "name", "is_active", "permissions", "provider", "subject", "version")


async def in_step(databases: Databases, emails: list[str]) -> bool:
    """Return whether both tables hold exactly one row of each person, with the same id and equal data."""
    for email in emails:
        account, copy = await databases.account(email), await databases.copy(email)
        if len(account) != 1 or len(copy) != 1 or str(account[0]["id"]) != str(copy[0]["id"]):
            return False
        if any(account[0][name] != copy[0][name] for name in COLUMNS):
            return False
    return True


async def no_orphans(databases: Databases, tag: str) -> bool:
    """Return whether both tables hold the same people of this run, at least one."""
    pattern = f"%.{tag}@%"
    auth = {str(r["id"]) for r in await databases.auth.fetch("SELECT id FROM auth_users WHERE email LIKE $1", pattern)}
    main = {str(r["id"]) for r in await databases.main.fetch("SELECT id FROM userbase WHERE email LIKE $1", pattern)}
    return auth == main != set()


async def rename(people: Factory, user: User, name: str) -> int:
    """Change the user's name at auth, as that user; return the HTTP status."""
    answer = await people.http.patch(f"{people.platform.auth}/auth/me", json={"name": name}, headers=user.bearer)
    return answer.status_code


async def administrate(people: Factory, user: User, **changes: Any) -> None:
    """Change a user as an administrator; the change must succeed."""
    answer = await people.http.patch(f"{people.platform.auth}/auth/admin/users/{user.id}", json=changes)
    assert answer.status_code == 200, f"changing a user: expected 200 of auth, got {answer.text}"


class TestDatabaseUserSync:
    """Synchronisation of the tables auth_users and userbase while all services run."""

    @pytest.mark.fails_with("Z59")
    async def test_oauth_user_sync_to_databases(self, people: Factory, databases: Databases) -> None:
        """Twenty first logins at once: each person is in both tables within the bound, once, with equal data."""
        emails = [people.email("sync") for _ in range(20)]
        assert not await in_step(databases, emails)
        users = await asyncio.gather(*(people.log_in(email) for email in emails))
        await eventually("all new users in both tables", lambda: in_step(databases, emails), SYNC_S)
        for user in users:
            (account,) = await databases.account(user.email)
            assert str(account["id"]) == user.id == user.claims["sub"]

    @pytest.mark.fails_with("Z59")
    async def test_no_orphans(self, people: Factory, databases: Databases) -> None:
        """None of this run's people is in one table only."""
        await people.log_in_many(5)

        await eventually("the same people in both tables", lambda: no_orphans(databases, people.platform.tag), SYNC_S)

    @pytest.mark.fails_with("Z62")
    async def test_user_update_propagation(self, platform: UnderTest, people: Factory, databases: Databases) -> None:
        """A new name is in both tables and on a live WebSocket within the bound, and on no stranger's."""
        ann, stranger = await people.log_in_many(2)
        mine, theirs = await people.connect(ann), await people.connect(stranger)
        name = f"Änn 🧵 {people.fresh('n')[:40]}"
        begin = time.monotonic()
        assert await rename(people, ann, name) == 200
        (account,) = await databases.account(ann.email)
        assert (account["name"], account["version"]) == (name, 2)
        await mine.until(lambda: [f for f in mine.all("user") if f["user"]["name"] == name], "the news", SYNC_S)
        (news,) = mine.all("user")
        assert (news["user"]["id"], news["user"]["email"]) == (ann.id, ann.email)
        await eventually("the name in userbase", lambda: in_step(databases, [ann.email]), SYNC_S)
        assert time.monotonic() - begin < SYNC_S
        for base in (platform.edge, platform.frontend, *platform.replicas.values()):
            assert (await people.get(f"{base}/api/me", ann.token)).json().get("name") == name, base
        assert (await people.connect(ann)).frames[0]["name"] == name
        await theirs.fence()
        assert theirs.all("user") == []

    @pytest.mark.fails_with("S6")
    async def test_the_last_of_many_updates_stands(self, people: Factory, databases: Databases) -> None:
        """Of thirty changes of one person in a row the last one stands: none overtakes another on the way."""
        ann = await people.log_in()
        for n in range(30):
            assert await rename(people, ann, f"name {n}") == 200
        await eventually("the last name in userbase", lambda: in_step(databases, [ann.email]), SYNC_S)
        (copy,) = await databases.copy(ann.email)
        assert (copy["name"], copy["version"]) == ("name 29", 31)

    @pytest.mark.fails_with("Z62")
    async def test_permissions_propagate(self, people: Factory, databases: Databases) -> None:
        """Permissions that an administrator has changed are in both tables, and in the next token."""
        ann = await people.log_in()
        await administrate(people, ann, permissions=["chat", "export"])
        await eventually("the rights in userbase", lambda: in_step(databases, [ann.email]), SYNC_S)
        assert (await databases.copy(ann.email))[0]["permissions"] == ["chat", "export"]
        assert (await people.log_in(ann.email)).claims["permissions"] == ["chat", "export"]

    @pytest.mark.fails_with("Z60")
    async def test_deactivation_propagates(self, platform: UnderTest, people: Factory, databases: Databases) -> None:
        """A deactivated person's sockets close, tokens and logins are refused, and both tables show it."""
        ann, control = await people.log_in_many(2)
        key = await people.conversation(ann, control)
        sockets = [await people.connect(ann, base=base) for base in platform.replicas.values()]
        theirs = await people.connect(control)
        await administrate(people, ann, is_active=False)
        for socket in sockets:
            assert await socket.closed(REVOCATION_S) in (4401, 4403)
        assert await verdict_on(platform.edge, ann.token) in (4401, 4403)
        for url in (f"{platform.edge}/api/me", f"{platform.auth}/auth/me", f"{platform.frontend}/api/me"):
            assert (await people.get(url, ann.token)).status_code in (401, 403), url
        refreshed = await people.http.post(f"{platform.auth}/auth/refresh", json={"refresh_token": ann.refresh_token})
        assert refreshed.status_code in (401, 403)
        again = await people.http.get(
            f"{platform.auth}/auth/google", params={"login_hint": ann.email}, follow_redirects=True
        )
        assert (again.status_code, again.json().get("error")) == (403, "account_deactivated")
        await eventually("the deactivation in userbase", lambda: in_step(databases, [ann.email]), SYNC_S)
        assert (await databases.copy(ann.email))[0]["is_active"] is False
        assert await theirs.tell(key, "still here") == 1
        await administrate(people, ann, is_active=True)
        await eventually("the reactivation in userbase", lambda: in_step(databases, [ann.email]), SYNC_S)
        back = await people.log_in(ann.email)
        assert back.id == ann.id
        assert await verdict_on(platform.edge, back.token) == 0


class TestSyncThroughOutages:
    """Synchronisation through outages: a service that was down catches up; no change is lost or repaired by hand."""

    async def _changed_meanwhile(self, people: Factory, service: str, *, kill: bool = False) -> None:
        """Create, rename and deactivate people while a service is down; after its restart both tables must agree.

        `kill`: end the service by SIGKILL instead of a graceful stop.
        """
        platform = people.platform
        renamed, deactivated = await people.log_in_many(2)
        control = platform.control
        await asyncio.to_thread(control.kill if kill else control.stop, service)
        names = await asyncio.gather(
            people.log_in(people.email("during")), rename(people, renamed, "New Name"), return_exceptions=True
        )
        await administrate(people, deactivated, is_active=False)
        assert not isinstance(names[0], BaseException), f"a login while {service} is down: {names[0]}"
        assert names[1] == 200
        await asyncio.to_thread(control.start, service)
        await self._settled(platform, [names[0].email, renamed.email, deactivated.email])

    async def _settled(self, platform: UnderTest, emails: list[str]) -> None:
        databases = Databases(
            await asyncpg.connect(platform.need("auth_dsn")), await asyncpg.connect(platform.need("main_dsn"))
        )
        try:
            await eventually("both tables in step", lambda: in_step(databases, emails), AFTER_OUTAGE_S)
            await eventually("the same people in both", lambda: no_orphans(databases, platform.tag), AFTER_OUTAGE_S)
        finally:
            await databases.close()

    @pytest.mark.fails_with("S7")
    async def test_all_backends_were_down(self, survivors: Factory) -> None:
        """Changes that are published while no backend runs are applied later."""
        platform = survivors.platform
        first, second = list(platform.replicas)
        await asyncio.to_thread(platform.control.stop, second)
        await self._changed_meanwhile(survivors, first, kill=True)

    @pytest.mark.fails_with("S8")
    async def test_redis_was_down(self, survivors: Factory) -> None:
        """Redis between the services dies and loses its data: committed changes are published again."""
        platform = survivors.platform
        renamed, promoted = await survivors.log_in_many(2)
        await asyncio.to_thread(platform.control.kill, "valkey")
        assert await rename(survivors, renamed, "New Name") in (200, 503)
        await administrate(survivors, promoted, permissions=["chat", "export"])
        # Auth has tried Redis in vain meanwhile, for this request as for the news of the change.
        refused = await survivors.get(f"{platform.auth}/auth/me", renamed.token)
        assert refused.status_code == 503, refused.text
        await asyncio.to_thread(platform.control.start, "valkey")

        async def done() -> bool:
            return await rename(survivors, renamed, "Newest Name") == 200

        await eventually("auth takes changes again", done, AFTER_OUTAGE_S)
        during = await survivors.log_in()
        await self._settled(platform, [renamed.email, promoted.email, during.email])

    @pytest.mark.fails_with("S9")
    async def test_the_databases_were_down(self, survivors: Factory) -> None:
        """A change is either refused or in both tables afterwards, never in one."""
        platform = survivors.platform
        ann = await survivors.log_in()
        assert await rename(survivors, ann, "Before") == 200
        await asyncio.to_thread(platform.control.kill, "postgres")
        assert await rename(survivors, ann, "While down") == 503
        await asyncio.to_thread(platform.control.start, "postgres")

        async def done() -> bool:
            return await rename(survivors, ann, "After") == 200

        await eventually("auth takes changes again", done, AFTER_OUTAGE_S)
        await self._settled(platform, [ann.email])
