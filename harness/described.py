"""Validated reading of files: tables whose values are checked as they are read.

All faults are collected and reported together, each with the name of the setting, what is wrong with it and a valid
example, so that a user does not have to fix a file one restart at a time.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from earwitness.harness.errors import SettingsError

NUMBER_MOST = 1e15
"""Upper bound of any number in a file; a larger one is taken for a mistake."""


def _beyond(value: float, least: float) -> str:
    """Return in words what is wrong with a number, "" if nothing is.

    NaN counts as too large.
    """
    if value < least:
        return f"is below {least}"
    return "" if value <= NUMBER_MOST else f"is above {NUMBER_MOST:g}"


class Faults:
    """Faults of one file, collected to be raised together by `raise_any`."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[str] = []

    def add(self, key: str, problem: str, example: str) -> None:
        """Note that `key` has a `problem`, with a valid example of it."""
        self.found.append(f"{key} {problem}; for example {example}")

    def raise_any(self) -> None:
        """Raise SettingsError with all faults, if there are any."""
        if self.found:
            raise SettingsError(self.where, self.found)


def near(word: str, known: Iterable[str]) -> str:
    """Return ' (did you mean X?)' for the known word closest to `word`, else the list of known words, or ""."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]}?)"
    return f" (known: {', '.join(names)})" if names else ""


class Table:
    """TOML table that is read key by key; a read returns the value or, after noting a fault, the default.

    `finish` notes every key that was not read. Nested tables are `Table`s of the same `Faults`.
    """

    def __init__(self, data: Mapping[str, Any], faults: Faults, path: str = "") -> None:
        self.data = data
        self.faults = faults
        self.path = path
        self.known: set[str] = set()

    def key(self, name: str) -> str:
        """Return the full name of a key, with the path of this table."""
        return f"{self.path}.{name}" if self.path else name

    def fault(self, name: str, problem: str, example: str) -> None:
        """Note a fault of the key `name`."""
        self.faults.add(self.key(name), problem, example)

    def has(self, name: str) -> bool:
        """Return whether the key is there, and count it as known for `finish`."""
        self.known.add(name)
        return name in self.data

    def value(self, name: str, kinds: type | tuple[type, ...], words: str, example: str, required: bool = False) -> Any:
        """Return the value if it is of one of `kinds`, else note a fault and return None.

        `words` say what was expected. A missing key is a fault only if `required`.
        """
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
        """Return a text; an empty one is a fault if `required`."""
        value = self.value(name, str, "text", f'"{example}"', required)
        if value == "" and required:
            self.fault(name, "is empty", f'{name} = "{example}"')
        return default if value is None else str(value)

    def secret(self, name: str, *, example: str) -> str:
        """Return the secret that a required key names as `env:NAME` or `file:PATH`, or "" after noting a fault.

        PATH is relative to the folder of the faults' file. A secret that is written out in the file is a fault.
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
        """Return one of `choices`; without `default` the key is required."""
        value = self.value(name, str, "text", f'"{choices[0]}"', default is None)
        if value is not None and value not in choices:
            self.fault(name, f"= {value!r} is none of {', '.join(choices)}", f'{name} = "{choices[0]}"')
            value = None
        return (choices[0] if default is None else default) if value is None else str(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a boolean, or `default` if the key is missing or not a boolean."""
        value = self.value(name, bool, "true or false", "true")
        return default if value is None else bool(value)

    def number(self, name: str, default: float | None = None, *, example: str, least: float = 0.0) -> float | None:
        """Return a number of at least `least`, or `default` after noting a fault."""
        value = self.value(name, (int, float), "a number", example)
        if value is None:
            return default
        if wrong := _beyond(value, least):
            self.fault(name, f"= {value} {wrong}", f"{name} = {example}")
            return default
        return float(value)

    def whole(self, name: str, default: int | None = None, *, example: str, least: int = 0) -> int | None:
        """Return a whole number of at least `least`, or `default` after noting a fault."""
        value = self.value(name, int, "a whole number", example)
        if value is not None and (wrong := _beyond(value, least)):
            self.fault(name, f"= {value} {wrong}", f"{name} = {example}")
            value = None
        return default if value is None else int(value)

    def texts(self, name: str, default: Sequence[str] = (), *, example: str) -> tuple[str, ...]:
        """Return a list of texts; a single text counts as a list of one."""
        value = self.value(name, (str, list), "a list of texts", example)
        if value is None:
            return tuple(default)
        items = [value] if isinstance(value, str) else value
        if not all(isinstance(item, str) for item in items):
            self.fault(name, f"= {value!r} is not a list of texts", f"{name} = {example}")
            return tuple(default)
        return tuple(items)

    def table(self, name: str, *, example: str, required: bool = False) -> Table | None:
        """Return a nested table, or None if the key is missing or not a table."""
        value = self.value(name, dict, "a table", example, required)
        return None if value is None else Table(value, self.faults, self.key(name))

    def tables(self, name: str, *, example: str) -> list[Table]:
        """Return a list of tables; a single table counts as a list of one."""
        value = self.value(name, (dict, list), "a list of tables", example)
        items = [value] if isinstance(value, dict) else value or []
        if not all(isinstance(item, dict) for item in items):
            self.fault(name, f"= {value!r} is not a list of tables", f"{name} = {example}")
            return []
        return [Table(item, self.faults, f"{self.key(name)}[{k}]") for k, item in enumerate(items)]

    def finish(self) -> None:
        """Note as a fault every key of the table that was not read."""
        for name in self.data:
            if name not in self.known:
                self.faults.found.append(f"{self.key(name)} is not known here{near(name, self.known)}")


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a file.

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
    """Return the JSON value in a text from outside.

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
    """Return a library's error message without line breaks and without its advice to programmers."""
    return str(error).strip().partition("\n")[0].partition("; use ")[0].rstrip(".")
