"""Targets from files and from the description that a run keeps in run.json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from earwitness.harness.client.bounds import use
from earwitness.harness.dialects.protocol import Target
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.toml.addresses import check_addresses
from earwitness.harness.dialects.toml.description import read_description
from earwitness.harness.dialects.toml.dialect import GenericTarget
from earwitness.harness.errors import TargetError

SECRET_ENDPOINTS = frozenset({"auth_dsn", "main_dsn", "redis", "control"})
SECRETS_VARIABLE = "EARWITNESS_ENDPOINTS"
"""Endpoints that carry passwords reach the collector by this environment variable (JSON), never by run.json."""


def without_secrets(endpoints: Mapping[str, Any]) -> dict[str, Any]:
    """What of a platform's endpoints may be written down."""
    return {key: value for key, value in endpoints.items() if key not in SECRET_ENDPOINTS}


def secrets_environment(endpoints: Mapping[str, Any]) -> dict[str, str]:
    """The rest, for the environment of a process that needs it."""
    return {SECRETS_VARIABLE: json.dumps({key: endpoints[key] for key in SECRET_ENDPOINTS & set(endpoints)})}


def open_target(description: Mapping[str, Any]) -> Target:
    """The target of a run: `{"kind": "reference", "endpoints": {…}, "options": {…}}` (options as ReferenceTarget's
    keywords, may be absent) or `{"kind": "file", "path": PATH}`. Raises TargetError or SettingsError."""
    kind = description.get("kind")
    if kind == "reference":
        secrets = json.loads(os.environ.get(SECRETS_VARIABLE) or "{}")
        return ReferenceTarget({**description["endpoints"], **secrets}, **description.get("options", {}))
    if kind == "file":
        return load_target(Path(description["path"]))
    raise TargetError(f"Target kind {kind!r} is not known; it is reference or file.")


def load_target(path: Path | str) -> GenericTarget:
    """The target that a target.toml describes; its bounds are those of this process from now on. Raises SettingsError
    naming every fault, TargetError if unsafe."""
    description = read_description(Path(path))
    target = GenericTarget(description)
    use(description.bounds)
    here = check_addresses(
        description.addresses, target.network, allow_load=target.allow_load, max_users=target.max_users, path=str(path)
    )
    target.allow_load = target.allow_load or here
    return target


def check_users(target: Target, users: int) -> None:
    """Raises TargetError if a run has more users than the target's owner allows."""
    if not target.allow_load:
        raise TargetError(f"{target.name} does not allow load: set allow_load = true in its file.")
    if target.max_users is not None and users > target.max_users:
        raise TargetError(
            f"{target.name} allows {target.max_users} users (max_users), {users} were asked for: -u {target.max_users}."
        )
