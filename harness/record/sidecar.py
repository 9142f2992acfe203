"""Reading a journal's sidecar: interned names, identities, footer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks.record import FOREIGN
from harness.errors import RecordError


@dataclass(slots=True)
class Sidecar:
    """What the lines of one `NAME.names.jsonl` say so far. `read` may be called again while the file grows.

    name        the journal that it says to be of
    names       id → text; ids run from `FOREIGN` without gaps
    identities  (client, platform's user id) in the order in which they were stated
    footer      None: the journal was not closed, or not yet
    lines       how many lines were read
    """

    path: Path
    header: bool = False
    name: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    identities: list[tuple[int, str]] = field(default_factory=list)
    footer: dict[str, Any] | None = None
    lines: int = 0
    _offset: int = 0

    def read(self) -> None:
        """Take in the whole lines that have been added. A last line without its end is a torn one: left for later.
        RecordError names the first line that makes no sense."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            raise RecordError(f"{self.path} is missing: a journal is two files, copy both.") from None
        except OSError as error:
            raise RecordError(f"Cannot read {self.path}: {error.strerror}.") from error
        end = data.rfind(b"\n") + 1
        self._offset += end
        for line in data[:end].splitlines():
            self.lines += 1
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                said = line[:60].decode(errors="replace")
                raise RecordError(f"{self.path}:{self.lines} is damaged: {said!r} is no line of a sidecar.") from None

    def _take(self, value: dict[str, Any]) -> None:
        if not self.header:
            self.name = str(value["journal"])
            self.header, self.meta = bool(self.name), dict(value["meta"])
        elif "name" in value:
            number, text = value["name"]
            if number != FOREIGN + len(self.names) or not isinstance(text, str):
                raise ValueError(number)
            self.names[number] = text
        elif "identity" in value:
            client, user_id = value["identity"]
            self.identities.append((int(client), str(user_id)))
        else:
            self.footer = dict(value["footer"])
            self.footer["records"] = int(self.footer["records"])
