"""Scenario 8: one rate budget for each person over auth, backend and WebSocket; true headers; no effect on others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

from pytest_suite.chat import Socket
from pytest_suite.crowd import crowd_on
from pytest_suite.factory import Factory, User, bearer
from pytest_suite.limits import ABUSE_NACKS, RATE_BURST, RATE_PER_S, Asked, most_overspent

pytestmark = [pytest.mark.critical, pytest.mark.p1]

BURST = 1000
REFILL_S = 1 / RATE_PER_S
FLOOD_S = 3.0
REFUSALS = 5
SLACK_S = 0.3
"""Seconds allowed between the end of a wait and the request that is sent after it."""


def places(people: Factory) -> dict[str, str]:
    """Return name → URL of every service that charges requests to a person's rate budget."""
    platform = people.platform
    found = {"auth": f"{platform.auth}/auth/me", "backend": f"{platform.edge}/api/me"}
    found |= {name: f"{url}/api/me" for name, url in platform.replicas.items()}
    return found | {"frontend": f"{platform.frontend}/api/me", "frontend to auth": f"{platform.frontend}/auth/me"}


async def ask(
    http: httpx.AsyncClient, place: str, url: str, token: str, **headers: str
) -> tuple[Asked, httpx.Response]:
    """Send one request and return its outcome and the answer; assert that it was answered with 200 or 429."""
    sent = time.monotonic()
    answer = await http.get(url, headers={**bearer(token), **headers})
    assert answer.status_code in (200, 429), f"{place}: expected 200 or 429, got {answer.status_code} {answer.text}"
    return Asked(sent, time.monotonic(), place, answer.status_code == 200), answer


async def pour(socket: Socket, key: str, count: int, place: str = "socket") -> list[Asked]:
    """Send `count` messages as fast as possible; return the outcome of each answered message."""
    sent: dict[str, float] = {}
    begin = len(socket.frames)
    for n in range(count):
        message_id = f"{place}-{key}-{n}-{begin}"
        sent[message_id] = time.monotonic()
        await socket.send(key, f"message {n}", message_id)

    def answers() -> dict[str, bool]:
        return {f["id"]: f["type"] == "ack" for f in socket.frames[begin:] if f["type"] in ("ack", "nack")}

    await socket.until(
        lambda: socket.code is not None or sent.keys() <= answers().keys(), f"answers to {count} messages"
    )
    now = time.monotonic()
    return [Asked(sent[i], now, place, granted) for i, granted in answers().items() if i in sent]


async def drained(people: Factory, user: User) -> list[Asked]:
    """Send requests to auth until the person's rate budget is used up; return their outcomes."""
    url = places(people)["auth"]
    answers = await asyncio.gather(*(ask(people.http, "auth", url, user.token) for _ in range(RATE_BURST + 10)))
    assert any(not asked.granted for asked, _ in answers)
    return [asked for asked, _ in answers]


