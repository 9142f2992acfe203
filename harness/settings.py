"""Settings: validated tables, and the `test_environment` of the reference platform.

Every fault is collected and reported at once, each with the name of the setting, what is wrong with it and a valid
example, so that nobody mends a file one restart at a time.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import SettingsError

DEFAULT_FILE = "earwitness.toml"
ENV_PREFIX = "EARWITNESS_"
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Faults:
    """Collects faults of one file; `raise_any` raises them together."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[str] = []

    def add(self, key: str, problem: str, example: str) -> None:
        self.found.append(f"{key} {problem}; for example {example}")

    def raise_any(self) -> None:
        if self.found:
            raise SettingsError(self.where, self.found)


def near(word: str, known: Iterable[str]) -> str:
    """' (did you mean X?)', or the list of what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]}?)"
    return f" (known: {', '.join(names)})" if names else ""


class Table:
    """A TOML table that is read key by key. A read gives the value or, after noting a fault, the default.

    `finish` notes every key that nobody read. Nested tables are `Table`s of the same `Faults`.
    """

    def __init__(self, data: Mapping[str, Any], faults: Faults, path: str = "") -> None:
        self.data = data
        self.faults = faults
        self.path = path
        self.known: set[str] = set()

    def key(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def fault(self, name: str, problem: str, example: str) -> None:
        self.faults.add(self.key(name), problem, example)

    def has(self, name: str) -> bool:
        self.known.add(name)
        return name in self.data

    def value(self, name: str, kinds: type | tuple[type, ...], words: str, example: str, required: bool = False) -> Any:
        """The value if it is of one of `kinds`, else None. `words` say what was expected."""
        if not self.has(name):
            if required:
                self.fault(name, "is missing", f"{name} = {example}")
            return None
        value = self.data[name]
        wanted = kinds if isinstance(kinds, tuple) else (kinds,)
        if isinstance(value, wanted) and not (isinstance(value, bool) and bool not in wanted):
            return value
        self.fault(name, f"= {value!r} is not {words}", f"{name} = {example}")
        return None

    def text(self, name: str, default: str = "", *, example: str, required: bool = False) -> str:
        value = self.value(name, str, "text", f'"{example}"', required)
        if value == "" and required:
            self.fault(name, "is empty", f'{name} = "{example}"')
        return default if value is None else str(value)

    def secret(self, name: str, *, example: str) -> str:
        """A required secret: `env:NAME` or `file:PATH` (relative to the faults' file), never written down here."""
        text = self.text(name, example=example, required=True)
        if not text:
            return ""
        source, _, place = text.partition(":")
        value = ""
        if source == "env":
            value = os.environ.get(place, "")
            if not value:
                self.fault(name, f"names the environment variable {place}, which is not set", f"export {place}=…")
        elif source == "file":
            try:
                value = (Path(self.faults.where).parent / place).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                self.fault(name, f"cannot be read ({place}: {type(error).__name__})", f'{name} = "{example}"')
        else:
            self.fault(name, "is written out; secrets come from the environment or a file", f'{name} = "{example}"')
        return value

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of `choices`; without `default` the key is required."""
        value = self.value(name, str, "text", f'"{choices[0]}"', default is None)
        if value is not None and value not in choices:
            self.fault(name, f"= {value!r} is none of {', '.join(choices)}", f'{name} = "{choices[0]}"')
            value = None
        return (choices[0] if default is None else default) if value is None else str(value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.value(name, bool, "true or false", "true")
        return default if value is None else bool(value)

    def number(self, name: str, default: float | None = None, *, example: str, least: float = 0.0) -> float | None:
        value = self.value(name, (int, float), "a number", example)
        if value is None:
            return default
        if value < least:
            self.fault(name, f"= {value} is below {least}", f"{name} = {example}")
            return default
        return float(value)

    def whole(self, name: str, default: int | None = None, *, example: str, least: int = 0) -> int | None:
        value = self.value(name, int, "a whole number", example)
        if value is not None and value < least:
            self.fault(name, f"= {value} is below {least}", f"{name} = {example}")
            value = None
        return default if value is None else int(value)

    def texts(self, name: str, default: Sequence[str] = (), *, example: str) -> tuple[str, ...]:
        """A list of texts; a single text counts as a list of one."""
        value = self.value(name, (str, list), "a list of texts", example)
        if value is None:
            return tuple(default)
        items = [value] if isinstance(value, str) else value
        if not all(isinstance(item, str) for item in items):
            self.fault(name, f"= {value!r} is not a list of texts", f"{name} = {example}")
            return tuple(default)
        return tuple(items)

    def table(self, name: str, *, example: str, required: bool = False) -> Table | None:
        value = self.value(name, dict, "a table", example, required)
        return None if value is None else Table(value, self.faults, self.key(name))

    def tables(self, name: str, *, example: str) -> list[Table]:
        """A list of tables; a single table counts as a list of one."""
        value = self.value(name, (dict, list), "a list of tables", example)
        items = [value] if isinstance(value, dict) else value or []
        if not all(isinstance(item, dict) for item in items):
            self.fault(name, f"= {value!r} is not a list of tables", f"{name} = {example}")
            return []
        return [Table(item, self.faults, f"{self.key(name)}[{k}]") for k, item in enumerate(items)]

    def finish(self) -> None:
        for name in self.data:
            if name not in self.known:
                self.faults.found.append(f"{self.key(name)} is not known here{near(name, self.known)}")


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises SettingsError in one sentence if it cannot be read or is no TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(str(path), ["there is no such file; check the path"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), [f"cannot be read: {error}"]) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(str(path), [f"is no valid TOML: {error}"]) from error


# -- test_environment ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthServiceSettings:
    """`port` None is dynamic: a free port is chosen without a race."""

    port: int | None = None
    database: str = "test_auth_db"
    test_mode: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """`redis` names the environment's own Valkey to its clients; a redis:// URL is a server that exists instead."""

    port: int | None = None
    database: str = "test_main_db"
    redis: str = "test_redis"
    test_mode: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendSettings:
    """`api_url` None is dynamic: the address of the edge in front of the backends."""

    port: int | None = None
    api_url: str | None = None
    test_mode: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The `test_environment`: what `earwitness up`, Locust and pytest start."""

    auth_service: AuthServiceSettings = field(default_factory=AuthServiceSettings)
    backend: BackendSettings = field(default_factory=BackendSettings)
    frontend: FrontendSettings = field(default_factory=FrontendSettings)


_DATABASE = re.compile(r"(?!(?:postgres|template[01])$)[a-z_][a-z0-9_]{0,62}")
_REDIS = re.compile(r"[A-Za-z0-9_.:-]{1,64}|redis://[^/\s]+(/\d*)?")
_SERVICES: dict[str, tuple[str, ...]] = {
    "auth_service": ("port", "database", "test_mode"),
    "backend": ("port", "database", "redis", "test_mode"),
    "frontend": ("port", "api_url", "test_mode"),
}
_DEFAULTS: dict[str, Any] = {
    "auth_service.database": AuthServiceSettings().database,
    "backend.database": BackendSettings().database,
    "backend.redis": BackendSettings().redis,
}


def load_settings(path: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Defaults, then the file's `[test_environment]`, then `EARWITNESS_…` variables; later ones win.

    path  the file; None: `earwitness.toml` in the working directory, if there is one.
    Raises SettingsError naming every fault at once.
    """
    chosen = Path(path) if path is not None else Path(DEFAULT_FILE)
    where = str(chosen)
    data: Mapping[str, Any] = {}
    if path is not None or chosen.exists():
        data = read_toml(chosen)
    faults = Faults(f"{where} and {ENV_PREFIX}* variables")
    environment = Table(data, faults).table("test_environment", example="{}")
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
    """What the user has to write for another value, in the place that decides now."""
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
    default = _DEFAULTS.get(f"{service}.{key}")
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
    if not _REDIS.fullmatch(raw):  # which is not repeated: it may be an address with a password
        faults.add(name, "is neither a name (letters, digits, _ . -) nor a redis:// address", f"{name} = {default}")
        return default
    return raw


def _port(raw: Any, name: str, faults: Faults) -> int | None:
    if raw is None or raw == "dynamic":
        return None
    if isinstance(raw, str) and raw.strip().isdigit():
        raw = int(raw)
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
    """A mistyped variable of our services would otherwise be ignored in silence."""
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
