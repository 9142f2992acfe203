"""Settings of the reference platform: `[test_environment]` of a file, environment variables, and the defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from earwitness.harness.described import Faults, Table, near, read_toml, whole_number

DEFAULT_FILE = "earwitness.toml"
ENV_PREFIX = "EARWITNESS_"
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthServiceSettings:
    """Settings of the auth service.

    `port` None is dynamic: a free port is chosen without a race.
    """

    port: int | None = None
    database: str = "test_auth_db"
    test_mode: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """Settings of the backends.

    `redis` is the client name under which they use the environment's own Valkey; a redis:// URL is an existing server
    that is used instead.
    """

    port: int | None = None
    database: str = "test_main_db"
    redis: str = "test_redis"
    test_mode: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendSettings:
    """Settings of the frontend.

    `api_url` None is dynamic: the address of the edge in front of the backends.
    """

    port: int | None = None
    api_url: str | None = None
    test_mode: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the whole `test_environment`, which `earwitness up`, Locust and pytest start."""

    auth_service: AuthServiceSettings = field(default_factory=AuthServiceSettings)
    backend: BackendSettings = field(default_factory=BackendSettings)
    frontend: FrontendSettings = field(default_factory=FrontendSettings)


_DATABASE = re.compile(r"(?!(?:postgres|template[01])$)[a-z_][a-z0-9_]{0,62}")
_REDIS = re.compile(r"[A-Za-z0-9_.:-]{1,64}|redis://[^/\s]+(/\d*)?")
WORDS = {
    "port": ('"dynamic"', "`dynamic` or a number from 1 to 65535, like `{port}`"),
    "database": ('"{default}"', "a-z, 0-9 and _, at most 63, like `{default}`"),
    "redis": ('"{default}"', "a name, or an address like `redis://127.0.0.1:6379/0`"),
    "api_url": ('"dynamic_backend_url"', "`dynamic_backend_url`, or an address like `http://127.0.0.1:8000`"),
    "test_mode": ("true", "`true` or `false`"),
}
"""Each key: its default as TOML, and in words what it may be; the last code of the words is an example."""
PORTS = {"auth_service": 7001, "backend": 7002, "frontend": 7003}
"""Example of a port for each service."""
_SERVICES: dict[str, dict[str, Any]] = {
    one.name: {
        key.name: getattr(getattr(Settings(), one.name), key.name) for key in fields(getattr(Settings(), one.name))
    }
    for one in fields(Settings)
}
"""Each service: its keys and their defaults, as its class above says."""


