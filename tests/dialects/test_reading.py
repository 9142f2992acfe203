"""Final reads: a read that its own request cuts short is no whole one."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from earwitness.harness.client.flow import Flow, FlowError
from earwitness.harness.dialects.parts import Parts
from earwitness.harness.dialects.protocol import Credentials, Person, Room, StoredRow
from earwitness.harness.dialects.reading import read_history
from earwitness.harness.dialects.toml.template import Template

ANN = Person(number=0, name="ann", email="ann@people.example")


async def read(count: int, limits: frozenset[int]) -> Sequence[StoredRow]:
    def history(credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        yield from ()
        return [StoredRow(text=f"{number}") for number in range(count)]

    target: Any = SimpleNamespace(parts=Parts(history_limits=limits), history=history)
    async with httpx.AsyncClient() as http:
        room = Room(number=0, label="r0", members=(ANN,))
        return await read_history(target, Credentials(person=ANN, user_id="ann", token=""), room, http)


@pytest.mark.parametrize(("count", "limits"), [(99, {100}), (100, set()), (100, {50}), (2, {2}), (0, {0})])
async def test_a_whole_read(count: int, limits: set[int]) -> None:
    """Another number of rows than the request names, or one so small that it is a version or a room."""
    assert len(await read(count, frozenset(limits))) == count


async def test_as_many_rows_as_the_request_names() -> None:
    """Its messages behind that are no lost ones: the read fails, and what needs it is UNKNOWN."""
    with pytest.raises(FlowError, match="exactly 100, which the request names: that may be its limit"):
        await read(100, frozenset({1, 100}))


def test_numbers_of_a_request() -> None:
    """Those that are written out; what stands in a placeholder is not known."""
    assert Template("/v2/rooms/{room}/log?limit=100&skip={offset}").numbers == {2, 100}
    assert Template({"room": "{room}", "limit": 100, "after": 0}).numbers == {100, 0}
