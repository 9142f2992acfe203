"""Validated reading of files: tables whose values are checked as they are read.

All mistakes are collected and reported together, each with the name of the setting, what is wrong with it and a valid
example, so that a user does not have to fix a file one restart at a time.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from earwitness.checks.declared import (
    FLAG,
    TABLE,
    TEXT,
    Fault,
    Key,
    Kind,
    Many,
    Number,
    OneOf,
    Text,
    closest,
    near,
    unknown,
)
from earwitness.harness.errors import SettingsError

__all__ = ["Faults", "Table", "first_sentence", "from_json", "near", "read_toml", "whole_number"]

T = TypeVar("T")


class Faults:
    """Mistakes in one file, which are collected and raised together by `raise_any`."""

    def __init__(self, where: str) -> None:
        """Start without mistakes. `where` names the file in the error."""
        self.where = where
        self.found: list[str] = []

    def add(self, key: str, problem: str, example: str) -> None:
        """Collect a mistake. `problem`: words that follow the name `key`, as "is missing"; `example`: a valid value."""
        self.take(Fault(key, problem, example))

    def take(self, fault: Fault, path: str = "") -> None:
        """Collect the mistake `fault` of a table. `path`: dotted key of the table, "" for the top of the file."""
        self.found.append(fault.sentence(path))

    def raise_any(self) -> None:
        """Raise SettingsError with all collected mistakes; no-op if there are none."""
        if self.found:
            raise SettingsError(self.where, self.found)


class Table:
    """TOML table that is read key by key. Mistakes are collected in `faults`.

    A read returns the value; if the key is missing or its value wrong, it returns the default. A wrong value is a
    mistake, a missing key only if it is required. In all reads `name` is the key, and `example` a valid value, which
    the sentence about a mistake shows. `finish` collects a mistake for every key that was not read. Nested tables are
    `Table`s of the same `Faults`. The calls of these methods also declare the table: `harness.dialects.schemas` calls
    the same readers with a `Sketch`, which makes a JSON schema of the keys that are read. A reader therefore reads
    every key, whatever the values of others are. Where one key decides which others exist, it calls `either`.
    """

    def __init__(self, data: Mapping[str, object], faults: Faults, path: str = "") -> None:
        """Read from `data`, whose dotted key in the file is `path`. Mistakes are added to `faults`."""
        self.data = data
        self.faults = faults
        self.path = path
        self.known: set[str] = set()

    def key(self, name: str) -> str:
        """Return the full name of a key, with the path of this table."""
        return f"{self.path}.{name}" if self.path else name

    def fault(self, name: str, problem: str, example: str) -> None:
        """Collect a mistake of the key `name`. `problem`: words that follow the name; `example`: a valid value."""
        self.faults.add(self.key(name), problem, example)

    def has(self, name: str) -> bool:
        """Return whether the table has the key, and count it as read for `finish`."""
        self.known.add(name)
        return name in self.data

    def read(self, name: str, key: Key, required: bool = False) -> Any:
        """Return the value of the key `name`, converted by `key`; None if it is missing or wrong.

        A wrong value is collected as a mistake, a missing key only if `required`.
        """
        if not self.has(name):
            if required:
                self.fault(name, "is missing", key.line(name))
            return None
        value = self.data[name]
        if problem := key.kind.fault(value):
            self.fault(name, problem, key.line(name))
            return None
        return key.convert(value)

    def value(self, name: str, kind: Kind, *, example: str, required: bool = False) -> Any:
        """Return the value of the key `name`, None if it is missing or not of `kind`.

        A value of another kind is collected as a mistake, a missing key only if `required`.
        """
        return self.read(name, Key(kind=kind, example=example), required)

    def fields(self, keys: Mapping[str, Key]) -> dict[str, Any]:
        """Return name -> value of declared keys, without those that are missing or wrong.

        Wrong values, and keys of the table that are not declared, are collected as mistakes.
        """
        given = {name: self.read(name, key) for name, key in keys.items()}
        self.finish()
        return {name: value for name, value in given.items() if value is not None}

    def text(self, name: str, default: str = "", *, example: str, required: bool = False) -> str:
        """Return a text, `default` if the key is missing or wrong.

        If `required`, a missing key and an empty text are mistakes. `example`: without quotation marks.
        """
        kind = Text(empty=False) if required else TEXT
        value = self.value(name, kind, example=f'"{example}"', required=required)
        return default if value is None else str(value)

    def secret(self, name: str, *, example: str) -> str:
        """Return the secret that a required key names as `env:NAME` or `file:PATH`, or "" after a mistake.

        PATH is relative to the folder of the file that is read. A secret that is written in the file itself is a
        mistake.
        """
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
            except (OSError, ValueError) as error:  # not text, or not a possible file name
                self.fault(name, f"cannot be read ({place}: {type(error).__name__})", f'{name} = "{example}"')
        else:
            self.fault(name, "is written out; secrets come from the environment or a file", f'{name} = "{example}"')
        return value

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        """Return one of `choices`; `default` if the key is missing or wrong.

        Without `default` the key is required, and the first of `choices` is returned after a mistake.
        """
        kind = OneOf(tuple(choices))
        value = self.value(name, kind, example=kind.example, required=default is None)
        return (choices[0] if default is None else default) if value is None else str(value)

    def either(self, name: str, ways: Mapping[str, Callable[[Table], T]]) -> T | None:
        """Return the result of the reader that the value of the key `name` selects among `ways`, for this table.

        The key is required. A wrong value is a mistake, and selects the reader with the most similar name. If none is
        similar, or the key is missing, no other key can be checked: the only mistake is that of `name`, and None is
        returned.
        """
        kind = OneOf(tuple(ways))
        way = self.value(name, kind, example=kind.example, required=True)
        if way is None and isinstance(meant := self.data.get(name), str):
            way = closest(meant, ways)
        if not way:
            self.known.update(self.data)
            return None
        return ways[way](self)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a boolean, or `default` if the key is missing or not a boolean."""
        value = self.value(name, FLAG, example="true")
        return default if value is None else bool(value)

    def number(self, name: str, default: float | None = None, *, example: str, least: float = 0.0) -> float | None:
        """Return a number of at least `least`; `default` if the key is missing or wrong."""
        value = self.value(name, Number(least=least), example=example)
        return default if value is None else float(value)

    def whole(self, name: str, default: int | None = None, *, example: str, least: int = 0) -> int | None:
        """Return a whole number of at least `least`; `default` if the key is missing or wrong."""
        value = self.value(name, Number(whole=True, least=least), example=example)
        return default if value is None else int(value)

    def texts(self, name: str, default: Sequence[str] = (), *, example: str) -> tuple[str, ...]:
        """Return a list of texts, `default` if the key is missing or wrong. A single text counts as a list of one."""
        value = self.value(name, TEXTS, example=example)
        return tuple(default if value is None else [value] if isinstance(value, str) else value)

    def names(self) -> Iterator[str]:
        """Yield the keys of this table. Use it for a table whose keys a user may choose."""
        yield from self.data

    def table(self, name: str, *, example: str, required: bool = False) -> Table | None:
        """Return a nested table, None if the key is missing or no table. A missing key is a mistake if `required`."""
        value = self.value(name, TABLE, example=example, required=required)
        return None if value is None else Table(value, self.faults, self.key(name))

    def tables(self, name: str, *, example: str) -> list[Table]:
        """Return a list of tables, [] if the key is missing or wrong. A single table counts as a list of one."""
        value = self.value(name, TABLES, example=example)
        items = [value] if isinstance(value, dict) else value or []
        return [Table(item, self.faults, f"{self.key(name)}[{k}]") for k, item in enumerate(items)]

    def finish(self) -> None:
        """Collect a mistake for every key of the table that was not read."""
        for name in self.data:
            if name not in self.known:
                self.faults.take(unknown(name, self.known), self.path)


