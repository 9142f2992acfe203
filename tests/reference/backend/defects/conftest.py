"""Replicas with defects beside the healthy ones, and what they say about themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest


@pytest.fixture
def truth(truth_of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`truth(platform)`: what the first replica has said."""
    return lambda platform: truth_of(platform.backends[0])


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
