"""Files that describe something: tables that are validated as they are read.

Every fault is collected and reported at once, each with the name of the setting, what is wrong with it and a valid
example, so that nobody mends a file one restart at a time.
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
"""More than anybody means who writes a number into a file."""


def _beyond(value: float, least: float) -> str:
    """Return in words what is wrong with a number, "" if nothing is. NaN counts as too large."""
    if value < least:
        return f"is below {least}"
    return "" if value <= NUMBER_MOST else f"is above {NUMBER_MOST:g}"


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
            except (OSError, ValueError) as error:  # no text, or no name that a file can have
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
        if wrong := _beyond(value, least):
            self.fault(name, f"= {value} {wrong}", f"{name} = {example}")
            return default
        return float(value)

    def whole(self, name: str, default: int | None = None, *, example: str, least: int = 0) -> int | None:
        value = self.value(name, int, "a whole number", example)
        if value is not None and (wrong := _beyond(value, least)):
            self.fault(name, f"= {value} {wrong}", f"{name} = {example}")
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
    except UnicodeDecodeError as error:
        raise SettingsError(str(path), [f"is no text in UTF-8 ({error.reason} at byte {error.start})"]) from error
    except OSError as error:
        raise SettingsError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except RecursionError:
        raise SettingsError(str(path), [f"is no valid TOML: {TOO_DEEP}"]) from None
    except ValueError as error:  # of TOML, or of a number with thousands of digits
        raise SettingsError(str(path), [f"is no valid TOML: {first_sentence(error)}"]) from None


TOO_DEEP = "it is nested too deeply"


def from_json(text: str | bytes) -> Any:
    """The JSON value in a text that somebody else wrote. Raises ValueError that says in words what is wrong."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 ({error.reason} at byte {error.start})") from None
    except ValueError as error:
        raise ValueError(first_sentence(error)) from None


def whole_number(text: str, most: int) -> int | None:
    """The number that decimal digits say, None for any other text and above `most`. `str.isdigit` takes ² for one."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)):
        return None
    number = int(text)
    return number if number <= most else None


def first_sentence(error: Exception) -> str:
    """What a library says is wrong, without its advice to programmers and line breaks."""
    return str(error).strip().partition("\n")[0].partition("; use ")[0].rstrip(".")
