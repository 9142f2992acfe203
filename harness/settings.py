"""Settings of the reference platform: from `[test_environment]` of a file, environment variables, and defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from earwitness.checks.declared import FLAG, TEXT, AnyOf, Fault, Many, Number, OneOf, Text, key, keys_of, near
from earwitness.harness.described import Faults, Table, read_toml, whole_number

DEFAULT_FILE = "earwitness.toml"
ENV_PREFIX = "EARWITNESS_"
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def _any_case(words: tuple[str, ...]) -> str:
    """Return a regular expression for these words in any case, without a flag: JSON schemas have no flags."""
    return "|".join("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in word) for word in words)


def _port_of(value: str | int) -> int | None:
    return None if value == "dynamic" else int(value)


def _mode_of(value: str | bool) -> bool:
    return value if isinstance(value, bool) else value.strip().lower() in TRUE


def _address_of(value: str) -> str | None:
    return None if value in ("", "dynamic", "dynamic_backend_url") else value


_PORTS = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
PORT: Final = AnyOf(
    kinds=(OneOf(("dynamic",)), Number(whole=True, least=1, most=65535), Text(pattern=rf"\s*0*({_PORTS})\s*")),
    words="`dynamic` or a number from 1 to 65535",
    example='"dynamic"',
    problem="is neither dynamic nor a port from 1 to 65535",
)
DATABASE: Final = Text(
    words="a-z, 0-9 and _, at most 63",
    pattern=r"(?!(?:postgres|template[01])$)[a-z_][a-z0-9_]{0,62}",
    problem="is no database name (a-z, 0-9 and _, at most 63, none of Postgres's own)",
)
REDIS: Final = Text(
    words="a name or an address",
    pattern=r"[A-Za-z0-9_.:-]{1,64}|redis://[^/\s]+(/\d*)?",
    problem="is neither a name (letters, digits, _ . -) nor a redis:// address",
    hidden=True,  # it may be an address with a password
)
API_URL: Final = Text(
    words="`dynamic_backend_url` or an address",
    pattern=r"|dynamic|dynamic_backend_url|https?://[^/\s][\s\S]*",
    problem="is no http address",
)
MODE: Final = AnyOf(
    kinds=(FLAG, Text(pattern=rf"\s*({_any_case(TRUE + FALSE)})\s*")),
    words="`true` or `false`",
    example="true",
    problem="is neither true nor false",
)


def _port(meaning: str, example: str) -> Any:
    return key(None, PORT, meaning, example=example, default='"dynamic"', convert=_port_of)


def _mode(meaning: str) -> Any:
    return key(True, MODE, meaning, convert=_mode_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthServiceSettings:
    """Settings of the auth service.

    `port` None ("dynamic"): the service gets a free port. The text of each field states its meaning.
    """

    port: int | None = _port("port of the service on 127.0.0.1", "7001")
    database: str = key("test_auth_db", DATABASE, "name of the service's database")
    test_mode: bool = _mode("logins may ask for short-lived tokens, and the pages for administrators are open")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """Settings of the backends.

    `redis` is the client name with which they use the Valkey server of the test environment; a redis:// URL names an
    existing server that is used instead.
    """

    port: int | None = _port("port of the edge in front of the replicas, on 127.0.0.1", "7002")
    database: str = key("test_main_db", DATABASE, "name of the backends' database")
    redis: str = key(
        "test_redis",
        REDIS,
        "client name in the environment's own Valkey, or the address of a server that is used instead",
        example='"redis://127.0.0.1:6379/0"',
    )
    test_mode: bool = _mode("handed to every replica, where nothing depends on it yet")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendSettings:
    """Settings of the frontend.

    `api_url` None ("dynamic"): the address of the edge in front of the backends.
    """

    port: int | None = _port("port of the service on 127.0.0.1", "7003")
    api_url: str | None = key(
        None,
        API_URL,
        "address that the frontend takes for the backend, instead of the edge",
        example='"http://127.0.0.1:8000"',
        default='"dynamic_backend_url"',
        convert=_address_of,
    )
    test_mode: bool = _mode("the page says that it is a test environment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the whole `test_environment`, which `earwitness up`, Locust and pytest start."""

    auth_service: AuthServiceSettings = field(default_factory=AuthServiceSettings)
    backend: BackendSettings = field(default_factory=BackendSettings)
    frontend: FrontendSettings = field(default_factory=FrontendSettings)


