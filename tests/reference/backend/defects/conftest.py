"""Replicas with defects beside the healthy ones, and what they say about themselves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest


@dataclass(frozen=True)
class Truth:
    """The ground truth of one service so far."""

    fired: list[dict[str, Any]]
    manifest: list[dict[str, Any]]

    def of(self, defect: str) -> list[dict[str, Any]]:
        return [line for line in self.fired if line["defect"] == defect]


@pytest.fixture
def truth() -> Callable[[Any], Truth]:
    """`truth(platform)`: what the first replica has said."""

    def read(platform: Any) -> Truth:
        lines = [json.loads(line) for line in platform.backends[0].log.read_text().splitlines() if line[:2] == '{"']
        return Truth([line for line in lines if "defect" in line], [line for line in lines if "manifest" in line])

    return read


@pytest.fixture
async def defective(
    one_replica: Any, spawn_service: Any, request: pytest.FixtureRequest
) -> AsyncIterator[Callable[..., Any]]:
    """`defective("Z5:1", …, **backend settings)`: a platform whose first replica has these defects, its second none."""
    made = [one_replica]

    def start(*orders: str, **changes: Any) -> Any:
        name = f"backend-{request.node.name[:40]}"
        settings = {**one_replica.settings, **changes}
        backend = spawn_service(name, settings, orders, module="backend")
        made.append(replace(one_replica, backends=[backend, one_replica.backends[0]], sockets=[]))
        return made[-1]

    yield start
    for platform in made:
        await platform.end()
