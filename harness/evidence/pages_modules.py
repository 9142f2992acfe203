"""Page of all modules: each file of the product with the first sentence of its docstring, folder by folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("locustfiles", "pytest_suite", "harness", "checks")
"""Top-level folders, in the order in which they import each other."""
HEAD = """# Modules

Every file of the product and what it is for, folder by folder: the first sentence of each file. Search this page for
the word of your change. How the folders belong together: [Architecture](../architecture.md).
"""


def page() -> str:
    """Return the Markdown of `docs/reference/modules.md`."""
    return HEAD + "".join(_folder(folder) for floor in FLOORS for folder in _folders(ROOT / floor))


def _folders(top: Path) -> Iterator[Path]:
    """Yield `top` and all folders below it that hold modules."""
    found = {file.parent for file in top.rglob("*.py")}
    yield from sorted(found)


def _folder(folder: Path) -> str:
    """Return the section of one folder, "" if none of its files says anything."""
    rows = [(file.name, words) for file in sorted(folder.glob("*.py")) if (words := _first_sentence(file))]
    if not rows:
        return ""
    table = "".join(f"| `{name}` | {words} |\n" for name, words in rows)
    return f"\n## {folder.relative_to(ROOT)}\n| file | what it is for |\n|---|---|\n{table}"


def _first_sentence(file: Path) -> str:
    """Return the first paragraph of a module's docstring in one line, "" without one."""
    docstring = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("|", "\\|")
