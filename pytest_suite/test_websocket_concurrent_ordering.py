"""Scenario 5: order, completeness and isolation of messages under load, judged by the checks of load tests."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pytest_suite.crowd import crowd_on
from pytest_suite.factory import Factory
from pytest_suite.under_test import UnderTest

pytestmark = [pytest.mark.critical, pytest.mark.p0, pytest.mark.timeout(240)]

JUDGED_BY = ("I1", "I2", "I4", "I5a", "I5b", "I6", "I7", "I8", "I10", "I12", "I15")
USERS = 100
SIZES = (5, 10, USERS)
SMALL, MIDDLE, LARGE = range(len(SIZES))
BURST, BURST_S = 1000, 1.0
MEMORY_MB = {"auth": 300.0, "backend": 400.0, "frontend": 200.0}
"""Kind of service → the resident memory in MB below which each of its processes must stay."""
PROBE_S = 2.0
"""Longest time in s of an answer that counts as responsive, on two cores that the load generator shares."""
PROBE_PAUSE_S, WEIGH_PAUSE_S = 0.05, 0.5


class Probe:
    """REST client during the load, which measures the times of answers and the memory of the services.

    `answers`: (status, seconds) of each request; `peak_mb`: highest resident memory by kind of service, in MB.
    """

    def __init__(self, platform: UnderTest, http: httpx.AsyncClient, token: str) -> None:
        self.platform, self.http = platform, http
        self.headers = {"Authorization": f"Bearer {token}"}
        self.answers: list[tuple[int, float]] = []
        self.peak_mb: dict[str, float] = {}

    async def run(self) -> None:
        """Send requests until cancelled; add the status and duration of each to `answers`."""
        url = f"{self.platform.edge}/api/me"
        while True:
            begin = time.monotonic()
            status = (await self.http.get(url, headers=self.headers)).status_code
            self.answers.append((status, time.monotonic() - begin))
            await asyncio.sleep(PROBE_PAUSE_S)

    async def weigh(self) -> None:
        """Read the memory of the services until cancelled; keep the highest of each kind of service in `peak_mb`."""
        while True:
            stats: dict[str, dict[str, Any]] = await asyncio.to_thread(self.platform.control.stats)
            for name, row in stats.items():
                kind = name.partition("-")[0]
                self.peak_mb[kind] = max(self.peak_mb.get(kind, 0.0), row["rss_bytes"] / 1e6)
            await asyncio.sleep(WEIGH_PAUSE_S)

    def assert_well(self, least: int) -> None:
        """Assert that `least` or more requests were made, all answered with 200 in time, and memory below MEMORY_MB."""
        assert len(self.answers) >= least, f"only {len(self.answers)} probes were made"
        assert {status for status, _ in self.answers} == {200}
        assert max(took for _, took in self.answers) < PROBE_S
        for kind, limit_mb in MEMORY_MB.items():
            assert 0 < self.peak_mb[kind] < limit_mb, f"{kind} took {self.peak_mb[kind]:.0f} MB"


@contextlib.asynccontextmanager
async def probing(platform: UnderTest, people: Factory) -> AsyncIterator[Probe]:
    """Run a probe within this context; fail at its end if the probe ended by an error."""
    user = await people.log_in()
    probe = Probe(platform, people.http, user.token)
    tasks = [asyncio.create_task(probe.run()), asyncio.create_task(probe.weigh())]
    try:
        yield probe
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), f"the probe ended with {ends}"


class TestWebSocketConcurrentOrdering:
    """Messages of many users at once."""

    @pytest.mark.fails_with("Z1:0.005")
    async def test_100_concurrent_websocket_ordering(
        self, request: pytest.FixtureRequest, platform: UnderTest, people: Factory, tmp_path: Path
    ) -> None:
        """100 users on 100 sockets send numbered messages at once, in small, middle and large rooms: PASS."""
        seed = request.config.option.seed
        crowd = crowd_on(platform, people.http, tmp_path, users=USERS, sizes=SIZES, judged_by=JUDGED_BY, seed=seed)
        async with crowd, probing(platform, people) as probe:
            await crowd.everybody(lambda w: w.say_many(w.rooms[SMALL], 10))
            await crowd.everybody(lambda w: w.say_many(w.rooms[MIDDLE], 5))
            await crowd.everybody(lambda w: w.say_many(w.rooms[LARGE], 2))
            await crowd.everybody(lambda w: w.say_for(2.0, 0.25))
        sent = sum(user.session.counter for user in crowd.users)
        assert sent >= USERS * 20
        assert len({user.credentials.user_id for user in crowd.users}) == USERS
        assert crowd.transport.opened == USERS
        crowd.assert_passed(
            I1=sent, I2=sent, I4=sent, I5a=sent, I5b=sent, I6=sent, I7=sent, I10=sent, I12=sent, I15=USERS
        )
        assert sum(not user.cuts for user in crowd.users) == USERS
        probe.assert_well(5)

    @pytest.mark.fails_with("Z2:0.1")
    async def test_burst_message_ordering(
        self, request: pytest.FixtureRequest, platform: UnderTest, people: Factory, tmp_path: Path
    ) -> None:
        """1,000 messages of one user in one second: all acknowledged, echoed, delivered and stored, in order."""
        seed = request.config.option.seed
        crowd = crowd_on(platform, people.http, tmp_path, users=5, sizes=(5,), judged_by=JUDGED_BY, seed=seed)
        async with crowd, probing(platform, people) as probe:
            (room,) = crowd.plan.rooms
            author = crowd.users[0]
            took = await author.burst(room, BURST, BURST_S)
            assert took < 1.5 * BURST_S, f"this machine needed {took:.2f} s to send what is to be sent in a second"
            assert (author.session.acked, author.session.refused) == (BURST, 0)
            await author.say_many(room, 1)
        crowd.assert_passed(I1=BURST, I4=BURST, I5a=BURST, I5b=BURST, I6=BURST, I10=BURST, I12=BURST)
        probe.assert_well(3)
        rows = await people.history(await people.log_in(author.person.email), room.label)
        assert [row["seq"] for row in rows] == list(range(1, BURST + 2))
        assert [row["id"] for row in rows] == [f"{crowd.plan.tag}-0-{n}" for n in range(1, BURST + 2)]
        assert {row["sender"] for row in rows} == {author.credentials.user_id}

    @pytest.mark.fails_with("Z3:0.5")
    async def test_two_bursts_cross(
        self, request: pytest.FixtureRequest, platform: UnderTest, people: Factory, tmp_path: Path
    ) -> None:
        """Two users flood one room over different replicas: all members see one order, each author's own is kept."""
        seed = request.config.option.seed
        crowd = crowd_on(platform, people.http, tmp_path, users=6, sizes=(6, 3), judged_by=JUDGED_BY, seed=seed)
        async with crowd:
            room = next(room for room in crowd.plan.rooms if len(room.members) == 6)
            authors = [0, 1, 2, 3]
            await asyncio.gather(*(crowd.users[n].burst(room, 300, BURST_S) for n in authors))
        crowd.assert_passed(I1=1200, I2=1200, I4=1200, I5a=1200, I5b=1200, I6=1200)
        assert len(crowd.verdict["replicas"]) >= min(2, len(platform.replicas))
