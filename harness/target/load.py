"""Targets from files and from the description that a run keeps in run.json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.client.bounds import use
from harness.errors import TargetError
from harness.target.description import read_description
from harness.target.generic import GenericTarget
from harness.target.protocol import Target
from harness.target.reference import ReferenceTarget

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
    away = [url for url in (description.http, description.socket) if url and not is_loopback(url)]
    for url in away:
        _guard(target, url, str(path))
    target.allow_load = target.allow_load or not away
    return target


def is_loopback(url: str) -> bool:
    """The address is this machine by its own words; names other than localhost are not looked up."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _guard(target: Target, url: str, path: str) -> None:
    if target.allow_load and target.max_users is not None:
        return
    missing = [
        *(["allow_load = true"] if not target.allow_load else []),
        *(["max_users = 100"] if target.max_users is None else []),
    ]
    raise TargetError(
        f"{path}: {urlsplit(url).hostname} is not this machine; if its owner agrees to the load, "
        f"write {' and '.join(missing)} into the file."
    )


def check_users(target: Target, users: int) -> None:
    """Raises TargetError if a run has more users than the target allows."""
    if target.max_users is not None and users > target.max_users:
        raise TargetError(
            f"{target.name} allows at most {target.max_users} users (max_users), but {users} were asked for; "
            f"use --users {target.max_users}."
        )
