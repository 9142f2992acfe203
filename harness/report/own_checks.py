"""Files with users' own checks: how they are loaded, and which own checks a run has.

Code of such a file runs only if the user named the file, in the story or with `--check`. A run directory states which
own checks judged the run (`own_checks` in `run.json`); that entry alone never executes code.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final

from earwitness.checks.catalogue import ALL
from earwitness.checks.engine.fold import Check
from earwitness.checks.own import EXAMPLE, Asked, OwnCheck
from earwitness.checks.own_fold import NotRun, Own, with_ids, words_of
from earwitness.harness.described import near
from earwitness.harness.errors import SettingsError

OPTION: Final = "--check"
KEY: Final = "own_checks"
"""Key of `run.json`: name, promise and file of each own check, in the order of their ids."""


def load(asked: Sequence[Asked]) -> list[OwnCheck]:
    """Execute the named files and return their checks, in order, each once.

    An element of `asked` is (file, names of its checks, or None for all). Raises SettingsError for a file that cannot
    be read or run, for a file without a check, and for a name that two checks have.
    """
    found: dict[str, OwnCheck] = {}
    read: dict[str, list[OwnCheck]] = {}
    ours = {check.name for check in ALL}
    for file, names in asked:
        path = os.path.realpath(file)
        if path not in read:
            read[path] = _checks_in(Path(file))
        for one in _wanted(file, read[path], names):
            other = found.setdefault(one.name, one)
            if other is not one:
                raise SettingsError(file, [f"a check in {other.file} has the name {one.name!r} too; rename one"])
            if one.name in ours:
                raise SettingsError(file, [f"{one.name!r} is the name of a check of earwitness; give yours another"])
    return list(found.values())


def _wanted(file: str, there: Sequence[OwnCheck], names: Sequence[str] | None) -> Iterator[OwnCheck]:
    if names is None:
        yield from there
        return
    by_name = {one.name: one for one in there}
    for name in names:
        if name not in by_name:
            raise SettingsError(file, [f"there is no check {name!r} in it{near(name, by_name)}"])
        yield by_name[name]


def _checks_in(path: Path) -> list[OwnCheck]:
    """Execute the file as a module and return its checks, in the order in which it defines or imports them.

    Raises SettingsError if the file is missing, fails, or has no check.
    """
    if not path.is_file():
        raise SettingsError(OPTION, [f"there is no file {path}; name the Python file that has your check"])
    name = f"earwitness_own_{path.stem}_{len(sys.modules)}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise SettingsError(str(path), ["it is no Python file: its name must end with .py"])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a module up by its name
    try:
        with _import_surroundings(path.resolve().parent):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise SettingsError(
            f"{error.filename or path}:{error.lineno}", [f"{error.msg}; correct it and run it again"]
        ) from error
    except (Exception, SystemExit) as error:
        raise SettingsError(str(path), [f"it cannot be imported: {words_of(error, str(path.resolve()))}"]) from error
    found = list({id(one): one for one in vars(module).values() if isinstance(one, OwnCheck)}.values())
    if not found:
        raise SettingsError(str(path), [f"it has no check; put {EXAMPLE} above a function"])
    return found


@contextmanager
def _import_surroundings(folder: Path) -> Iterator[None]:
    """Prepare this process for executing a user's file within this context.

    The file can import its neighbours, because its folder is appended to `sys.path`, where it stays. Locust, which a
    story imports, does not replace this process's sockets. Output of the file goes to stderr, because a program may
    read stdout.
    """
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    skip = "LOCUST_SKIP_MONKEY_PATCH"
    before = os.environ.get(skip)
    os.environ[skip] = "1"
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.environ.pop(skip) if before is None else os.environ.update({skip: before})


def stated(given: Sequence[OwnCheck]) -> list[dict[str, str]]:
    """Return a JSON-ready dict for each own check, with its `name`, `promise` and `file`, as `run.json` stores them."""
    return [{"name": one.name, "promise": one.promise, "file": one.file} for one in given]


def own_checks(run: Mapping[str, Any], given: Sequence[OwnCheck]) -> list[Own | NotRun]:
    """Return the own checks that `run.json` names, with their ids, as checks that run if they are also in `given`.

    The others become NotRun.
    """
    rows = run.get(KEY) or []
    return with_ids([(row["name"], row["promise"], row["file"]) for row in rows], list(given))


def all_checks(run: Mapping[str, Any], given: Sequence[OwnCheck]) -> tuple[Check, ...]:
    """Return all checks of a run: the tool's, then the run's own checks, of which only those in `given` will run."""
    return (*ALL, *own_checks(run, given))
