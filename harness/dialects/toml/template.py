"""Templates of target files: text or JSON tables with `{placeholders}`.

A placeholder is a name in braces; any other brace is kept, so JSON can be written unchanged. In a table every
text is quoted as JSON. A text that consists of one placeholder becomes the value itself: a number remains a number, a
list remains a list. In free text a filter says how to quote: `{text:json}` (with quotation marks),
`{text:xml}`, `{text:url}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias
from urllib.parse import quote
from xml.sax.saxutils import escape

import orjson

from earwitness.harness.client.envelope import Put, Quoted, SentPiece

Source: TypeAlias = str | Mapping[str, object] | list[object]
"""What a template is compiled from: free text, or a table of JSON."""

_HOLE = re.compile(r"\{([a-z_][a-z0-9_.]*)(?::([a-z]+))?\}")
_MARK = re.compile("\ue000([^\ue001]*)\ue001")


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


_FILTERS: dict[str, Callable[[object], str]] = {
    "": str,
    "json": _json,
    "inner": lambda value: _json(str(value))[1:-1],
    "xml": lambda value: escape(str(value), {'"': "&quot;", "'": "&apos;"}),
    "url": lambda value: quote(str(value), safe=""),
}


_FORMS: dict[str, Quoted] = {"": Quoted.RAW, "inner": Quoted.INNER, "json": Quoted.JSON}


class Template:
    """A compiled template.

    `names`: the placeholders that it uses. `unknown_filters`: filters in it that do not exist.
    """

    def __init__(self, source: Source, *, quoting: str = "") -> None:
        """Compile a template. Unknown filters are collected; `fault` reports them.

        `quoting`: filter for placeholders in free text that have no filter themselves ("url" for addresses).
        """
        text = source if isinstance(source, str) else _marked_json(source)
        pattern = _HOLE if isinstance(source, str) else _MARK
        self._parts: list[tuple[str, Callable[[object], str]] | str] = []
        self.names: set[str] = set()
        self.unknown_filters: set[str] = set()
        end = 0
        for match in pattern.finditer(text):
            name, _, given = match[1].partition(":") if pattern is _MARK else (match[1], "", match[2] or quoting)
            if given not in _FILTERS:
                self.unknown_filters.add(given)
                continue
            self._parts += [text[end : match.start()], (name, _FILTERS[given])]
            self.names.add(name)
            end = match.end()
        self._parts.append(text[end:])

    @property
    def numbers(self) -> frozenset[int]:
        """Return the whole numbers in the text outside the placeholders."""
        return frozenset(int(digits) for digits in re.findall(r"[0-9]{1,9}", self.literal))

    @property
    def literal(self) -> str:
        """Return the template's text without its placeholders."""
        return "".join(part for part in self._parts if isinstance(part, str))

    @property
    def prefix(self) -> str:
        """Return the text before the first placeholder."""
        first = self._parts[0]
        return first if isinstance(first, str) else ""

    def render(self, values: Mapping[str, object]) -> str:
        """Return the text with values in its placeholders.

        Raises KeyError for a placeholder without a value.
        """
        return "".join([part if isinstance(part, str) else part[1](values[part[0]]) for part in self._parts])

    def pieces(self, values: Mapping[str, Put]) -> tuple[SentPiece, ...]:
        """Return the template as pieces for `Envelope.send`; () if an envelope has no form for one of its parts.

        `values`: placeholder -> the value of an envelope that replaces it.
        """
        pieces: list[SentPiece] = []
        for part in self._parts:
            if isinstance(part, str):
                pieces.append(part)
                continue
            form = next((form for name, form in _FORMS.items() if _FILTERS[name] is part[1]), None)
            if form is None or part[0] not in values:
                return ()
            pieces.append((values[part[0]], form))
        return tuple(piece for piece in pieces if piece)

    def fault(self, known: Collection[str]) -> str | None:
        """Return what is wrong with the template, None if nothing is. `known`: placeholders that will have values."""
        if self.unknown_filters:
            return f"uses the unknown filter {min(self.unknown_filters)!r} (known: json, xml, url)"
        unknown = sorted(self.names - set(known))
        if unknown:
            return f"uses the unknown placeholder {{{unknown[0]}}} (known: {', '.join(sorted(known))})"
        return None


def _marked_json(value: object) -> str:
    """Return compact JSON of `value` with every placeholder between marks.

    The marks enclose NAME:json for whole values, NAME:inner inside a text.
    """
    return (
        json.dumps(_mark(value), ensure_ascii=False, separators=(",", ":"))
        .replace('"\ue002', "")
        .replace('\ue002"', "")
    )


def _mark(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _mark(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mark(item) for item in value]
    if not isinstance(value, str):
        return value
    whole = _HOLE.fullmatch(value)
    if whole and not whole[2]:
        return f"\ue002\ue000{whole[1]}:json\ue001\ue002"
    return _HOLE.sub(lambda match: f"\ue000{match[1]}:{match[2] or 'inner'}\ue001", value)
