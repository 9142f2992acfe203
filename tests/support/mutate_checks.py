"""Takes every check away, and makes small mistakes in every check: each must turn a test red.

    python tests/support/mutate_checks.py [--only I4 …] [--sample 4] [--parallel 2]

Mistakes are made in a copy of the package, in the functions that the check's fold uses: a comparison is flipped, a
reset is dropped, a one is left out. Loops run as plain Python, so nothing is compiled and no cache is touched. A
surviving mistake is printed with its line; the exit status is 1 if there is one, 2 if tests are red as it is.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ["NUMBA_DISABLE_JIT"] = "1"

from checks import catalogue  # noqa: E402
from checks.fold import Check  # noqa: E402

TESTS = {
    "I1": "fifo", "I2": "order", "I3": "causal", "I4": "gaps", "I5a": "stored", "I5b": "delivered", "I6": "heard",
    "I7": "stored", "I8": "creation", "I9": "answers", "I10": "heard", "I11": "answers", "I12": "heard",
    "I13": "revoked", "I14": "answers", "I15": "heard", "I16": "reads", "I17": "reads", "I18": "devices",
    "I19": "resume", "I22": "devices", "I27": "presence",
    "I20": "resume",
    "I21": "resume", "I24": "runs", "I25": "liveness", "I26": "fairness", "I36": "limits", "I37": "limits",
    "I38": "limits", "I39": "limits", "I28": "availability", "I29": "validity", "I30": "validity", "I31": "forgery",
    "I32": "single_use", "I33": "single_use", "I34": "authority", "I35": "outages", "I40": "breakers",
    "I41": "accounts", "I42": "accounts", "H6": "truth",
}  # fmt: skip
"""Check → the file of its literal histories; those of the record itself are in test_health."""

FLIPPED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
WORDS = ("find", "describe", "peek", "absence", "reason", "sentence", "refill", "reserve")
"""Parts of names of functions that decide nothing: they word a finding, look early, or make room."""
LIMIT_S = 240


@dataclass(frozen=True)
class Mistake:
    """Replace `old` at an offset of a file of the package."""

    check: str
    what: str
    path: str
    offset: int
    old: str
    new: str

    def told(self, source: str) -> str:
        line = source[: self.offset].count("\n") + 1
        return f"{self.path}:{line} {self.what}: {source.splitlines()[line - 1].strip()[:70]}"


def used_functions(check: Check) -> Iterator[tuple[Path, str, list[int], ast.AST]]:
    """(file, source, offsets of its lines, function) of everything in its module that the check's fold uses."""
    path = Path(inspect.getfile(check.fold))  # type: ignore[attr-defined]
    source = path.read_text(encoding="utf-8")
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    top = {n.name: n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    wanted, seen = [check.fold.__name__], set()  # type: ignore[attr-defined]
    while wanted:
        name = wanted.pop()
        if name in seen or name not in top:
            continue
        seen.add(name)
        node = top[name]
        wanted += [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
        for function in ast.walk(node):
            if isinstance(function, ast.FunctionDef) and not any(word in function.name for word in WORDS):
                yield path, source, starts, function


def _same_anyway(node: ast.Compare) -> bool:
    """Message number 0 is never a message (counters begin at 1), so `mid < 0` and `mid <= 0` say the same."""
    zero = isinstance(node.comparators[0], ast.Constant) and node.comparators[0].value == 0
    return zero and ast.unparse(node.left).startswith("mid")


def _is_one(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 1


def mistakes(check: Check) -> list[Mistake]:
    """Every mistake that could be made."""
    found: list[Mistake] = []
    for path, source, starts, function in used_functions(check):

        def at(node: ast.expr | ast.stmt, end: bool = False) -> int:
            line, column = (node.end_lineno, node.end_col_offset) if end else (node.lineno, node.col_offset)
            assert line is not None
            assert column is not None
            return starts[line - 1] + column  # noqa: B023 (called at once)

        def note(what: str, start: int, end: int, new: str) -> None:
            place = str(path.relative_to(ROOT))  # noqa: B023
            found.append(Mistake(check.id, what, place, start, source[start:end], new))  # noqa: B023

        for node in ast.walk(function):
            if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in FLIPPED:
                start, end = at(node.left, end=True), at(node.comparators[0])
                if source[start:end].strip() in ("<", "<=", ">", ">=", "==", "!=") and not _same_anyway(node):
                    note("flip", start, end, f" {FLIPPED[type(node.ops[0])]} ")
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
                worded = isinstance(node.targets[0].value, ast.Name) and node.targets[0].value.id == "row"
                if isinstance(node.value, ast.Constant | ast.UnaryOp) and not worded:  # `row` only words a finding
                    note("drop", at(node), at(node, end=True), "pass")
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) and _is_one(node.right):
                note("one off", at(node.right), at(node.right, end=True), "0")
    return list(dict.fromkeys(found))


def removal(check: Check) -> Mistake:
    """The check is not in the list any more."""
    name = next(name for name, value in vars(catalogue).items() if value is check)
    source = (ROOT / "checks/catalogue.py").read_text(encoding="utf-8")
    listed = source.index("ALL: ")
    offset = source.index(f"    {name},\n", listed)
    return Mistake(check.id, "remove", "checks/catalogue.py", offset, f"    {name},\n", "")


def chosen(check: Check, sample: int) -> list[Mistake]:
    """The removal, and some mistakes of each sort; the same ones each time."""
    every, rng = mistakes(check), random.Random(check.id)
    sorts = {what: [m for m in every if m.what == what] for what in ("flip", "drop", "one off")}
    for group in sorts.values():
        rng.shuffle(group)
    taken: list[Mistake] = []
    while len(taken) < sample and any(sorts.values()):
        taken += [group.pop() for group in sorts.values() if group]
    return [removal(check), *taken[:sample]]


def stages(check: str) -> Iterator[list[str]]:
    """Arguments of pytest: literal histories, the gate, the oracles; the next only if these stay green."""
    own = f"tests/checks/test_{TESTS.get(check, 'health')}.py"
    yield [own, "tests/checks/test_disagreements.py"]
    yield ["tests/checks/test_gate.py", "-k", f"[{check}] or has_its_proof"]
    yield ["tests/checks/test_against_oracle.py", "-k", "slightly_wrong or nonsense"]
    yield ["tests/checks/test_planes_against_oracle.py"]


def first_red(directory: Path, arguments: list[str]) -> str:
    """The first test that is red in a copy of the tree; empty if none is."""
    options = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:randomly", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    try:
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"no end after {LIMIT_S} s"
    if not done.returncode:
        return ""
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" ")[1].partition("::")[2] if failed else f"pytest ended with {done.returncode}"


def red(directory: Path, mistake: Mistake) -> str:
    """The first test that turns red in a copy of the tree with this mistake; empty if none does."""
    path = directory / mistake.path
    source = path.read_text(encoding="utf-8")
    end = mistake.offset + len(mistake.old)
    assert source[mistake.offset : end] == mistake.old
    path.write_text(source[: mistake.offset] + mistake.new + source[end:], encoding="utf-8")
    try:
        return next((by for arguments in stages(mistake.check) if (by := first_red(directory, arguments))), "")
    finally:
        path.write_text(source, encoding="utf-8")


def copied(directory: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("checks", "tests/support", "tests/checks"):
        shutil.copytree(ROOT / name, directory / name, ignore=ignored)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, directory / name)
    return directory


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", nargs="*", default=[], help="ids of checks")
    parser.add_argument("--sample", type=int, default=4, help="mistakes for each check besides its removal")
    parser.add_argument("--parallel", type=int, default=2)
    options = parser.parse_args()
    wanted = [check for check in catalogue.ALL if not options.only or check.id in options.only]
    todo = [mistake for check in wanted for mistake in chosen(check, options.sample)]
    survived = 0
    with tempfile.TemporaryDirectory(prefix="mutated-checks-") as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for n in range(options.parallel):
            free.put(copied(Path(folder) / str(n)))

        directory = free.get()
        for arguments in {tuple(a): a for check in wanted for a in stages(check.id)}.values():
            if by := first_red(directory, arguments):
                print(f"nothing can be said: without any mistake {by} is red", file=sys.stderr)
                return 2
        free.put(directory)

        def tried(mistake: Mistake) -> tuple[Mistake, str, float]:
            directory, start = free.get(), time.monotonic()
            try:
                return mistake, red(directory, mistake), time.monotonic() - start
            finally:
                free.put(directory)

        with ThreadPoolExecutor(options.parallel) as pool:
            for mistake, by, took_s in pool.map(tried, todo):
                survived += not by
                told = mistake.told((ROOT / mistake.path).read_text(encoding="utf-8"))
                print(
                    f"{mistake.check:4} {'red' if by else 'SURVIVED':8} {took_s:5.1f} s  {told}  {by[:70]}", flush=True
                )
    print(f"{len(todo) - survived} of {len(todo)} turned a test red")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
