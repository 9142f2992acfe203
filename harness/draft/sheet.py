"""Text of a drafted target file: tables, keys with the evidence for each guess, and TODO lines for missing values."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Final

from earwitness.harness.draft.evidence import Found
from earwitness.harness.progress import one_line

WIDTH: Final = 118
BESIDE: Final = 52
"""Column at which a comment begins that is on the line of its key."""
BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


class Sheet:
    """Lines of a target file, written from top to bottom."""

    def __init__(self) -> None:
        """Start an empty file."""
        self.lines: list[str] = []
        self.todos = self.guesses = 0

    def table(self, name: str) -> None:
        """Begin a table. `name`: its header with the brackets, such as "[frames]"."""
        self.lines += ["", name]

    def key(self, name: str, value: object, comment: str = "") -> None:
        """Write a key. `comment` is on the same line if both fit into WIDTH characters, else on a line above."""
        line = f"{name} = {toml(value)}"
        beside = f"{line.ljust(BESIDE)} # {one_line(comment)}"
        if comment and len(beside) > WIDTH:
            self.comment(comment)
            beside = line
        self.lines.append(beside if comment else line)

    def guess(
        self, name: str, value: object, how: str, seen: int = 0, of: int = 0, check: str = "", what: str = "frame"
    ) -> None:
        """Write a key that is guessed, with its evidence as the comment.

        how       phrase that says why it was guessed
        seen, of  in how many of how many frames (or `what`) it was seen; none are mentioned if `of` is 0
        check     what the user should check, "" for nothing
        """
        self.guesses += 1
        counted = f", seen in {seen} of {of} {what if of == 1 else f'{what}s'}" if of else ""
        self.key(name, value, f"guess: {how}{counted}{f'; check {check}' if check else ''}")

    def path(self, role: str, found: Found, path: str, check: str = "") -> None:
        """Write the key `role` with a guessed `path`, and the evidence of `found`; `check` as in `guess`."""
        self.guess(role, path, found.how, found.seen, found.of, check)

    def todo(self, text: str, line: str = "") -> None:
        """Write a TODO for what could not be found.

        `text`: what to look for; `line`: an example, written as a comment.
        """
        self.todos += 1
        self.comment(f"TODO: {text}")
        if line:
            self.lines.append(f"# {one_line(line)}")

    def comment(self, text: str) -> None:
        """Write a comment, broken into lines."""
        self.lines += [f"# {line}" for line in textwrap.wrap(one_line(text), WIDTH - 2, break_long_words=False)]

    def text(self) -> str:
        """Return the text of the whole file."""
        return "\n".join(self.lines).strip("\n") + "\n"


def toml(value: object) -> str:
    """Return a value as TOML on one line. null, which TOML lacks, is left out of tables and lists."""
    if isinstance(value, Mapping):
        pairs = [f"{_key(str(key))} = {toml(one)}" for key, one in value.items() if one is not None]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(toml(one) for one in value if one is not None)}]"
    if isinstance(value, str) and '"' in value and "'" not in value and value.isprintable():
        return f"'{value}'"  # a literal string: JSON in it stays readable
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return json.dumps(value)


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else toml(key)
