"""The circuit breaker's state machine, by a clock of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from earwitness.harness.reference.breaker import CircuitBreaker, CircuitOpen, State


class Dependency:
    """Fails while told to, and counts how often it was asked."""

    def __init__(self) -> None:
        self.down, self.asked, self.now_s = False, 0, 0.0
        self.breaker = CircuitBreaker("it", (OSError,), failures=3, open_s=2.0, clock=lambda: self.now_s)

    async def answer(self) -> str:
        self.asked += 1
        if self.down:
            raise OSError("down")
        return "answer"

    async def call(self) -> str:
        return await self.breaker.call(self.answer)

    async def fail(self, times: int) -> None:
        for _ in range(times):
            with pytest.raises(OSError):
                await self.call()


@pytest.fixture
def dependency() -> Dependency:
    return Dependency()


async def test_it_opens_after_failures_in_a_row_only(dependency: Dependency) -> None:
    """A success in between starts the count again."""
    dependency.down = True
    await dependency.fail(2)
    dependency.down = False
    assert await dependency.call() == "answer"
    dependency.down = True
    await dependency.fail(2)
    assert dependency.breaker.state is State.CLOSED
    await dependency.fail(1)
    assert dependency.breaker.state is State.OPEN


async def test_a_probe_does_not_wait_long() -> None:
    """Whoever tries is soon answered as if it were still open, and then it is."""
    breaker = CircuitBreaker("it", (OSError,), failures=1, open_s=0.01, probe_s=0.05)

    async def fail() -> str:
        raise OSError("down")

    async def hang() -> str:
        await asyncio.sleep(10)
        return "answer"

    with pytest.raises(OSError, match="down"):
        await breaker.call(fail)
    await asyncio.sleep(0.02)
    with pytest.raises(CircuitOpen):
        await asyncio.wait_for(breaker.call(hang), 1.0)
    assert breaker.state is State.OPEN
    await asyncio.sleep(0.02)
    with pytest.raises(CircuitOpen):
        await asyncio.wait_for(breaker.call(hang), 1.0)
    assert not breaker.probing


async def test_each_call_is_told_in_the_log(dependency: Dependency, caplog: pytest.LogCaptureFixture) -> None:
    """When, in which state, whether the dependency was asked and whether it answered."""
    caplog.set_level("INFO")
    dependency.down = True
    await dependency.fail(3)
    with pytest.raises(CircuitOpen):
        await dependency.call()
    dependency.now_s, dependency.down = 2.0, False
    await dependency.call()
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("call {")]
    told = [json.loads(line[5:]) for line in lines]
    assert [(t["state"], t["called"], t["answered"]) for t in told] == [
        *[("closed", True, False)] * 3, ("open", False, False), ("half-open", True, True),
    ]  # fmt: skip
    assert all(t["begun_ns"] <= t["ended_ns"] and t["dependency"] == "it" for t in told)


async def test_open_it_does_not_ask(dependency: Dependency) -> None:
    """While it is open nobody is asked, and callers are told when to come again."""
    dependency.down = True
    await dependency.fail(3)
    dependency.now_s = 0.5
    with pytest.raises(CircuitOpen) as refused:
        await dependency.call()
    assert refused.value.retry_after_s == 1.5
    assert dependency.asked == 3


@pytest.mark.parametrize(("recovered", "state"), [(True, State.CLOSED), (False, State.OPEN)])
async def test_one_probe_decides(dependency: Dependency, recovered: bool, state: State) -> None:
    """After its time one call is let through, others meanwhile are not; its outcome is the new state."""
    dependency.down = True
    await dependency.fail(3)
    dependency.now_s, dependency.down = 2.0, not recovered
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        entered.set()
        await go_on.wait()
        return await dependency.answer()

    probe = asyncio.create_task(dependency.breaker.call(slow))
    await entered.wait()
    assert dependency.breaker.state is State.HALF_OPEN
    with pytest.raises(CircuitOpen):
        await dependency.call()
    go_on.set()
    (outcome,) = await asyncio.gather(probe, return_exceptions=True)
    assert (outcome == "answer") is recovered
    assert dependency.breaker.state is state
    assert dependency.asked == 4


async def test_a_cancelled_probe_leaves_room_for_the_next(dependency: Dependency) -> None:
    """A probe whose caller has gone decides nothing and blocks nobody."""
    dependency.down = True
    await dependency.fail(3)
    dependency.now_s, dependency.down = 2.0, False
    never: Callable[[], asyncio.Future[str]] = asyncio.get_running_loop().create_future
    probe = asyncio.create_task(dependency.breaker.call(never))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert dependency.breaker.state is State.HALF_OPEN
    assert await dependency.call() == "answer"
    assert dependency.breaker.state is State.CLOSED


async def test_other_exceptions_are_answers(dependency: Dependency) -> None:
    """A dependency that refuses is not down."""

    async def refuse() -> str:
        raise ValueError("no")

    for _ in range(5):
        with pytest.raises(ValueError, match="no"):
            await dependency.breaker.call(refuse)
    assert dependency.breaker.state is State.CLOSED