class TestRateLimitingUnified:
    """Rate budgets at every service and socket that charges requests."""

    @pytest.mark.fails_with("Z54")
    async def test_api_rate_limits_cross_service(self, limited: Factory) -> None:
        """Requests to all services and a socket share one budget: together they get exactly what it grants."""
        user = await limited.log_in()
        key = await limited.conversation(user)
        socket = await limited.connect(user)
        begin = time.monotonic()
        where = places(limited)
        asked: list[Asked] = []

        async def use(place: str, url: str) -> None:
            # More requests than the budget can grant, however fast the others are.
            for _ in range(2 * RATE_BURST):
                asked.append((await ask(limited.http, place, url, user.token))[0])
                if sum(not a.granted for a in asked if a.place == place) >= REFUSALS:
                    return

        pouring = asyncio.create_task(pour(socket, key, 2 * RATE_BURST))
        await asyncio.gather(*(use(place, url) for place, url in where.items()))
        asked += await pouring
        granted = sum(a.granted for a in asked)
        assert most_overspent(asked) <= 0, f"{granted} granted over {len(where) + 1} places"
        spent_on_setting_up = 1
        assert granted >= RATE_BURST - spent_on_setting_up, "refused although there was budget left"
        assert granted <= RATE_BURST + RATE_PER_S * (time.monotonic() - begin)
        for place in [*where, "socket"]:
            assert any(not a.granted for a in asked if a.place == place), f"{place} never refused"

    @pytest.mark.fails_with("Z54")
    async def test_used_up_at_one_is_used_up_at_all(self, limited: Factory) -> None:
        """After a budget was used up at auth alone, every other place refuses too: HTTP 429, and a nack with 429."""
        user = await limited.log_in()
        key = await limited.conversation(user)
        socket = await limited.connect(user)
        asked = await drained(limited, user)
        answers = await asyncio.gather(
            *(ask(limited.http, place, url, user.token) for place, url in places(limited).items() for _ in range(3))
        )
        asked += [a for a, _ in answers]
        assert most_overspent(asked) <= 0
        for place in places(limited):
            refused = [r for a, r in answers if a.place == place and not a.granted]
            assert refused, f"{place} granted everything"
            assert refused[0].json()["error"] == "rate_limited"
        poured = await pour(socket, key, 5)
        assert sum(a.granted for a in poured) <= 2
        nack = socket.all("nack")[0]
        assert nack["code"] == 429
        assert 0 < nack["retry_after"] <= REFILL_S
        assert socket.code is None

    @pytest.mark.fails_with("Z58")
    async def test_rate_limit_headers_are_true(self, limited: Factory) -> None:
        """Limit, Remaining and Reset are true at every place; Retry-After is long enough and not too long."""
        user = await limited.log_in()
        for number, (place, url) in enumerate(places(limited).items()):
            before = time.monotonic()
            _, answer = await ask(limited.http, place, url, user.token)
            assert int(answer.headers["x-ratelimit-limit"]) == RATE_BURST, place
            remaining = int(answer.headers["x-ratelimit-remaining"])
            refilled = RATE_PER_S * (time.monotonic() - before) * (number + 1) + 1
            assert RATE_BURST - 1 - number <= remaining <= RATE_BURST - 1 - number + refilled, place
            reset_s = int(answer.headers["x-ratelimit-reset"])
            assert (RATE_BURST - 1 - remaining) / RATE_PER_S <= reset_s <= (RATE_BURST - remaining) / RATE_PER_S + 1
            assert "retry-after" not in answer.headers
        await drained(limited, user)
        for place, url in places(limited).items():
            refused = await self._refused(limited, place, url, user)
            assert refused.headers["x-ratelimit-remaining"] == "0", place
            wait_s = int(refused.headers["retry-after"])
            assert 1 <= wait_s <= REFILL_S + 1, place
        await asyncio.sleep(wait_s)
        again, _ = await ask(limited.http, place, url, user.token)
        assert again.granted, "refused although Retry-After had passed"

    async def _refused(self, people: Factory, place: str, url: str, user: User) -> httpx.Response:
        """Return the first refusal among up to three requests; fail if there is none.

        A single request may be granted, because the budget was just refilled by one.
        """
        for _ in range(3):
            asked, answer = await ask(people.http, place, url, user.token)
            if not asked.granted:
                return answer
        pytest.fail(f"{place} granted three requests in a row of a budget that is used up")

    @pytest.mark.fails_with("backend=Z55")
    async def test_a_budget_cannot_be_widened(self, limited: Factory) -> None:
        """Other client addresses, new connections, new tokens and a second device all use the same budget."""
        user = await limited.log_in()
        asked = await drained(limited, user)
        device = await limited.log_in(user.email)
        url = places(limited)["backend"]
        spoofed = [
            {"X-Forwarded-For": f"10.0.0.{n}", "X-Real-IP": f"10.0.1.{n}", "Forwarded": f"for=10.0.2.{n}"}
            for n in range(10)
        ]
        answers = await asyncio.gather(*(ask(limited.http, "backend", url, user.token, **more) for more in spoofed))
        asked += [a for a, _ in answers]
        asked += [(await ask(limited.http, "backend", url, device.token))[0] for _ in range(5)]
        for n in range(5):
            async with httpx.AsyncClient(timeout=10, verify=False, trust_env=False) as fresh:
                asked.append((await ask(fresh, "backend", url, user.token, **{"User-Agent": f"other-{n}"}))[0])
        assert most_overspent(asked) <= 0
        late = asked[RATE_BURST + 10 :]
        assert sum(not a.granted for a in late) >= len(late) // 2

    @pytest.mark.fails_with("Z57")
    async def test_neighbours_are_not_charged(self, limited: Factory) -> None:
        """While one person has used up a budget and continues, another's is whole, from the same address."""
        abuser, neighbour = await limited.log_in_many(2)
        await drained(limited, abuser)
        for number, (place, url) in enumerate(places(limited).items()):
            for _ in range(3):
                await ask(limited.http, place, url, abuser.token)
            asked, answer = await ask(limited.http, place, url, neighbour.token)
            assert asked.granted, place
            assert int(answer.headers["x-ratelimit-remaining"]) >= RATE_BURST - 1 - number, place

    @pytest.mark.fails_with("Z11")
    async def test_a_burst_beyond_the_budget(self, limited: Factory) -> None:
        """Of 1,000 messages at once the budget's worth is stored and received in order; the rest has no effect."""
        ann, bob = await limited.log_in_many(2)
        key = await limited.conversation(ann, bob)
        mine, theirs = await limited.connect(ann), await limited.connect(bob)
        asked = await pour(mine, key, BURST)
        assert len(asked) == BURST
        assert most_overspent(asked) <= 0
        acked = [f["id"] for f in mine.all("ack")]
        assert RATE_BURST - 1 <= len(acked) <= RATE_BURST + RATE_PER_S * 10
        assert {f["code"] for f in mine.all("nack")} == {429}
        await theirs.hear(len(acked))
        await theirs.fence()
        assert [f["id"] for f in theirs.all("message")] == acked
        assert theirs.seqs(key) == list(range(1, len(acked) + 1))
        assert [m["id"] for m in await limited.history(bob, key)] == acked

    @pytest.mark.fails_with("S22")
    async def test_a_burst_within_the_budget(self, people: Factory) -> None:
        """The same 1,000 messages where the budget allows them: not one is refused."""
        ann, bob = await people.log_in_many(2)
        key = await people.conversation(ann, bob)
        mine, theirs = await people.connect(ann), await people.connect(bob)
        asked = await pour(mine, key, BURST)
        assert [a.granted for a in asked] == [True] * BURST
        await theirs.hear(BURST)
        assert theirs.seqs(key) == list(range(1, BURST + 1))

    @pytest.mark.fails_with("S23")
    async def test_an_abusers_socket_is_closed(self, limited: Factory) -> None:
        """The socket of a person who continues after many refusals is closed with 4429; the other members stay."""
        abuser, bob = await limited.log_in_many(2)
        key = await limited.conversation(abuser, bob)
        socket, control = await limited.connect(abuser), await limited.connect(bob)
        for n in range(ABUSE_NACKS + RATE_BURST + 100):
            if socket.code is not None:
                break
            await socket.connection.send(f'{{"type":"send","conversation":"{key}","id":"{n}","text":"{n}"}}')
        assert await socket.closed() == 4429
        assert len(socket.all("nack")) == ABUSE_NACKS
        await control.fence()
        assert control.code is None
        assert await control.tell(key, "peace at last") == len(socket.all("ack")) + 1

    @pytest.mark.timeout(180)
    @pytest.mark.fails_with("Z57")
    async def test_ddos_protection(self, limited: Factory, tmp_path: Path) -> None:
        """Under a flood of requests, messages and forged tokens, other people keep order, answers and speed."""
        abusers = await limited.log_in_many(3, "abuser")
        keys = [await limited.conversation(user) for user in abusers]
        flood, begin = Flood(limited), time.monotonic()
        promises = {"rate_per_s": RATE_PER_S, "rate_burst": RATE_BURST}
        crowd = crowd_on(
            limited.platform, limited.http, tmp_path, users=6, sizes=(3, 6), promises=promises,
            judged_by=("I1", "I2", "I4", "I5a", "I5b", "I6", "I7", "I8", "I10", "I12", "I15"),
        )  # fmt: skip
        async with crowd:
            tasks = [asyncio.create_task(work) for work in flood.work(abusers, keys)]
            try:
                await crowd.everybody(lambda w: w.say_for(FLOOD_S, 0.25))
            finally:
                flood.over = True
                await asyncio.gather(*tasks)
        assert sum(user.session.refused for user in crowd.users) == 0, "a well-behaved person was refused"
        assert all(user.session.acked == user.session.counter >= 6 for user in crowd.users)
        sent = sum(user.session.counter for user in crowd.users)
        crowd.assert_passed(I1=sent, I5a=sent, I5b=sent, I12=sent)
        assert flood.statuses.keys() <= {200, 401, 429}, flood.statuses
        took_s = time.monotonic() - begin
        granted = flood.statuses.get(200, 0) + flood.granted
        assert granted <= len(abusers) * (RATE_BURST + RATE_PER_S * took_s), f"{granted} granted: {flood.statuses}"
        assert flood.statuses[429] > 50, flood.statuses
        assert flood.statuses[401] > 10, flood.statuses
        assert flood.refused > 50
        await asyncio.sleep(1 + SLACK_S)
        for user in abusers:
            asked, _ = await ask(limited.http, "backend", places(limited)["backend"], user.token)
            assert asked.granted, "an abuser who has stopped is still locked out"


