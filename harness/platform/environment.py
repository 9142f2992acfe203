"""Conversion of the test environment's settings (`harness.settings`) to options of a platform."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from earwitness.harness.errors import SettingsError
from earwitness.harness.platform.stack import BACKEND, StackOptions
from earwitness.harness.settings import Settings, how_to_set

SERVICE_OF = {"auth": "auth_service", "edge": "backend", "frontend": "frontend"}
"""Section of the settings by the service that has the port. The backends' one address is that of the edge."""


def with_settings(options: StackOptions, settings: Settings) -> StackOptions:
    """Return `options` completed by the settings. Values that `options` already has take precedence."""
    ports = {name: port for name, port in _ports(settings).items() if port is not None and name not in options.ports}
    modes = {
        "auth": settings.auth_service.test_mode,
        BACKEND: settings.backend.test_mode,
        "frontend": settings.frontend.test_mode,
    }
    of_services: dict[str, Mapping[str, object]] = dict(options.settings)
    for name, mode in modes.items():
        of_services[name] = {"test_mode": mode, **of_services.get(name, {})}
    return dataclasses.replace(
        options,
        settings=of_services,
        ports={**options.ports, **ports},
        port_words={name: how_to_set(SERVICE_OF[name], "port", "NUMBER") for name in ports},
        databases={"auth": settings.auth_service.database, "main": settings.backend.database},
        redis=settings.backend.redis,
        api_url=settings.frontend.api_url,
    )


def check_fits(endpoints: Mapping[str, Any], settings: Settings) -> None:
    """Raise SettingsError if a running platform differs from settings that a user has set explicitly."""
    usual = Settings()
    faults = []
    for name, port in _ports(settings).items():
        if port not in (None, urlsplit(endpoints[name]).port):
            faults.append(f"{SERVICE_OF[name]}.port is {port}, but it answers at {endpoints[name]}")
    for service, wanted, default, dsn in (
        ("auth_service", settings.auth_service.database, usual.auth_service.database, endpoints["auth_dsn"]),
        ("backend", settings.backend.database, usual.backend.database, endpoints["main_dsn"]),
    ):
        has = urlsplit(dsn).path.lstrip("/")
        if wanted not in (default, has):
            faults.append(f"{service}.database is {wanted}, but its database is {has}")
    if "://" in settings.backend.redis and settings.backend.redis != endpoints["redis"]:
        faults.append("backend.redis names a server, but it has another one")
    if faults:
        faults[-1] += "; stop it, or take the setting back"
        raise SettingsError("The platform that is up already does not fit the settings", faults)


def settings_missing(endpoints: Mapping[str, Any], wanted: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the `wanted` settings that a running platform was not started with, in the form of `--set`.

    For example `backend.rate_per_s=5`.
    """
    has = endpoints.get("settings", {})
    return [
        f"{service}.{name}={json.dumps(value)}"
        for service, values in wanted.items()
        for name, value in values.items()
        if has.get(service, {}).get(name) != value
    ]


def _ports(settings: Settings) -> dict[str, int | None]:
    return {"auth": settings.auth_service.port, "edge": settings.backend.port, "frontend": settings.frontend.port}
