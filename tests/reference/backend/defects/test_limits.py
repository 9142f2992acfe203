"""Budgets that are no budgets. Each test says what a person gets, here and on the healthy platform."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from earwitness.harness.defects import limits
from earwitness.harness.defects.chance import Chance
from earwitness.harness.reference.limits import Limiter

BUDGET = {"rate_per_s": 0.01, "rate_burst": 10}


@pytest.fixture
def pair(one_replica: Any, spawn_service: Any) -> Callable[..., list[Any]]:
    """`pair("Z54:1", …, **settings)`: two replicas with these defects."""

    def start(*orders: str, **changes: Any) -> list[Any]:
        settings = {**one_replica.settings, **BUDGET, **changes}
        names = [f"pair-{uuid.uuid4().hex[:6]}" for _ in range(2)]
        both = [spawn_service(name, settings, orders, module="backend", wait=False) for name in names]
        return [one.wait_ready() for one in both]

    return start


async def ask(replica: Any, user: Any, times: int, **headers: str) -> list[httpx.Response]:
    """So many requests one after the other."""
    async with httpx.AsyncClient(timeout=30, headers={**user.bearer, **headers}) as client:
        return [await client.get(f"{replica.url}/api/me") for _ in range(times)]


def passed(answers: list[httpx.Response]) -> int:
    assert {answer.status_code for answer in answers} <= {200, 429}
    return sum(answer.status_code == 200 for answer in answers)


@pytest.mark.parametrize(("orders", "second"), [((), 0), (("Z54:1",), 10)], ids=["healthy", "Z54"])
async def test_a_budget_for_each_process(pair: Any, one_replica: Any, truth_of: Any, orders: Any, second: int) -> None:
    """Z54: who has used up the budget on one replica has a whole one on the other."""
    replicas = pair(*orders)
    (user,) = await one_replica.log_in_many(1)
    assert [passed(await ask(replica, user, 15)) for replica in replicas] == [10, second]
    fired = [line for replica in replicas for line in truth_of(replica).fired]
    assert sum(line["beyond"] for line in fired) == second
    assert all(line["user"] == user.id for line in fired)
    assert [len(truth_of(replica).manifest) for replica in replicas] == [0, second]


@pytest.mark.parametrize(("orders", "beyond"), [((), 0), (("Z55:1",), 10)], ids=["healthy", "Z55"])
async def test_a_budget_for_each_address(pair: Any, one_replica: Any, truth_of: Any, orders: Any, beyond: int) -> None:
    """Z55: with another X-Forwarded-For the budget is whole again."""
    replica, _ = pair(*orders)
    (user,) = await one_replica.log_in_many(1)
    assert passed(await ask(replica, user, 15)) == 10
    assert passed(await ask(replica, user, 15, **{"X-Forwarded-For": "10.1.2.3, 127.0.0.1"})) == beyond
    assert len(truth_of(replica).manifest) == len(truth_of(replica).fired) == beyond


@dataclass
class Service:
    """What a defect of the limiter needs of a service."""

    name: str
    limiter: Limiter
    redis: Any


@pytest.fixture
def limited(valkey: Any) -> Callable[..., Service]:
    def make(rate_per_s: float, burst: int) -> Service:
        return Service(uuid.uuid4().hex, Limiter(valkey, rate_per_s, burst), valkey)

    return make


def said(capsys: pytest.CaptureFixture[str], kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [line for line in lines if kind in line]


async def test_a_burst_at_each_side_of_the_clock(
    limited: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Z56: 100 just before the turn of a window and 100 just after it, where a bucket has no more than 100."""
    service = limited(0.01, 100)
    healthy = Limiter(service.redis, 0.01, 100)
    limits.FixedWindow(service, Chance("Z56", "backend", 1.0))
    user, start = uuid.uuid4().hex, 1_000_000 * 10_000.0
    granted = []
    for moment in (start - 0.1, start + 0.1):
        monkeypatch.setattr(limits.time, "time", lambda moment=moment: moment)
        decision = await service.limiter.take(user, 80)
        granted += [decision.allowed, (await service.limiter.take(user, 80)).allowed]
        assert decision.remaining == 20
    assert granted == [80, 20, 80, 20]
    assert sum(line["beyond"] for line in said(capsys, "defect")) == 100
    assert (await healthy.take(user)).allowed == 0


async def test_charged_to_the_neighbour(limited: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Z57: each pays for the other's; the quiet one is refused within the budget, the loud one admitted beyond it."""
    service = limited(0.001, 10)
    limits.WrongUser(service, Chance("Z57", "backend", 1.0))
    loud, quiet = uuid.uuid4().hex, uuid.uuid4().hex
    passed = {loud: 0, quiet: 0}
    for _ in range(10):
        for user, n in ((loud, 2), (quiet, 1)):
            passed[user] += (await service.limiter.take(user, n)).allowed
    assert passed == {loud: 12, quiet: 8}
    manifest = said(capsys, "manifest")
    assert {(line["user"], line["beyond"] > 0) for line in manifest} == {(loud, True), (quiet, False)}


async def test_when_to_come_again(pair: Any, one_replica: Any, truth_of: Any) -> None:
    """Z58: Retry-After is missing or 0, in HTTP and in frames, though a token takes 100 s."""
    replica, _ = pair("Z58:1")
    (user,) = await one_replica.log_in_many(1)
    refused = [answer for answer in await ask(replica, user, 20) if answer.status_code == 429]
    assert len(refused) == 10
    stated = [answer.headers.get("Retry-After", "") for answer in refused]
    assert set(stated) == {"", "0"}
    assert [line["stated"] for line in truth_of(replica).fired] == stated
    assert {answer.json().get("retry_after") for answer in refused} == {None, 0.0}


async def test_messages_have_the_same_budget(pair: Any, one_replica: Any, truth_of: Any) -> None:
    """Z54 and Z58 with frames: beyond the budget on the second replica, then nacks that do not say when."""
    replicas = pair("Z54:1", "Z58:1", rate_per_s=0.01, rate_burst=10)
    platform = replace(one_replica, backends=replicas, sockets=[])
    (user,) = await platform.log_in_many(1)
    key = await one_replica.room([user])
    for replica in (0, 1):
        socket = await platform.connect(user, replica)
        for n in range(12):
            await socket.send(key, f"{n}")
        await socket.until(lambda s=socket: len(s.all("ack")) + len(s.all("nack")) == 12, "answers")
        assert len(socket.all("ack")) == 10
        assert all(nack.get("retry_after") in (None, 0.0) for nack in socket.all("nack"))
    await platform.end()
    assert sum(line["beyond"] for line in truth_of(replicas[1]).of("Z54")) == 10


async def test_without_a_budget_there_is_nothing_to_break(one_replica: Any, spawn_service: Any) -> None:
    """A replica that limits nobody refuses to start with such a defect, in one sentence."""
    service = spawn_service(
        "unlimited", {**one_replica.settings, "rate_per_s": None}, ("Z54:1",), module="backend", wait=False
    )
    assert service.process.wait(60) == 2
    assert "limit-per-process needs a budget: give unlimited a rate_per_s" in service.log.read_text()