class Flood:
    """Requests of a few abusive users.

    `statuses` counts the HTTP answers by status, `granted` and `refused` the messages.
    """

    def __init__(self, people: Factory) -> None:
        self.people, self.over = people, False
        self.statuses: dict[int, int] = {}
        self.granted = self.refused = 0

    def work(self, users: list[User], keys: list[str]) -> list[Coroutine[Any, Any, None]]:
        """Return coroutines that send requests, forged tokens and messages until `over` is set."""
        urls = [places(self.people)[place] for place in ("auth", "backend", "frontend")]
        requests = [self._ask(url, user.token) for url in urls for user in users]
        forged = [self._ask(url, f"{users[0].token[:-8]}{n:08d}") for n, url in enumerate(urls)]
        return requests + forged + [self._talk(user, key) for user, key in zip(users, keys, strict=True)]

    async def _ask(self, url: str, token: str) -> None:
        while not self.over:
            status = (await self.people.http.get(url, headers=bearer(token))).status_code
            self.statuses[status] = self.statuses.get(status, 0) + 1

    async def _talk(self, user: User, key: str) -> None:
        socket = await self.people.connect(user)
        while not self.over and socket.code is None:
            asked = await pour(socket, key, 50)
            self.granted += sum(a.granted for a in asked)
            self.refused += sum(not a.granted for a in asked)
            await asyncio.sleep(0.05)