def load_settings(path: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the defaults, overridden by the file's `[test_environment]`, then by `EARWITNESS_…` variables.

    path  the file; None: `earwitness.toml` in the working directory, if there is one.

    An empty variable counts as unset. Raises SettingsError that names all faults at once.
    """
    chosen = Path(path) if path is not None else Path(DEFAULT_FILE)
    where = str(chosen)
    data: Mapping[str, Any] = {}
    if path is not None or chosen.exists():
        data = read_toml(chosen)
    faults = Faults(f"{where} and {ENV_PREFIX}* variables")
    whole = Table(data, faults)
    environment = whole.table("test_environment", example="{}")
    whole.has("thresholds")  # read by a run, not here
    whole.finish()
    values: dict[str, dict[str, Any]] = {}
    for service, keys in _SERVICES.items():
        table = environment.table(service, example='{ port = "dynamic" }') if environment else None
        values[service] = {key: _setting(service, key, table, environ, faults) for key in keys}
        if table:
            table.finish()
    if environment:
        environment.finish()
    _unknown_variables(environ, faults)
    _clashes(values, faults)
    faults.raise_any()
    return Settings(
        auth_service=AuthServiceSettings(**values["auth_service"]),
        backend=BackendSettings(**values["backend"]),
        frontend=FrontendSettings(**values["frontend"]),
    )


def how_to_set(service: str, key: str, value: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return what the user has to write to change a setting, in the place that decides it now."""
    variable = _variable(service, key)
    if environ.get(variable, "") != "":
        return f"{variable}={value}"
    return f"{key} = {value} under [test_environment.{service}] in {DEFAULT_FILE}"


def _variable(service: str, key: str) -> str:
    return f"{ENV_PREFIX}{service}_{key}".upper()


def _setting(service: str, key: str, table: Table | None, environ: Mapping[str, str], faults: Faults) -> Any:
    variable = _variable(service, key)
    raw: Any = None
    name = f"test_environment.{service}.{key}"
    if table is not None and table.has(key):
        raw = table.data[key]
    if environ.get(variable, "") != "":
        raw, name = environ[variable], variable
    default = _SERVICES[service][key]
    if key == "port":
        return _port(raw, name, faults)
    if key == "test_mode":
        return _mode(raw, name, faults)
    if raw is None:
        return default
    if key == "database":
        if isinstance(raw, str) and _DATABASE.fullmatch(raw):
            return raw
        problem = f"= {raw!r} is no database name (a-z, 0-9 and _, at most 63, none of Postgres's own)"
        faults.add(name, problem, f"{name} = {default}")
        return default
    if not isinstance(raw, str):
        faults.add(name, f"= {raw!r} is not text", f"{name} = {'dynamic_backend_url' if key == 'api_url' else default}")
        return default
    if key == "api_url":
        if raw in ("", "dynamic", "dynamic_backend_url"):
            return None
        if not re.match(r"https?://[^/\s]+", raw):
            faults.add(name, f"= {raw!r} is no http address", f"{name} = http://127.0.0.1:8000")
        return raw
    if not _REDIS.fullmatch(raw):  # not quoted: it may be an address with a password
        faults.add(name, "is neither a name (letters, digits, _ . -) nor a redis:// address", f"{name} = {default}")
        return default
    return raw


def _port(raw: Any, name: str, faults: Faults) -> int | None:
    if raw is None or raw == "dynamic":
        return None
    if isinstance(raw, str):
        number = whole_number(raw.strip(), 10**9)
        raw = raw if number is None else number
    if isinstance(raw, int) and not isinstance(raw, bool) and 1 <= raw <= 65535:
        return raw
    faults.add(name, f"= {raw!r} is neither dynamic nor a port from 1 to 65535", f"{name} = dynamic")
    return None


def _mode(raw: Any, name: str, faults: Faults) -> bool:
    if raw is None or isinstance(raw, bool):
        return raw is None or raw
    if isinstance(raw, str) and raw.strip().lower() in TRUE + FALSE:
        return raw.strip().lower() in TRUE
    faults.add(name, f"= {raw!r} is neither true nor false", f"{name} = true")
    return True


def _unknown_variables(environ: Mapping[str, str], faults: Faults) -> None:
    """Note unknown variables of our services as faults, as a mistyped one would otherwise have no effect."""
    known = {_variable(service, key) for service, keys in _SERVICES.items() for key in keys}
    prefixes = tuple(f"{ENV_PREFIX}{service}_".upper() for service in _SERVICES)
    for name in environ:
        if name.startswith(prefixes) and name not in known:
            faults.found.append(f"{name} is not known{near(name, known)}")


def _clashes(values: Mapping[str, Mapping[str, Any]], faults: Faults) -> None:
    ports: dict[int, str] = {}
    for service, settings in values.items():
        port = settings["port"]
        if port is not None and port in ports:
            faults.add(f"{service}.port", f"= {port} is already {ports[port]}'s", f"{service}.port = dynamic")
        elif port is not None:
            ports[port] = service
    if values["auth_service"]["database"] == values["backend"]["database"]:
        faults.add(
            "auth_service.database and backend.database",
            f"are both {values['backend']['database']!r}, but the two services have their own",
            "auth_service.database = test_auth_db and backend.database = test_main_db",
        )
