"""Small mistakes in the checks, for mutation tests: a flipped comparison, a dropped reset, a removed check …"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from earwitness.checks import catalogue
from earwitness.checks.engine.fold import Check

ROOT = Path(__file__).resolve().parents[2]

FLIPPED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
WORDS = ("find", "describe", "_absence", "reason", "sentence", "refill", "reserve")
"""Parts of names of functions in which no mistakes are made: they word a finding, or allocate, and decide nothing."""

PARTS = ("messages/pages", "messages/missed", "devices/standing", "engine/wall_clock", "devices/states")
"""Files, below `checks/`, whose functions belong to the few checks that import them."""


@cache
def source_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Mistake:
    """One mistake: replaces the text `old` at `offset` of the file `path` by `new`.

    `function`: the function that contains it; `checks`: ids of the checks whose folds use that function; `what`: kind
    of mistake.
    """

    checks: tuple[str, ...]
    what: str
    path: str
    function: str
    offset: int
    old: str
    new: str

    @property
    def mistaken(self) -> str:
        """Return the text of the whole file with the mistake."""
        source = source_of(self.path)
        return source[: self.offset] + self.new + source[self.offset + len(self.old) :]

    @property
    def line(self) -> int:
        return source_of(self.path).count("\n", 0, self.offset) + 1

    @property
    def code(self) -> str:
        """Return a description: function and changed line; for a dropped reset, "without" and the line dropped."""
        if self.what == "remove":
            return "remove"
        text = source_of(self.path) if self.what == "drop" else self.mistaken
        code = text.splitlines()[self.line - 1].strip()
        return f"{self.function}: {'without ' if self.what == 'drop' else ''}{code}"

    def make(self) -> None:
        """Apply the mistake to the loaded module.

        Only the code of a function is replaced, so modules that have imported the function get the mistake too.
        """
        module = importlib.import_module("earwitness." + self.path.removesuffix(".py").replace("/", "."))
        function: Any = module
        for name in self.function.split("."):
            function = inspect.getattr_static(function, name)
        function = getattr(function, "fget", None) or getattr(function, "__func__", None) or inspect.unwrap(function)
        assert isinstance(function, FunctionType)
        function.__code__ = _code_of(self.function, compile(self.mistaken, ROOT / self.path, "exec", dont_inherit=True))


def _code_of(function: str, code: CodeType) -> CodeType:
    """Return the code object of a function from that of its module; of several with the same name, the last one."""
    for name in function.split("."):
        code = [c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name][-1]
    return code


def _used_functions(check: Check) -> Iterator[tuple[str, str, ast.FunctionDef]]:
    """Yield (file, outermost function, function) for all functions that the check's fold uses.

    They are in the fold's module or in one of PARTS.
    """
    fold: Any = check.fold
    wanted, seen = [(str(Path(inspect.getfile(fold)).resolve().relative_to(ROOT)), fold.__name__)], set()
    while wanted:
        path, name = wanted.pop()
        top, parts = _names(path)
        if name in parts:
            path, (top, _) = parts[name], _names(parts[name])
        if (path, name) in seen or name not in top:
            continue
        seen.add((path, name))
        node = top[name]
        wanted += [(path, n.id) for n in ast.walk(node) if isinstance(n, ast.Name)]
        outermost = [(name, node)] if isinstance(node, ast.FunctionDef) else _methods(node)
        for qualified, outer in outermost:
            for function in ast.walk(outer):
                if isinstance(function, ast.FunctionDef) and not any(word in function.name for word in WORDS):
                    yield path, qualified, function


@cache
def _names(path: str) -> tuple[dict[str, ast.FunctionDef | ast.ClassDef], dict[str, str]]:
    """Return (name → definition in a file, name → file of PARTS from which it is imported)."""
    body = ast.parse(source_of(path)).body
    files = {f"earwitness.checks.{part}".replace("/", "."): f"checks/{part}.py" for part in PARTS}
    return (
        {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)},
        {
            alias.name: files[node.module]
            for node in body
            if isinstance(node, ast.ImportFrom) and node.module in files
            for alias in node.names
        },
    )


def _methods(node: ast.ClassDef) -> list[tuple[str, ast.FunctionDef]]:
    """Return (name, method) of a class.

    `peek` is left out if `finish` does not call it, because then it only gives an early verdict.
    """
    methods = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
    if "finish" in methods and "self.peek(" not in ast.unparse(methods["finish"]):
        methods.pop("peek", None)
    return [(f"{node.name}.{name}", method) for name, method in methods.items()]


def _same_anyway(node: ast.Compare) -> bool:
    """Return whether `<` and `<=` are equivalent in this comparison with 0: counters begin at 1, so no message is 0."""
    zero = isinstance(node.comparators[0], ast.Constant) and node.comparators[0].value == 0
    return zero and ast.unparse(node.left).startswith("mid")


def _is_one(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 1


def _in_function(function: ast.FunctionDef, lines: list[str]) -> Iterator[tuple[str, int, int, str]]:
    """Yield (kind of mistake, start, end, new text) for each mistake that can be made in a function.

    `lines`: the lines of the file; `start`, `end`: offsets in the file of the text to replace.
    """
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    source = "".join(lines)

    def at(node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    for node in ast.walk(function):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in FLIPPED:
            start, end = at(node.left)[1], at(node.comparators[0])[0]
            found = re.search(r"[<>=!]=?", source[start:end])  # brackets may stand beside it
            if found and not _same_anyway(node):
                yield "flip", start + found.start(), start + found.end(), FLIPPED[type(node.ops[0])]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            worded = isinstance(node.targets[0].value, ast.Name) and node.targets[0].value.id == "row"
            if isinstance(node.value, ast.Constant | ast.UnaryOp) and not worded:  # `row` only words a finding
                yield "drop", *at(node), "pass"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) and _is_one(node.right):
            yield "one off", *at(node.right), "0"


def removal(check: Check) -> Mistake:
    """Return the mistake that removes the check from the catalogue."""
    name = next(name for name, value in vars(catalogue).items() if value is check)
    path = "checks/catalogue.py"
    offset = source_of(path).index(f"    {name},\n", source_of(path).index("ALL: "))
    return Mistake((check.id,), "remove", path, "", offset, f"    {name},\n", "")


def mistakes() -> list[Mistake]:
    """Return all mistakes that can be made, file by file; one in a function that several checks use occurs once."""
    found: dict[Mistake, tuple[str, ...]] = {}
    for check in catalogue.ALL:
        found[removal(check)] = (check.id,)
        for path, outermost, function in _used_functions(check):
            source = source_of(path)
            for what, start, end, new in _in_function(function, source.splitlines(keepends=True)):
                mistake = Mistake((), what, path, outermost, start, source[start:end], new)
                found[mistake] = tuple(dict.fromkeys((*found.get(mistake, ()), check.id)))
    return [replace(mistake, checks=ids) for mistake, ids in found.items()]
