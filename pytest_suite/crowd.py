"""Virtual users of load tests, used in a functional test: `harness.run.crowd` on the platform of the session."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.registry import secrets_environment, without_secrets
from earwitness.harness.run.crowd import Crowd
from pytest_suite.under_test import UnderTest


def crowd_on(
    platform: UnderTest,
    http: httpx.AsyncClient,
    directory: Path,
    *,
    users: int,
    sizes: tuple[int, ...],
    judged_by: tuple[str, ...],
    seed: int = 1,
    promises: Mapping[str, Any] | None = None,
) -> Crowd:
    """Return `users` virtual users whose run is judged by the contract of the reference platform.

    `sizes`: members of each room; `judged_by`: ids of the checks; `promises`: keys of the contract to use instead.
    """
    endpoints = platform.endpoints
    return Crowd(
        ReferenceTarget(endpoints, promises=promises),
        http,
        directory,
        description={"kind": "reference", "endpoints": without_secrets(endpoints)},
        environment=secrets_environment(endpoints),
        tag=platform.tag,
        users=users,
        sizes=sizes,
        judged_by=judged_by,
        seed=seed,
    )
