"""`earwitness schema`: JSON schemas of `target.toml` and `earwitness.toml` for editors.

The readers themselves are called with a `Sketch`, which collects each key that is read and returns no values. So a
schema accepts the keys that the readers accept. It cannot express rules about several keys, placeholders or other
files; only the readers check those.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from earwitness.checks.declared import Key
from earwitness.harness.described import Faults, Table
from earwitness.harness.dialects.toml.description import read_tables
from earwitness.harness.errors import Exit, SettingsError
from earwitness.harness.settings import read_environment

T = TypeVar("T")
ANY_NAME: Final = "*"
"""Key that stands for every key of a table in which keys may have any name."""
DRAFT: Final = "http://json-schema.org/draft-07/schema#"
"""Address of the draft of JSON Schema that TOML editors support."""


class Sketch(Table):
    """Table without values, which collects the keys that a reader asks for and makes a JSON schema of these keys."""

    def __init__(self, faults: Faults, path: str = "") -> None:
        """Start without properties. `path`: the table's dotted key in the file; `faults`: collects mistakes."""
        super().__init__({}, faults, path)
        self.properties: dict[str, Callable[[], dict[str, object]]] = {}
        self.required: list[str] = []
        self.ways: list[dict[str, object]] = []
        self.closed = False

    def read(self, name: str, key: Key, required: bool = False) -> None:
        """Add a key to the schema and return None, as if the file had no value for it."""

        def schema() -> dict[str, object]:
            line = key.example if name == ANY_NAME else key.line(name)
            told = {"description": f"{key.meaning}." if key.meaning else f"For example {line}"}
            return {**told, **key.kind.schema()}

        self._note(name, schema, required)
        return None

    def secret(self, name: str, *, example: str) -> str:
        """Add a key that holds a secret to the schema, as `env:NAME` or `file:PATH`; return ""."""
        told: dict[str, object] = {
            "type": "string",
            "pattern": "^(env|file):",
            "description": f'For example {name} = "{example}"',
        }
        self._note(name, lambda: told, True)
        return ""

    def either(self, name: str, ways: Mapping[str, Callable[[Table], T]]) -> T | None:
        """Add an alternative to the schema for each way in `ways`, with the keys that its reader reads; return None.

        `name`: the key whose value names the way.
        """
        for way, reader in ways.items():
            inner = Sketch(self.faults, self.path)
            inner._note(name, lambda way=way: {"const": way}, True)  # type: ignore[misc]
            reader(inner)
            inner.finish()
            self.ways.append(inner.schema())
        return None

    def names(self) -> Iterator[str]:
        """Yield one placeholder name (ANY_NAME) that stands for all names that a user may choose."""
        yield ANY_NAME

    def table(self, name: str, *, example: str, required: bool = False) -> Table:
        """Add a nested table to the schema and return its sketch."""
        inner = Sketch(self.faults, self.key(name))
        self._note(name, inner.schema, required)
        return inner

    def tables(self, name: str, *, example: str) -> list[Table]:
        """Add a key that may be one table or a list of tables; return a list with the sketch of one element."""
        inner = Sketch(self.faults, self.key(name))
        self._note(name, lambda: {"anyOf": [{"type": "array", "items": inner.schema()}, inner.schema()]}, False)
        return [inner]

    def finish(self) -> None:
        """Close the schema: it allows no keys except those that were read."""
        self.closed = True

    def _note(self, name: str, schema: Callable[[], dict[str, object]], required: bool) -> None:
        self.known.add(name)
        self.properties[name] = schema
        if required and name not in self.required:
            self.required.append(name)

    def schema(self) -> dict[str, object]:
        """Return the JSON schema of the table. Call it after the reader has run."""
        if self.ways:
            return {"oneOf": self.ways}
        properties = {name: make() for name, make in self.properties.items()}
        others = properties.pop(ANY_NAME, None)
        told: dict[str, object] = {"type": "object", "properties": properties} if properties else {"type": "object"}
        if self.required:
            told["required"] = self.required
        if others is not None:
            told["additionalProperties"] = others
        elif self.closed:
            told["additionalProperties"] = False
        return told


def _sketched(title: str, read: Callable[[Sketch], object]) -> dict[str, object]:
    top = Sketch(Faults(title))
    with suppress(SettingsError):  # an empty file lacks much; the readers say so after their last read
        read(top)
    return {"$schema": DRAFT, "title": title, **top.schema()}


def target_schema() -> dict[str, object]:
    """Return the JSON schema of a target file."""
    return _sketched("Earwitness: target file", lambda top: read_tables(top, Path("target.toml")))


def settings_schema() -> dict[str, object]:
    """Return the JSON schema of earwitness.toml."""
    return _sketched("Earwitness: earwitness.toml", lambda top: read_environment(top, {}))


SCHEMAS: Final[Mapping[str, Callable[[], dict[str, object]]]] = {"target": target_schema, "settings": settings_schema}


def written(name: str) -> str:
    """Return the schema `name` ("target" or "settings") as indented JSON text."""
    return json.dumps(SCHEMAS[name](), indent=1, ensure_ascii=False) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `earwitness schema` to `parser`."""
    parser.description = (
        "Print the JSON schema of a target file or of earwitness.toml. Editors with Taplo (Even Better TOML) check a "
        "file against it if its first line is `#:schema ./target.schema.json`."
    )
    parser.add_argument("file", choices=tuple(SCHEMAS), help="target: target.toml; settings: earwitness.toml")


def run(args: argparse.Namespace) -> int:
    """Print the schema that `args.file` names; return the exit code 0."""
    sys.stdout.write(written(args.file))
    return Exit.PASS
