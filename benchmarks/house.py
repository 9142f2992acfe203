"""`python -m benchmarks.house [--install]`: measures how easy the code of this checkout is to work with.

"Product" means the Python files of `checks/` and `harness/`. Each figure is counted by one function below, most of them
on the syntax tree, so nothing is imported and nothing runs. One figure of the design is missing because it needs a
person: how many of twenty typical changes a newcomer looks for in the wrong folder.
"""

from __future__ import annotations

import argparse
import ast
import functools
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("checks", "harness")
STORIES = ("locustfiles", "examples")
PACKAGE = "earwitness"
SHORT = 50
SLOTS = 14
"""Number of integers of a record, as `Journal.write` takes them."""
CHECKS = ("I22", "I27", "I43")
"""Ids of the three checks whose mentions are counted."""
NOT_COUNTED = (
    "docs/reference/",
    "docs/evidence",
    "docs/suite-evidence.md",
    "docs/opportunities.md",
    "CHANGELOG.md",
    "benchmarks/house.py",
)
"""Beginnings of paths of files that name checks but need no edit for a new check: written pages, history, this file."""
FRAGMENTS = frozenset(
    "who whom whose what whatever whoever which where when whether why how until till as if because nothing nobody"
    " somebody anybody neither".split()
)
"""First words of docstrings that are neither a sentence nor a noun phrase."""
DOCSTRING_RULES = "D100,D101,D102,D103,D104,D105,D106,D107"
Function = ast.FunctionDef | ast.AsyncFunctionDef


# -- the files --------------------------------------------------------------------------------------------------------


@functools.cache
def python_files(folders: tuple[str, ...] = PRODUCT) -> dict[Path, ast.Module]:
    """Return the syntax tree of each Python file in `folders`, by its path from the root of the checkout."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT): ast.parse(path.read_text("utf-8")) for path in paths}


def lines_of(path: Path) -> int:
    """Return the number of lines of a file."""
    return len((ROOT / path).read_text("utf-8").splitlines())


def module_of(path: Path) -> str:
    """Return the name by which the module at `path` is imported."""
    parts = path.with_suffix("").parts
    return ".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yield the functions and methods of a tree, inner ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def calls(folders: tuple[str, ...] = PRODUCT) -> Iterator[tuple[Path, ast.Call]]:
    """Yield (path, call) for each call in the files of `folders`."""
    for path, tree in python_files(folders).items():
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, ast.Call))


# -- imports ----------------------------------------------------------------------------------------------------------


def imported(statement: ast.AST, known: Iterable[str]) -> list[str]:
    """Return the modules of `known` that a statement loads.

    The statement is an import, or a call of `import_module` with a literal name.
    """
    names: list[str] = []
    if isinstance(statement, ast.Import):
        names = [alias.name for alias in statement.names]
    elif isinstance(statement, ast.ImportFrom) and statement.module:
        names = [statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)]
    elif isinstance(statement, ast.Call) and ast.unparse(statement.func).endswith("import_module") and statement.args:
        first = statement.args[0]
        names = [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
    return [name for name in names if name in known]


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run when a module is imported: all except bodies of functions and of `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from at_import(node)


def import_graphs() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return two graphs, module -> modules that it loads: when it is imported, and only inside a function."""
    trees = {module_of(path): tree for path, tree in python_files().items()}
    first: dict[str, set[str]] = {}
    later: dict[str, set[str]] = {}
    for name, tree in trees.items():
        first[name] = {one for node in at_import(tree) for one in imported(node, trees)} - {name}
        inside = (node for function in functions(tree) for node in ast.walk(function))
        later[name] = {one for node in inside for one in imported(node, trees)} - {name} - first[name]
    return first, later


def reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    """Return all modules that `start` loads, directly or indirectly, by `graph`."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        fresh = graph[waiting.pop()] - seen
        seen |= fresh
        waiting += fresh
    return seen


def deferred_circles() -> str:
    """Return in words how many import circles exist only through deferred imports, and the modules of each."""
    first, later = import_graphs()
    whole = {name: first[name] | later[name] for name in first}
    reach = {name: reachable(name, whole) for name in whole}
    circles = {
        frozenset(other for other in reach[name] if name in reach[other])
        for name, deferred in later.items()
        for to in deferred
        if name in reach[to]
    }
    named = ("{" + ", ".join(sorted(one.removeprefix(f"{PACKAGE}.") for one in circle)) + "}" for circle in circles)
    return "; ".join([str(len(circles)), *sorted(named)])


# -- classes ----------------------------------------------------------------------------------------------------------


def bases() -> dict[str, list[str]]:
    """Return class -> its base classes, all by name with module."""
    found: dict[str, list[str]] = {}
    for path, tree in python_files((*PRODUCT, *STORIES)).items():
        here = module_of(path)
        known = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                names = [ast.unparse(base).partition("[")[0] for base in node.bases]
                found[f"{here}.{node.name}"] = [known.get(name, f"{here}.{name}") for name in names]
    return found


def user_depth() -> str:
    """Return in words the greatest number of classes below Locust's `User`, with the classes."""
    found = bases()
    by_short: dict[str, list[str]] = {}
    for name in found:
        by_short.setdefault(name.rpartition(".")[2], []).append(name)

    def chain(name: str) -> list[str]:
        """Return the longest chain of class names from `User` to the class `name`; [] if the class is no user."""
        if name in ("locust.User", "locust.user.User", "locust.user.users.User"):
            return ["User"]
        if name not in found:  # imported from where it is not defined
            same = by_short.get(name.rpartition(".")[2], []) if name.startswith(PACKAGE) else []
            return chain(same[0]) if len(same) == 1 and same[0] != name else []
        longest = max((chain(base) for base in found[name]), key=len, default=[])
        return [*longest, name.rpartition(".")[2]] if longest else []

    deepest = max((chain(name) for name in sorted(found)), key=len)
    return f"{len(deepest) - 1}: {' → '.join(deepest)}" if deepest else "no user found"


# -- types ------------------------------------------------------------------------------------------------------------


def getattr_capabilities() -> str:
    """Return in words how often a capability of a target is looked up by name: `getattr(target, "name", default)`."""
    found = Counter(
        str(path)
        for path, call in calls()
        if isinstance(call.func, ast.Name) and call.func.id == "getattr" and len(call.args) == 3
        and ast.unparse(call.args[0]).rpartition(".")[2] in ("target", "dialect")
    )  # fmt: skip
    return _total(found)


def any_per_thousand() -> str:
    """Return in words how often `Any` is written per 1,000 lines of the product; imports do not count."""
    names = (node for tree in python_files().values() for node in ast.walk(tree))
    count = sum(
        (isinstance(node, ast.Name) and node.id == "Any") or (isinstance(node, ast.Attribute) and node.attr == "Any")
        for node in names
    )
    return f"{1000 * count / product_lines():.1f} ({count})"


def positional_writes() -> str:
    """Return in words how many calls of `write` pass a record as 14 positional integers, and where."""
    found = Counter(
        str(path)
        for path, call in calls()
        if isinstance(call.func, ast.Attribute) and call.func.attr == "write" and len(call.args) >= SLOTS
    )
    return _total(found)


def _total(found: Counter[str]) -> str:
    where = ", ".join(f"{path} {count}" for path, count in found.most_common())
    return f"{found.total()}{f' ({where})' if where else ''}"


# -- sizes ------------------------------------------------------------------------------------------------------------


def product_lines() -> int:
    """Return the number of lines of all product files."""
    return sum(map(lines_of, python_files()))


def product_files() -> str:
    """Return in words the number of product files, and of product files with at most 50 lines."""
    paths = list(python_files())
    short = [path for path in paths if lines_of(path) <= SHORT]
    entries = sum(path.name == "__init__.py" for path in short)
    return f"{len(paths)} / {len(short)} (of these {entries} `__init__.py`)"


def lines_by_room() -> str:
    """Return in words the number of product lines, and of those in reference platform, defects and evidence."""
    beside = sum(lines_of(path) for path in python_files() if path.parts[1] in ("reference", "defects", "evidence"))
    return f"{product_lines():,} (reference platform, defects and evidence: {beside:,})"


