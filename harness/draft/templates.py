"""Templates of frames and requests: values that differ become placeholders, constant texts without secrets stay."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

import orjson

from earwitness.harness.draft.kinds import Unit
from earwitness.harness.draft.leaves import MOST_DEPTH, STEP
from earwitness.harness.draft.login import person_placeholder
from earwitness.harness.draft.recording import Exchange, query_of
from earwitness.harness.draft.secrets import REMOVED, SECRET_NAME, UNKNOWN, Secrets

HOLE: Final = re.compile(r"\{[a-z_][a-z0-9_.]*(?::[a-z]+)?\}")
MOST_ITEMS: Final = 40
MOST_QUERY: Final = 12
LONGEST: Final = 60
"""Longest constant text (characters) that is kept."""
SHORTEST: Final = 3
"""Shortest value (characters) that is replaced inside a longer text."""


class Maker:
    """Maker of templates from recorded frames and requests."""

    def __init__(self, secrets: Secrets) -> None:
        """Set `secrets`, the secrets of the recording, which no template may contain."""
        self.secrets = secrets

    def of_units(self, units: Sequence[Unit], at: Mapping[str, str], values: Mapping[str, str]) -> Any:
        """Return the template of units of one kind, at least one.

        A text that differs between the units and has no placeholder becomes UNKNOWN.

        at      path -> placeholder
        values  value -> placeholder that replaces the value at every path
        """
        example = units[0]
        varies = {path for path in example.leaves if len({repr(unit.leaves.get(path)) for unit in units}) > 1} - set(at)
        return self._walk(example.value, "", dict(at) | dict.fromkeys(varies, ""), values, 0)

    def of_value(self, value: object, at: Mapping[str, str], values: Mapping[str, str]) -> Any:
        """Return the template of one value, such as the body of a request. `at`, `values`: as in `of_units`."""
        return self._walk(value, "", at, values, 0)

    def _walk(self, value: object, path: str, at: Mapping[str, str], values: Mapping[str, str], depth: int) -> Any:
        if at.get(path):
            return at[path]
        if isinstance(value, Mapping):
            if depth > MOST_DEPTH:
                return UNKNOWN
            return {
                self.key(str(key)): self._walk(one, f"{path}.{key}" if path else str(key), at, values, depth + 1)
                for key, one in list(value.items())[:MOST_ITEMS]
            }
        if isinstance(value, list):
            if depth > MOST_DEPTH:
                return UNKNOWN
            steps = [f"{path}.{k}" if path else str(k) for k in range(len(value))]
            return [
                self._walk(one, step, at, values, depth + 1)
                for one, step in list(zip(value, steps, strict=True))[:MOST_ITEMS]
            ]
        return self._leaf(value, path, at, values)

    def _leaf(self, value: object, path: str, at: Mapping[str, str], values: Mapping[str, str]) -> Any:
        if str(value) in values and value != "":
            return values[str(value)]
        for known, hole in values.items():
            if isinstance(value, str) and len(known) >= SHORTEST and known in value:
                before, _, behind = value.partition(known)
                return f"{self.constant(before)}{hole}{self.constant(behind)}"
        secret = any(SECRET_NAME.search(step) for step in path.split(".")[-2:]) and not isinstance(value, bool)
        if not isinstance(value, str):
            good = value is None or isinstance(value, bool) or (self.secrets.is_harmless(str(value)) and not secret)
            return value if good else 0
        if path in at:  # it differs from frame to frame, and nothing explains it
            return UNKNOWN
        return UNKNOWN if secret else self.constant(value)

    def constant(self, text: str) -> str:
        """Return a constant text of the recording for a template, without secrets.

        Return UNKNOWN if the text is longer than LONGEST, or contains something that would be read as a placeholder.
        """
        return UNKNOWN if len(text) > LONGEST or HOLE.search(text) else self.secrets.clean(text)

    def key(self, text: str) -> str:
        """Return a key of a table for a template: a key that a path can name is kept, any other text is cleaned."""
        name = STEP.fullmatch(text) and len(text) <= LONGEST and not HOLE.search(text)
        return self.secrets.clean(text) if not name or text in self.secrets.values else text

    # -- requests --

    def url(self, exchange: Exchange, base: str, values: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return the address of a request as a template, without the host if that is `base`.

        values  value -> placeholder, for parts of the path and of the query
        query   name of a parameter -> placeholder
        """
        parts = [self._part(part, values) for part in urlsplit(exchange.url).path.split("/")]
        pairs = [
            f"{quote(self.key(name), safe='')}={query.get(name) or self._argument(name, value, values)}"
            for name, value in query_of(exchange.url).items()
        ]
        path = "/".join(parts) or "/"
        origin = self.secrets.origin(exchange.url)
        return ("" if origin == base else origin) + path + (f"?{'&'.join(pairs[:MOST_QUERY])}" if pairs else "")

    def _part(self, part: str, values: Mapping[str, str]) -> str:
        for known, hole in values.items():
            if part and part in (known, quote(known, safe="")):
                return hole
        return REMOVED if HOLE.search(part) else self.secrets.clean(part)

    def _argument(self, name: str, value: str, values: Mapping[str, str]) -> str:
        if SECRET_NAME.search(name) and value not in values:
            return UNKNOWN
        return values.get(value) or quote(self.constant(value), safe="")

    def person(self, exchange: Exchange) -> tuple[str, Any]:
        """Return ("form", table) or ("body", table) of a login's request with placeholders of the person."""
        if exchange.form:
            return "form", {
                self.key(name): person_placeholder(name, value) or self._argument(name, value, {})
                for name, value in list(exchange.form.items())[:MOST_ITEMS]
            }
        return "body", self._person(exchange.body, "", 0)

    def _person(self, value: object, path: str, depth: int) -> Any:
        if isinstance(value, Mapping) and depth <= MOST_DEPTH:
            return {
                self.key(str(key)): self._person(one, f"{path}.{key}" if path else str(key), depth + 1)
                for key, one in list(value.items())[:MOST_ITEMS]
            }
        if isinstance(value, (Mapping, list)):
            return UNKNOWN
        return (person_placeholder(path, value) if value is not None else "") or self._leaf(value, path, {}, {})


def as_text(template: object, prefix: str) -> str:
    """Return a template as free text: JSON behind `prefix`, with {name:json} for whole values."""
    text = orjson.dumps(template).decode()
    return prefix + re.sub(r'"\{([a-z_][a-z0-9_.]*)\}"', r"{\1:json}", text)
