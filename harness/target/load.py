"""Targets from files and from the description that a run keeps in run.json."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.errors import TargetError
from harness.target.description import read_description
from harness.target.generic import GenericTarget
from harness.target.protocol import Target
from harness.target.reference import ReferenceTarget


def open_target(description: Mapping[str, Any]) -> Target:
    """The target of a run: `{"kind": "reference", "endpoints": {…}, "options": {…}}` (options as ReferenceTarget's
    keywords, may be absent) or `{"kind": "file", "path": PATH}`. Raises TargetError or SettingsError."""
    kind = description.get("kind")
    if kind == "reference":
        return ReferenceTarget(description["endpoints"], **description.get("options", {}))
    if kind == "file":
        return load_target(Path(description["path"]))
    raise TargetError(f"Target kind {kind!r} is not known; it is reference or file.")


def load_target(path: Path | str) -> GenericTarget:
    """The target that a target.toml describes. Raises SettingsError naming every fault, TargetError if unsafe."""
    description = read_description(Path(path))
    target = GenericTarget(description)
    for url in (description.http, description.socket):
        if url and not is_loopback(url):
            _guard(target, url, str(path))
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
