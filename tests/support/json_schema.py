"""JSON schema, as far as the schemas of this project use it: whether a value is accepted.

An unknown keyword is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: type(value) is int,  # TOML tells 3 from 3.0
    "number": lambda value: type(value) in (int, float),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}
KEYWORDS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "type": lambda wanted, value: TYPES[wanted](value),
    "enum": lambda wanted, value: any(type(one) is type(value) and one == value for one in wanted),
    "const": lambda wanted, value: type(wanted) is type(value) and wanted == value,
    # in JavaScript and Rust `$` is the very end, in Python also before a last line break
    "pattern": lambda wanted, value: (
        not isinstance(value, str) or bool(re.search(re.sub(r"\$$", r"\\Z", wanted), value))
    ),
    "minLength": lambda wanted, value: not isinstance(value, str) or len(value) >= wanted,
    "minimum": lambda wanted, value: not TYPES["number"](value) or value >= wanted,
    "maximum": lambda wanted, value: not TYPES["number"](value) or value <= wanted,
    "items": lambda wanted, value: not isinstance(value, list) or all(accepts(wanted, one) for one in value),
    "required": lambda wanted, value: not isinstance(value, dict) or all(name in value for name in wanted),
    "anyOf": lambda wanted, value: any(accepts(one, value) for one in wanted),
    "oneOf": lambda wanted, value: sum(accepts(one, value) for one in wanted) == 1,
}
SILENT: Final = {"$schema", "title", "description", "properties", "additionalProperties"}


def accepts(schema: Mapping[str, Any] | bool, value: Any) -> bool:
    """Return whether `value` conforms to a schema. Raises AssertionError for a keyword that is not known here."""
    if isinstance(schema, bool):
        return schema
    assert set(schema) <= SILENT | set(KEYWORDS), schema
    if not all(KEYWORDS[name](wanted, value) for name, wanted in schema.items() if name in KEYWORDS):
        return False
    if not isinstance(value, dict):
        return True
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    return all(accepts(known.get(name, others), inner) for name, inner in value.items())