def files_naming_checks() -> str:
    """Return in words how many files name each of three checks; see NOT_COUNTED for exceptions."""
    told = []
    for check in CHECKS:
        done = subprocess.run(
            ["git", "grep", "-lwI", "--untracked", check], cwd=ROOT, capture_output=True, text=True, check=False
        )
        files = [name for name in done.stdout.splitlines() if not name.startswith(NOT_COUNTED)]
        rooms = Counter(name.partition("/")[0] for name in files)
        told.append(f"{check} {len(files)} ({', '.join(f'{room} {count}' for room, count in rooms.most_common())})")
    return "; ".join(told)


# -- words ------------------------------------------------------------------------------------------------------------


def fragments() -> str:
    """Return in words the share of functions whose docstring begins with a word of FRAGMENTS."""
    texts = [ast.get_docstring(one) for tree in python_files().values() for one in functions(tree)]
    firsts = [words[0].lower() for text in texts if text and (words := re.findall(r"[A-Za-z]+", text.splitlines()[0]))]
    pieces = sum(first in FRAGMENTS for first in firsts)
    return f"{100 * pieces / max(1, len(firsts)):.1f} % ({pieces} of {len(firsts)} docstrings)"


def undocumented() -> str:
    """Return in words the number of public names without a docstring (ruff's D100 to D107), by folder."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--exit-zero", "--output-format", "json"]
    done = subprocess.run(
        [*command, "--select", DOCSTRING_RULES, *PRODUCT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"not measured: {done.stderr.strip()}"
    rooms = Counter("/".join(Path(one["filename"]).relative_to(ROOT).parts[:2]) for one in json.loads(done.stdout))
    return _total(rooms)


def kernel_comments() -> str:
    """Return in words the number of full-line comments in `checks/`, and of compiled functions without a comment."""
    comments = kernels = bare = uncommented = 0
    for path, tree in python_files(("checks",)).items():
        lines = (ROOT / path).read_text("utf-8").splitlines()
        comments += sum(line.lstrip().startswith("#") for line in lines)
        for one in functions(tree):
            if not {"kernel", "helper"} & {ast.unparse(mark) for mark in one.decorator_list}:
                continue
            kernels += 1
            before = one.decorator_list[0].lineno - 1
            commented = any(line.lstrip().startswith("#") for line in lines[before - 1 : one.end_lineno])
            uncommented += not commented
            bare += not commented and ast.get_docstring(one) is None
    return f"{comments}; of {kernels} compiled functions {uncommented} have no comment, {bare} no docstring either"


def install_size() -> str:
    """Return in words the size of an installation without extras in a new folder; needs a package index."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        done = subprocess.run([*pip, "--target", folder, str(ROOT)], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"not measured: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}"
        sizes: Counter[str] = Counter()
        for path in Path(folder).rglob("*"):
            if path.is_file() and not path.is_symlink():
                sizes[path.relative_to(folder).parts[0]] += path.stat().st_size
    largest = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in sizes.most_common(4))
    return f"{sizes.total() / 1e6:.0f} MB ({largest})"


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: title, function that measures, aim in words."""

    title: str
    measure: Callable[[], object]
    aim: str


ROWS = (
    Row(f"product files / files of at most {SHORT} lines", product_files, "~190 / < 15"),
    Row("product lines", lines_by_room, "≤ 38,000"),
    Row("deferred import circles", deferred_circles, "0"),
    Row("classes below Locust's `User`", user_depth, "≤ 3"),
    Row("`getattr` capabilities", getattr_capabilities, "0"),
    Row("`Any` per 1,000 lines", any_per_thousand, "< 6"),
    Row("files that name a check", files_naming_checks, "≤ 7 each"),
    Row(f"positional writes of {SLOTS} integers", positional_writes, "only in the hot path"),
    Row("docstring fragments", fragments, "< 3 %"),
    Row("undocumented public names", undocumented, "< 50"),
    Row("full-line comments in `checks/`", kernel_comments, "each kernel explained"),
)
INSTALL = Row("installation without extras", install_size, "as small as numba allows")


def main() -> None:
    """Print the table of all figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.house", description="How easy the tree is to live in.")
    parser.add_argument("--install", action="store_true", help="install the package too, to weigh it (a minute)")
    rows = (*ROWS, INSTALL) if parser.parse_args().install else ROWS
    print("| | now | aim |\n|---|---|---|")
    for row in rows:
        print(f"| {row.title} | {row.measure()} | {row.aim} |", flush=True)


if __name__ == "__main__":
    main()
