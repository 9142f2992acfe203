from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from earwitness.harness.platform.edge import Edge
from earwitness.harness.platform.ports import ReservedPort

pytestmark = pytest.mark.usefixtures("temporary")


@pytest.fixture
def front() -> Iterator[ReservedPort]:
    reserved = ReservedPort("edge")
    yield reserved
    reserved.close()


async def test_the_edge_spreads_requests_and_outlives_the_death_of_a_backend(
    front: ReservedPort, standins: Any, supervised: Any, fetch: Any
) -> None:
    """Both backends are used; with one killed no GET fails; after its restart both are used again."""
    one, two = standins.spec("one"), standins.spec("two")
    edge = Edge(front, standins.ports).spec(after=("one", "two"))

    def who(n: int) -> set[str]:
        return {fetch(front.number)["name"] for _ in range(n)}

    async with supervised(one, two, edge) as supervisor:
        assert await asyncio.to_thread(who, 6) == {"one", "two"}
        await supervisor.kill("one")
        assert await asyncio.to_thread(who, 20) == {"two"}
        await supervisor.restart("one")
        async with asyncio.timeout(5):
            while await asyncio.to_thread(who, 4) != {"one", "two"}:
                await asyncio.sleep(0.02)


async def test_the_edge_itself_restarts_on_its_port(
    front: ReservedPort, standins: Any, supervised: Any, fetch: Any
) -> None:
    """SIGKILL and a new start: the same address answers."""
    one = standins.spec("one")
    async with supervised(one, Edge(front, standins.ports).spec(after=("one",))) as supervisor:
        await supervisor.restart("edge", graceful=False)
        assert (await asyncio.to_thread(fetch, front.number))["name"] == "one"
