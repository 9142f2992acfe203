"""Page of all modules: each source file with the first paragraph of its docstring and the names that it defines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("locustfiles", "pytest_suite", "harness", "checks", "dashboards", "benchmarks", "tests/support")
"""Folders of the page: those of the product, each before the folders that it imports, then the others."""
OTHER_SUFFIXES = (".js", ".html", ".css", ".sql", ".c", ".h", ".toml")
"""Suffixes of source files that are not Python; their first comment is their description."""
_COMMENT = re.compile(r"\A(?:<!doctype html>\s*)?\s*(?:/\*+|//+|--+|#+|<!--)\s*(.*)", re.IGNORECASE)
HEAD = """# Modules

Every file of the product, what it is for (the first sentence of each file), and the names that it defines, folder by
folder. Search this page for the word of your change. How the folders belong together:
[Architecture](../architecture.md).
"""


def page() -> str:
    """Return the Markdown of `docs/reference/modules.md`, without the line on how it was written."""
    return HEAD + "".join(_folder(folder) for floor in FLOORS for folder in _folders(ROOT / floor))


def _folders(top: Path) -> Iterator[Path]:
    """Yield `top` and all folders below it that hold modules."""
    found = {file.parent for file in top.rglob("*.py")}
    yield from sorted(found)


def _folder(folder: Path) -> str:
    """Return the section of one folder; "" if none of its files has a description."""
    rows = [row for file in sorted(folder.iterdir()) if (row := _row(file))]
    if not rows:
        return ""
    return f"\n## {folder.relative_to(ROOT)}\n| file | what it is for | names |\n|---|---|---|\n{''.join(rows)}"


def _row(file: Path) -> str:
    """Return the row of one file; "" if it is no source file or has no description."""
    if file.suffix == ".py":
        module = ast.parse(file.read_text("utf-8"))
        words, names = _first_paragraph(module), ", ".join(f"`{name}`" for name in _names(module))
    elif file.suffix in OTHER_SUFFIXES:
        words, names = _first_comment(file.read_text("utf-8")), ""
    else:
        return ""
    return f"| `{file.name}` | {words} | {names} |\n" if words else ""


def _first_paragraph(module: ast.Module) -> str:
    """Return the first paragraph of a module's docstring in one line, "" without one."""
    docstring = ast.get_docstring(module) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("|", "\\|")


def _first_comment(text: str) -> str:
    """Return the first line of `text`, without comment signs, if it is a comment; else ""."""
    found = _COMMENT.match(text)
    return found[1].strip().removesuffix("*/").removesuffix("-->").strip().replace("|", "\\|") if found else ""


def _names(module: ast.Module) -> Iterator[str]:
    """Yield the public classes, functions and constants of a module in the order of the file."""
    for node in module.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = [node.name]
        elif isinstance(node, ast.Assign):
            found = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found = [node.target.id]
        else:
            continue
        yield from (name for name in found if not name.startswith("_"))
