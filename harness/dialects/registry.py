"""Registry of targets: opens them from files, and from the description that a run keeps in run.json."""

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
"""Endpoints whose addresses carry passwords."""
SECRETS_VARIABLE = "EARWITNESS_ENDPOINTS"
"""Environment variable (JSON) by which those endpoints reach the collector, since run.json must not contain them."""


def without_secrets(endpoints: Mapping[str, object]) -> dict[str, object]:
    """Return the endpoints of a platform without those that hold secrets; the result may be written to a file."""
    return {key: value for key, value in endpoints.items() if key not in SECRET_ENDPOINTS}


def secrets_environment(endpoints: Mapping[str, object]) -> dict[str, str]:
    """Return environment variables that hand the secret endpoints of a platform to a child process.

    One variable, SECRETS_VARIABLE, holds them as JSON. `open_target` reads it.
    """
    return {SECRETS_VARIABLE: json.dumps({key: endpoints[key] for key in SECRET_ENDPOINTS & set(endpoints)})}


def open_target(description: Mapping[str, Any]) -> Target:
    """Return the target of a run from its description.

    The description is `{"kind": "reference", "endpoints": {…}, "options": {…}}` (options as ReferenceTarget's keywords,
    may be absent) or `{"kind": "file", "path": PATH}`. Raises TargetError or SettingsError.
    """
    kind = description.get("kind")
    if kind == "reference":
        secrets = json.loads(os.environ.get(SECRETS_VARIABLE) or "{}")
        return ReferenceTarget({**description["endpoints"], **secrets}, **description.get("options", {}))
    if kind == "file":
        return load_target(Path(description["path"]))
    raise TargetError(f"Target kind {kind!r} is not known; it is reference or file.")


def load_target(path: Path | str) -> GenericTarget:
    """Return the target that a target file describes.

    The limits of the file apply to everything that this process reads from now on. Raises SettingsError, which names
    every mistake of the file, and TargetError if the target is unsafe.
    """
    description = read_description(Path(path))
    target = GenericTarget(description)
    use(description.bounds)
    here = check_addresses(
        description.addresses, target.network, allow_load=target.allow_load, max_users=target.max_users, path=str(path)
    )
    target.allow_load = target.allow_load or here
    return target


def check_users(target: Target, users: int) -> None:
    """Raise TargetError if the target does not allow load, or allows fewer than `users` users."""
    if not target.allow_load:
        raise TargetError(f"{target.name} does not allow load: set allow_load = true in its file.")
    if target.max_users is not None and users > target.max_users:
        raise TargetError(
            f"{target.name} allows {target.max_users} users (max_users), {users} were asked for: -u {target.max_users}."
        )
