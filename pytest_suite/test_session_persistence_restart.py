"""Scenario 9: restarts of services, of which people notice nothing but a connection that is restored by itself."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pytest_suite.chat import Socket
from pytest_suite.crowd import crowd_on
from pytest_suite.factory import Factory, User, eventually

pytestmark = [
    pytest.mark.critical, pytest.mark.p1, pytest.mark.timeout(240),
]  # fmt: skip

JUDGED_BY = ("I1", "I2", "I4", "I5a", "I5b", "I6", "I7", "I8", "I10", "I12", "I15")
SERVICE_RESTART, LOST = 1012, 1006
PACE_S = 0.1
AFTER_A_FAULT = 5
"""Messages that each user sends, after a fault, on the connection that is open then."""
RECOVERY_S = 10.0
BACK_S = 5.0
"""Seconds from the loss of a socket until the person is served again on another replica."""


class Visitors:
    """Requests through the load balancer, one after the other, while services stop and start.

    `read`: count of answers by status; `longest_s`: longest time of an answer; `unexpected`: the last answer that was
    not 200.
    """

    def __init__(self, people: Factory, user: User) -> None:
        self.people, self.user = people, user
        self.over = False
        self.read: Counter[int] = Counter()
        self.longest_s = 0.0
        self.unexpected = ""

    async def run(self) -> None:
        """Send requests until `over` is set, and update `read`, `longest_s` and `unexpected`."""
        url = f"{self.people.platform.edge}/api/me"
        while not self.over:
            begin = time.monotonic()
            answer = await self.people.get(url, self.user.token)
            self.read[answer.status_code] += 1
            if answer.status_code != 200:
                self.unexpected = f"{answer.status_code} {answer.text}"
            self.longest_s = max(self.longest_s, time.monotonic() - begin)
            await asyncio.sleep(0.02)


async def resumed(people: Factory, socket: Socket, user: User, key: str) -> Socket:
    """Return a new connection of the user, resumed after the last message that `socket` received.

    Attempts are repeated for up to BACK_S seconds, as any client does.
    """

    async def attempt() -> Socket | None:
        try:
            return await people.connect(user, resume={key: max(socket.seqs(key), default=0)})
        except Exception as error:
            if type(error).__name__ not in ("Refused", "ConnectionRefusedError", "InvalidMessage"):
                raise
            return None

    found: Socket = await eventually("a new connection", attempt, BACK_S)
    return found


class TestSessionPersistenceRestart:
    """Restarts of single services, of all services in turn, and of all at once."""

    @pytest.mark.parametrize(("graceful", "code"), [(True, SERVICE_RESTART), (False, LOST)], ids=["restart", "kill"])
    @pytest.mark.fails_with("Z23")
    async def test_session_survives_backend_restart(self, survivors: Factory, graceful: bool, code: int) -> None:
        """The replica of a session restarts or dies: same token, same conversation, nothing acknowledged is lost."""
        platform = survivors.platform
        ann, bob = await survivors.log_in_many(2)
        key = await survivors.conversation(ann, bob)
        name, other = list(platform.replicas)
        mine = await survivors.connect(ann, base=platform.replicas[name])
        theirs = await survivors.connect(bob, base=platform.replicas[other])
        for n in range(5):
            assert await mine.tell(key, f"before {n}") == n + 1
        await theirs.hear(5)
        await mine.hear(5)
        if graceful:
            restart = asyncio.create_task(asyncio.to_thread(platform.control.restart, name))
        else:
            restart = asyncio.create_task(asyncio.to_thread(platform.control.kill, name))
        assert await mine.closed() == code
        for n in range(3):
            await theirs.tell(key, f"meanwhile {n}")
        again = await resumed(survivors, mine, ann, key)
        assert again.frames[0]["user"] == ann.id
        await again.hear(3)
        assert again.texts() == [f"meanwhile {n}" for n in range(3)]
        assert await again.tell(key, "after") == 9
        await restart
        await theirs.hear(9)
        assert theirs.seqs(key) == list(range(1, 10))
        assert [m["seq"] for m in await survivors.history(ann, key)] == list(range(1, 10))
        assert theirs.code is None, "the other replica's sockets were cut as well"

    @pytest.mark.fails_with("Z7")
    async def test_messages_in_flight_are_never_lost(self, survivors: Factory, tmp_path: Path) -> None:
        """Both replicas die one after the other under load; cut clients resume and retry; the judge returns PASS."""
        platform = survivors.platform
        crowd = crowd_on(platform, survivors.http, tmp_path, users=12, sizes=(4, 12), judged_by=JUDGED_BY)
        async with crowd, crowd.talking(PACE_S):
            for name in platform.replicas:
                with crowd.fault(f"kill {name}"):
                    await asyncio.to_thread(platform.control.kill, name)
                    await asyncio.to_thread(platform.control.start, name)
                await crowd.go_on(AFTER_A_FAULT)
        cuts = Counter(code for user in crowd.users for code in user.cuts)
        assert cuts[LOST] >= len(crowd.users), f"the faults were not noticed: {cuts}"
        assert set(cuts) <= {LOST, 1011, SERVICE_RESTART}, cuts
        sent = sum(user.session.counter for user in crowd.users)
        crowd.assert_passed(I1=sent // 2, I4=sent, I5a=sent, I5b=sent, I6=sent, I7=sent, I12=sent)
        assert crowd.check("H2")["facts"]["faults"] == len(platform.replicas)

    @pytest.mark.fails_with("Z37")
    async def test_rolling_deployment_simulation(self, survivors: Factory, tmp_path: Path) -> None:
        """All services restart in turn under load: no request through the load balancer fails, no message is lost."""
        platform = survivors.platform
        visitors = Visitors(survivors, await survivors.log_in())
        crowd = crowd_on(platform, survivors.http, tmp_path, users=12, sizes=(4, 12), judged_by=JUDGED_BY)
        services = [*platform.replicas, "auth", "frontend"]
        async with crowd, crowd.talking(PACE_S):
            visiting = asyncio.create_task(visitors.run())
            for name in services:
                with crowd.fault(f"restart {name}"):
                    await asyncio.to_thread(platform.control.restart, name)
                await crowd.go_on(AFTER_A_FAULT)
            visitors.over = True
            await visiting
        assert visitors.read.keys() == {200}, f"{visitors.read}, last {visitors.unexpected}"
        assert visitors.read[200] > 50
        assert visitors.longest_s < BACK_S
        cuts = Counter(code for user in crowd.users for code in user.cuts)
        assert set(cuts) == {SERVICE_RESTART}, f"a graceful restart says 1012 to everybody: {cuts}"
        assert cuts[SERVICE_RESTART] >= len(crowd.users)
        sent = sum(user.session.counter for user in crowd.users)
        crowd.assert_passed(I1=sent // 2, I4=sent, I5a=sent, I5b=sent, I6=sent, I7=sent, I12=sent)
        assert crowd.check("H2")["facts"]["faults"] == len(services)
        new = await survivors.log_in()
        assert (await survivors.connect(new)).frames[0]["user"] == new.id

    @pytest.mark.fails_with("S24")
    async def test_sessions_survive_auth_and_redis_restarts(self, survivors: Factory) -> None:
        """Sessions are in the database: after restarts of Auth and Redis a refresh token still works, once."""
        platform = survivors.platform
        ann, revoked = await survivors.log_in_many(2)
        logged_out = await survivors.http.post(f"{platform.auth}/auth/logout", headers=revoked.bearer)
        assert logged_out.status_code == 200
        for name in ("auth", "valkey"):
            await asyncio.to_thread(platform.control.restart, name, graceful=False)

        async def served() -> bool:
            return (await survivors.get(f"{platform.edge}/api/me", ann.token)).status_code == 200

        await eventually("service after the restarts", served, RECOVERY_S)

        async def refused() -> bool:
            return (await survivors.get(f"{platform.edge}/api/me", revoked.token)).status_code == 401

        await eventually("the revocation known again", refused, RECOVERY_S)
        body = {"refresh_token": ann.refresh_token}

        async def refreshed() -> Any:
            answer = await survivors.http.post(f"{platform.auth}/auth/refresh", json=body)
            return answer if answer.status_code != 503 else None

        answer = await eventually("a refresh", refreshed, RECOVERY_S)
        assert answer.status_code == 200, answer.text
        assert (await survivors.http.post(f"{platform.auth}/auth/refresh", json=body)).status_code == 401

    @pytest.mark.fails_with("Z30")
    async def test_everything_restarts_at_once(self, survivors: Factory) -> None:
        """After a power cut of the whole platform, acknowledged messages exist, numbers continue, clients return."""
        platform = survivors.platform
        ann, bob = await survivors.log_in_many(2)
        key = await survivors.conversation(ann, bob)
        mine = await survivors.connect(ann)
        for n in range(20):
            assert await mine.tell(key, f"message {n}") == n + 1
        await mine.hear(20)
        names = [name for name in platform.control.status() if name != "edge"]
        await asyncio.gather(*(asyncio.to_thread(platform.control.kill, name) for name in names))
        assert await mine.closed() == LOST
        await asyncio.to_thread(platform.settle)

        async def served() -> bool:
            return (await survivors.get(f"{platform.edge}/api/me", bob.token)).status_code == 200

        await eventually("service after the power cut", served, RECOVERY_S)
        again = await resumed(survivors, mine, ann, key)
        assert await again.tell(key, "after the power cut") == 21
        assert [m["seq"] for m in await survivors.history(bob, key)] == list(range(1, 22))
        new = await survivors.log_in()
        assert (await survivors.connect(new)).frames[0]["user"] == new.id
