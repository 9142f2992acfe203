"""Settings of a service: one JSON object in an environment variable, read into a frozen dataclass."""

from __future__ import annotations

import dataclasses
import json
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from earwitness.harness.errors import SettingsError

SETTINGS_VARIABLE = "EARWITNESS_SERVICE"

T = TypeVar("T")
_WORDS = {str: "a non-empty string", int: "a whole number", float: "a number", bool: "true or false"}


def read_settings(kind: type[T], text: str, where: str = SETTINGS_VARIABLE) -> T:
    """Return an instance of the dataclass `kind` with the values of the JSON object in `text`.

    Fields are str, int, float, bool, tuple[str, ...], each also `| None`. Mistakes are missing or unknown settings,
    wrong types, empty strings, `*_s` and `rate_*` that are not positive, and addresses without `://` (names that end in
    `_url` or `issuer`, and `dsn`). Unknown names are mistakes, so that the default does not hide a misspelt setting.
    Raises SettingsError with all mistakes at `where`, also if `text` is not one JSON object.
    """
    try:
        given = json.loads(text)
    except ValueError:
        raise SettingsError(where, ["it must be one JSON object with the service's settings"]) from None
    if not isinstance(given, dict):
        raise SettingsError(where, ["it must be one JSON object with the service's settings"])
    types, faults, values = get_type_hints(kind), [], {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name in given:
            value, fault = _checked(field.name, types[field.name], given[field.name])
            values[field.name] = value
            faults += [fault] if fault else []
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            faults.append(f"{field.name} is missing")
    faults += [f"{name} is no setting of this service" for name in sorted(given.keys() - types.keys())]
    if faults:
        raise SettingsError(where, faults)
    return kind(**values)


def _checked(name: str, kind: Any, value: Any) -> tuple[Any, str]:
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None, ""
        kind = next(part for part in get_args(kind) if part is not NoneType)
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if not isinstance(value, list) or not all(isinstance(v, item) for v in value):
            return value, f"{name} must be a list of strings, not {value!r}"
        return tuple(value), ""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    wrong_bool = isinstance(value, bool) and kind is not bool
    if not isinstance(value, kind) or wrong_bool or value == "":
        return value, f"{name} must be {_WORDS[kind]}" + ("" if _secret(name) else f", not {value!r}")
    if (name.endswith("_s") or name.startswith("rate_")) and value <= 0:
        return value, f"{name} must be more than 0, not {value!r}"
    if (name.endswith(("_url", "issuer")) or name == "dsn") and "://" not in value:
        return value, f"{name} must be an address like http://127.0.0.1:8000" + (
            "" if _secret(name) else f", not {value!r}"
        )
    return value, ""


def _secret(name: str) -> bool:
    return "secret" in name or name in ("dsn", "redis_url")