SERVICES: Final[Mapping[str, type]] = {
    "auth_service": AuthServiceSettings,
    "backend": BackendSettings,
    "frontend": FrontendSettings,
}


def load_settings(path: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings: defaults, overridden by the file's `[test_environment]`, then by variables `EARWITNESS_…`.

    `path`: the file; None: `earwitness.toml` in the working directory, if there is one. An empty variable counts
    as unset. Raises SettingsError, which names all mistakes at once.
    """
    chosen = Path(path) if path is not None else Path(DEFAULT_FILE)
    where = str(chosen)
    data: Mapping[str, Any] = {}
    if path is not None or chosen.exists():
        data = read_toml(chosen)
    faults = Faults(f"{where} and {ENV_PREFIX}* variables")
    values = read_environment(Table(data, faults), environ)
    _unknown_variables(environ, faults)
    _clashes({name: {**_defaults(name), **given} for name, given in values.items()}, faults)
    faults.raise_any()
    return Settings(
        auth_service=AuthServiceSettings(**values["auth_service"]),
        backend=BackendSettings(**values["backend"]),
        frontend=FrontendSettings(**values["frontend"]),
    )


def read_environment(top: Table, environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return service -> settings by name that a file (`top`) and the environment variables state.

    Mistakes, also those of other tables in the file, are collected in the `faults` of `top`; nothing is raised.
    """
    environment = top.table("test_environment", example="{}")
    read_thresholds(top)  # for a run; their words are read by `harness.report.thresholds`
    top.finish()
    values = {}
    for service, settings in SERVICES.items():
        table = environment.table(service, example='{ port = "dynamic" }') if environment else None
        values[service] = table.fields(keys_of(settings)) if table else {}
        values[service] |= _variables(service, settings, environ, top.faults)
    if environment:
        environment.finish()
    return values


def read_thresholds(table: Table) -> list[str]:
    """Return the texts of the key `thresholds` of earwitness.toml or of `[tool.earwitness]`; [] if missing or wrong.

    A wrong value is collected as a mistake in the `faults` of `table`.
    """
    found: list[str] | None = table.value("thresholds", THRESHOLDS, example=THRESHOLDS.example)
    return found or []


THRESHOLDS: Final = Many(item=TEXT, words="a list of texts", example='["fan-out p99 < 250 ms"]')


def _defaults(service: str) -> dict[str, Any]:
    return asdict(SERVICES[service]())


def how_to_set(service: str, key: str, value: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return how a user sets a key of a service to `value`, as words for messages.

    `VARIABLE=value` if the key's environment variable is set and not empty, because it overrides the file; else `key =
    value under [test_environment.SERVICE] in earwitness.toml`.
    """
    variable = variable_of(service, key)
    if environ.get(variable, "") != "":
        return f"{variable}={value}"
    return f"{key} = {value} under [test_environment.{service}] in {DEFAULT_FILE}"


def variable_of(service: str, key: str) -> str:
    """Return the name of the environment variable for the setting `key` of a service."""
    return f"{ENV_PREFIX}{service}_{key}".upper()


def _variables(service: str, settings: type, environ: Mapping[str, str], faults: Faults) -> dict[str, Any]:
    """Return the settings that the environment variables of a service state. Wrong values are collected in `faults`.

    An empty variable counts as unset.
    """
    values = {}
    for name, one in keys_of(settings).items():
        variable = variable_of(service, name)
        text = environ.get(variable, "")
        number = whole_number(text.strip(), 10**9) if one.kind is PORT else None
        if problem := text and one.kind.fault(text if number is None else number):
            shown = (one.example or one.default).strip('"')
            faults.add(variable, problem, f"{variable}={shown}")
        elif text:
            values[name] = one.convert(text)
    return values


def _unknown_variables(environ: Mapping[str, str], faults: Faults) -> None:
    """Collect a mistake for each unknown variable with the prefix of a service, because it would have no effect."""
    known = {variable_of(service, name) for service, settings in SERVICES.items() for name in keys_of(settings)}
    prefixes = tuple(f"{ENV_PREFIX}{service}_".upper() for service in SERVICES)
    for name in environ:
        if name.startswith(prefixes) and name not in known:
            faults.take(Fault(name, f"is not known{near(name, known)}"))


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
