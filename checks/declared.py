"""Declarations of the keys of a table: valid values, sentences about mistakes, and the JSON schema.

A table that users write in a file is declared once: each key with its kind of value, its meaning and an example. The
declaration serves the reader (`harness.described.Table`, `Contract.from_dict`), the sentences about mistakes, the JSON
schema for editors and the tables of the docs. This module does no I/O, because checks import it too.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Protocol

NUMBER_MOST: Final = 1e15
"""Default upper bound of a number in a file; a larger one is reported as a mistake."""
KEY: Final = "key"
"""Name in the `metadata` of a dataclass's field under which its `Key` is stored."""


def closest(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Return the known word that is most similar to `word`, "" if none is similar enough.

    `likeness`: smallest similarity, from 0 (nothing in common) to 1 (the same word).
    """
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=likeness)), "")


def near(word: str, known: Iterable[str]) -> str:
    """Return a hint for an error message: " (did you mean X?)" with the most similar known word.

    " (known: …)" with all known words if none is similar; "" if there are none.
    """
    names = sorted(known)
    if found := closest(word, names):
        return f" (did you mean {found}?)"
    return f" (known: {', '.join(names)})" if names else ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Mistake in the value of one key.

    problem  what is wrong, worded to follow the name of the key: "is empty"
    example  line that would be correct, "" if there is none to show
    """

    key: str
    problem: str
    example: str = ""

    def sentence(self, path: str = "") -> str:
        """Return the mistake as one line of text. `path`: dotted name of the key's table, "" for the top of a file."""
        name = f"{path}.{self.key}" if path else self.key
        name = name if name.isprintable() else ascii(name)
        return f"{name} {self.problem}" + (f"; for example {self.example}" if self.example else "")


class Kind(Protocol):
    """Protocol of a kind of value that a key may have."""

    @property
    def words(self) -> str:
        """Return what is expected, as words for an error message."""
        ...

    @property
    def example(self) -> str:
        """Return a valid value in TOML syntax."""
        ...

    def fault(self, value: object) -> str:
        """Return what is wrong with `value`, "" if it is valid. The text follows the key's name, as "is empty" does."""
        ...

    def schema(self) -> dict[str, object]:
        """Return the JSON schema of valid values."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Kind of value: text.

    pattern  regular expression of the whole text; "" for any text
    problem  error words for a text that does not match `pattern`, like "is no path"
    empty    True: an empty text is allowed
    hidden   True: errors do not show the value, because it may be a secret
    """

    words: str = "text"
    example: str = '"…"'
    pattern: str = ""
    problem: str = ""
    empty: bool = True
    hidden: bool = False

    def fault(self, value: object) -> str:
        """Implement `Kind.fault`: only text that matches `pattern` is valid, and "" only if `empty` is True."""
        if not isinstance(value, str):
            return "is not text" if self.hidden else f"= {value!r} is not text"
        if not value and not self.empty:
            return "is empty"
        if not self.pattern or re.fullmatch(self.pattern, value):
            return ""
        return self.problem if self.hidden else f"= {value!r} {self.problem}"

    def schema(self) -> dict[str, object]:
        """Implement `Kind.schema`: return the schema of a string, with `pattern` if there is one."""
        form = {"pattern": f"^(?:{self.pattern})$"} if self.pattern else {}
        return {"type": "string", **form, **({} if self.empty else {"minLength": 1})}


@dataclass(frozen=True, slots=True)
class Flag:
    """Kind of value: true or false."""

    words: str = "true or false"
    example: str = "true"

    def fault(self, value: object) -> str:
        """Implement `Kind.fault`: only a boolean is valid."""
        return "" if isinstance(value, bool) else f"= {value!r} is not true or false"

    def schema(self) -> dict[str, object]:
        """Implement `Kind.schema`: return the schema of a boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """Kind of value: number from `least` to `most`; None: no bound. NaN counts as above `most`.

    whole  True: integers only
    unit   unit of the number, like "seconds"; "" for none
    """

    whole: bool = False
    least: float | None = 0
    most: float | None = NUMBER_MOST
    unit: str = ""
    example: str = "1"

    @property
    def words(self) -> str:
        """Implement `Kind.words`: return "a whole number" or "a number"."""
        return "a whole number" if self.whole else "a number"

    def fault(self, value: object) -> str:
        """Implement `Kind.fault`: only a number within the bounds is valid. A boolean is no number."""
        kinds = int if self.whole else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool):
            return f"= {value!r} is not {self.words}"
        if self.least is not None and value < self.least:
            return f"= {value} is below {self.least:g}"
        return "" if self.most is None or value <= self.most else f"= {value} is above {self.most:g}"

    def schema(self) -> dict[str, object]:
        """Implement `Kind.schema`: return the schema of a number or an integer, with the bounds."""
        bounds = {"minimum": self.least, "maximum": self.most}
        told = {key: int(bound) if bound == int(bound) else bound for key, bound in bounds.items() if bound is not None}
        return {"type": "integer" if self.whole else "number", **told}


@dataclass(frozen=True, slots=True)
class OneOf:
    """Kind of value: one of a few texts."""

    choices: tuple[str, ...]

    @property
    def words(self) -> str:
        """Implement `Kind.words`: return "one of " and the choices."""
        return f"one of {', '.join(self.choices)}"

    @property
    def example(self) -> str:
        """Implement `Kind.example`: return the first choice."""
        return f'"{self.choices[0]}"'

    def fault(self, value: object) -> str:
        """Implement `Kind.fault`: only one of the choices is valid. The error names the choice that is most similar."""
        if not isinstance(value, str):
            return f"= {value!r} is not text"
        if value in self.choices:
            return ""
        meant = f" (did you mean {found}?)" if (found := closest(value, self.choices)) else ""
        return f"= {value!r} is none of {', '.join(self.choices)}{meant}"

    def schema(self) -> dict[str, object]:
        """Implement `Kind.schema`: return an enumeration of the choices."""
        return {"enum": list(self.choices)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    """Kind of value: list whose items are all of the kind `item`. With `single` one item counts as a list of one."""

    item: Kind
    words: str
    example: str
    single: bool = False

    def fault(self, value: object) -> str:
        """Implement `Kind.fault`: only a list of valid items is valid; with `single` also a single valid item."""
        items = value if isinstance(value, list) else [value] if self.single else None
        fits = items is not None and not any(self.item.fault(one) for one in items)
        return "" if fits else f"= {value!r} is not {self.words}"

    def schema(self) -> dict[str, object]:
        """Implement `Kind.schema`: return an array, or with `single` also a single item."""
        item = self.item.schema()
        listed: dict[str, object] = {"type": "array", "items": item}
        return {"anyOf": [item, listed]} if self.single else listed


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """Kind of value: value of any of several kinds. `problem`: error words for a value that none of them allows."""

    kinds: tuple[Kind, ...]
    words: str
    example: str
    problem: str = ""

    def fault(self, value: object) -> str:
        """Implement `Kind.fault`: only a value that one of the kinds allows is valid."""
        fits = any(not kind.fault(value) for kind in self.kinds)
        return "" if fits else f"= {value!r} {self.problem or f'is not {self.words}'}"

    def schema(self) -> dict[str, object]:
        """Implement `Kind.schema`: return the schemas of all kinds as alternatives."""
        return {"anyOf": [kind.schema() for kind in self.kinds]}


@dataclass(frozen=True, slots=True)
class Open:
    """Kind of value: table or list with any content, which the tester uses unchanged. `kind`: dict or list."""

    kind: type = dict
    words: str = "a table"
    example: str = "{}"

    def fault(self, value: object) -> str:
        """Implement `Kind.fault`: only a value of the type `kind` is valid."""
        return "" if isinstance(value, self.kind) else f"= {value!r} is not {self.words}"

    def schema(self) -> dict[str, object]:
        """Implement `Kind.schema`: return the schema of any object, or of any array."""
        return {"type": "object" if self.kind is dict else "array"}


FLAG, TEXT, TABLE = Flag(), Text(), Open()


def _as_it_is(value: object) -> Any:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Declaration of one key of a table.

    kind     which values are valid
    meaning  what the key means, for the docs
    example  a valid value in TOML syntax; "": examples show the default, or without one the example of the kind
    default  the value that is used if the key is absent, in TOML syntax; "" for none
    convert  function that is called with a valid value from the file and returns the value that the program uses
    """

    kind: Kind
    meaning: str = ""
    example: str = ""
    default: str = ""
    convert: Callable[[Any], Any] = _as_it_is

    def line(self, name: str) -> str:
        """Return a valid line of TOML for the key `name`."""
        return f"{name} = {self.example or self.default or self.kind.example}"


def key(default: Any, kind: Kind, meaning: str, /, **more: Any) -> Any:
    """Return a dataclass field that declares the key of the same name in a table.

    `default`: value of the field without the key; `meaning`: what it means, for the docs; `more`: further attributes of
    `Key`.
    """
    return field(default=default, metadata={KEY: Key(kind=kind, meaning=meaning, **more)})


def keys_of(table: type) -> dict[str, Key]:
    """Return the declared keys of the dataclass `table` by name: those of the fields that `key` made.

    A key without a stated default gets the field's default, in TOML syntax.
    """
    declared = {one.name: (one.metadata[KEY], one.default) for one in fields(table) if KEY in one.metadata}
    return {
        name: one if one.default else replace(one, default=as_toml(value)) for name, (one, value) in declared.items()
    }


def as_toml(value: object) -> str:
    """Return a plain value (text, number, boolean or list) in TOML syntax; "" for None."""
    return "" if value is None else json.dumps(value)


def unknown(name: str, known: Iterable[str]) -> Fault:
    """Return the mistake for a key `name` that is not among the keys `known`; its text names a similar known key."""
    return Fault(name, f"is not known here{near(name, known)}")


def faults_in(data: Mapping[str, object], keys: Mapping[str, Key], absent: Sequence[str] = ()) -> list[Fault]:
    """Return all mistakes of a table, in the order of its keys.

    `keys`: the declared keys by name; `absent`: names of keys whose value may be None.
    """
    found = []
    for name, value in data.items():
        if name not in keys:
            found.append(unknown(name, keys))
        elif not (value is None and name in absent) and (problem := keys[name].kind.fault(value)):
            found.append(Fault(name, problem, keys[name].line(name)))
    return found