TEXTS = Many(item=TEXT, words="a list of texts", example='["…"]', single=True)
TABLES = Many(item=TABLE, words="a list of tables", example="[{}]", single=True)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises SettingsError if it cannot be read or is not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(str(path), ["there is no such file; check the path"]) from None
    except UnicodeDecodeError as error:
        raise SettingsError(str(path), [f"is no text in UTF-8 ({error.reason} at byte {error.start})"]) from error
    except OSError as error:
        raise SettingsError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except RecursionError:
        raise SettingsError(str(path), [f"is no valid TOML: {TOO_DEEP}"]) from None
    except ValueError as error:  # invalid TOML, or a number with thousands of digits
        raise SettingsError(str(path), [f"is no valid TOML: {first_sentence(error)}"]) from None


TOO_DEEP = "it is nested too deeply"


def from_json(text: str | bytes) -> Any:
    """Return the value of a JSON text that the tester did not write.

    Raises ValueError with a readable reason.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 ({error.reason} at byte {error.start})") from None
    except ValueError as error:
        raise ValueError(first_sentence(error)) from None


def whole_number(text: str, most: int) -> int | None:
    """Return the number that decimal digits spell, or None for any other text or a number above `most`.

    `str.isdigit` alone would accept characters such as ².
    """
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)):
        return None
    number = int(text)
    return number if number <= most else None


def first_sentence(error: Exception) -> str:
    """Return the first line of a library's error message, without advice to programmers (`; use …`) and full stop."""
    return str(error).strip().partition("\n")[0].partition("; use ")[0].rstrip(".")
