"""Registry of targets: opens them from files, and from the description that a run keeps in run.json."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from earwitness.checks.declared import near
from earwitness.harness.client.bounds import Bounds, use
from earwitness.harness.described import Faults, Table, read_toml
from earwitness.harness.dialects.guarded import GuardedDialect, failed
from earwitness.harness.dialects.protocol import Target
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.settings import OpensDialect, Settings, read_settings
from earwitness.harness.dialects.toml.addresses import check_addresses
from earwitness.harness.dialects.toml.description import read_tables
from earwitness.harness.dialects.toml.dialect import GenericTarget
from earwitness.harness.errors import EarwitnessError, SettingsError, TargetError

SECRET_ENDPOINTS = frozenset({"auth_dsn", "main_dsn", "redis", "control"})
"""Endpoints whose addresses carry passwords."""
SECRETS_VARIABLE = "EARWITNESS_ENDPOINTS"
"""Environment variable (JSON) that hands SECRET_ENDPOINTS to child processes: run.json must not contain them."""
DECLARED: Final = "json"
"""Name of the dialect that a target file declares itself, in tables like [frames] and [send]."""
SHIPPED: Final = "earwitness.harness.dialects.shipped"
GROUP: Final = "earwitness.dialects"
"""Group of entry points by which installed packages offer dialects."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A dialect in Python as its module offers it.

    where     its name in messages: the path of its file, or the name in the target file
    open      its function `open_dialect`
    promises  its table PROMISES: what the protocol promises, by key of the contract; {} if it has none
    settings  its table SETTINGS: what a target file would contain, so that the module needs none; None without it
    """

    where: str
    open: OpensDialect
    promises: Mapping[str, object]
    settings: Mapping[str, object] | None


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
    may be absent) or `{"kind": "file", "path": PATH}`. Raises TargetError and SettingsError as `load_target` does.
    """
    kind = description.get("kind")
    if kind == "reference":
        secrets = json.loads(os.environ.get(SECRETS_VARIABLE) or "{}")
        return ReferenceTarget({**description["endpoints"], **secrets}, **description.get("options", {}))
    if kind == "file":
        return load_target(Path(description["path"]))
    raise TargetError(f"Target kind {kind!r} is not known; it is reference or file.")


def load_target(path: Path | str) -> Target:
    """Return the target of a target file: `target.toml`, or the Python file of a dialect that contains its settings.

    The limits of the file apply to everything that this process reads from now on. A target whose addresses are all on
    this machine allows load. Raises SettingsError, which names every mistake of the file, and TargetError if the
    dialect cannot be loaded, or an address is elsewhere and the file does not allow load.
    """
    path = Path(path)
    target, limits = _opened(path)
    use(limits)
    here = check_addresses(
        target.addresses, target.network, allow_load=target.allow_load, max_users=target.max_users, path=str(path)
    )
    target.allow_load = target.allow_load or here
    return target


def _opened(path: Path) -> tuple[Target, Bounds]:
    """Return the target of a file and its limits on what the platform may send."""
    if path.suffix == ".py":
        offered = from_file(path)
        if offered.settings is None:
            raise TargetError(
                f"{path} has no table SETTINGS: write SETTINGS = {{'urls': {{'socket': 'ws://127.0.0.1:8000/ws'}}}}, "
                f"or name it in a target.toml: dialect = {path.name!r}."
            )
        return _with_settings(offered, Table(offered.settings, Faults(str(path))), path)
    top = Table(read_toml(path), Faults(str(path)))
    named = top.text("dialect", DECLARED, example="socketio")
    if named == DECLARED:
        description = read_tables(top, path)
        return GenericTarget(description), description.bounds
    return _with_settings(find_dialect(named, path.parent), top, path)


def _with_settings(offered: Offered, top: Table, path: Path) -> tuple[Target, Bounds]:
    settings = read_settings(top, path, offered.promises)
    target = _read_own(offered, settings)
    settings.own.finish()
    top.faults.raise_any()
    assert target is not None, "a dialect without faults"
    return GuardedDialect(target, offered.where), settings.bounds


def _read_own(offered: Offered, settings: Settings) -> Target | None:
    """Return the dialect that `open_dialect` makes; it reads the table [options].

    Return None if it raises an exception although mistakes were found in [options]: the caller reports the mistakes.
    Raises DialectError for an exception without mistakes.
    """
    try:
        return offered.open(settings)
    except EarwitnessError:
        raise
    except Exception as error:
        if settings.own.faults.found:
            return None
        raise failed(offered.where, "open_dialect", error) from error


def find_dialect(name: str, folder: Path) -> Offered:
    """Return the dialect that a target file in `folder` names: a file `NAME.py`, a shipped one, or an entry point.

    Raises TargetError if there is none of this name, or it cannot be imported; SettingsError if it has no function
    `open_dialect`.
    """
    if name.endswith(".py"):
        return from_file(folder / name)
    if name in shipped():
        return _offered(name, _imported(f"{SHIPPED}.{name}", name))
    for point in entry_points(group=GROUP, name=name):
        return _offered(name, _imported(point.module, name))
    known = [DECLARED, *shipped(), *sorted({point.name for point in entry_points(group=GROUP)})]
    raise TargetError(
        f"There is no dialect {name!r}{near(name, known)}. Known are {', '.join(known)}; "
        'one of your own: dialect = "my_dialect.py".'
    )


def shipped() -> list[str]:
    """Return the names of the dialects that come with earwitness."""
    spec = importlib.util.find_spec(SHIPPED)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    files = (file for place in spec.submodule_search_locations for file in Path(place).glob("*.py"))
    return sorted(file.stem for file in files if not file.stem.startswith("_"))


def from_file(path: Path) -> Offered:
    """Return the dialect of a Python file.

    Raises TargetError if the file is missing or cannot be imported, SettingsError if the file has no function
    `open_dialect`.
    """
    if not path.is_file():
        raise TargetError(f"There is no dialect {path}.")
    name = f"earwitness_dialect_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for their module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise failed(str(path), "importing it", error) from error
    return _offered(str(path), module)


def _imported(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = f"pip install 'earwitness[{name}]'" if name in shipped() else "install what it needs"
        raise TargetError(f"The dialect {name} cannot be imported ({error}): {extra}.") from error


def _offered(where: str, module: ModuleType) -> Offered:
    names = vars(module)
    opens, promises, settings = names.get("open_dialect"), names.get("PROMISES", {}), names.get("SETTINGS")
    if not callable(opens):
        raise SettingsError(where, ["it has no function open_dialect(settings) that returns a dialect"])
    return Offered(where, opens, promises, settings)


def check_users(target: Target, users: int) -> None:
    """Raise TargetError if the target does not allow load, or allows fewer than `users` users."""
    if not target.allow_load:
        raise TargetError(f"{target.name} does not allow load: set allow_load = true in its file.")
    if target.max_users is not None and users > target.max_users:
        raise TargetError(
            f"{target.name} allows {target.max_users} users (max_users), {users} were asked for: -u {target.max_users}."
        )
