"""Makes `tests/support` importable, and marks the tests that start processes or take long.

`tests/support`: the oracle and the simulator are shared by tests of several folders.

Files are given to processes whole, in the order in which they are collected. The whole runs of `tests/load` are the
longest ones, so they come before the other files that start processes, and both are mixed with the files that only
compute (`file_order`).

The mark `processes` is set here and nowhere else. A test has it if its folder is one of ROOMS_OF_PROCESSES, or if it,
one of its fixtures, or a function of `tests/` that these call, names what starts a process. What starts one by way of
the product cannot be seen like that: such a test fails with a sentence until STARTING names its function or fixture.

The mark `slow` is that of SLOW, the files of generated histories: they take two thirds of the processor time of all
tests without processes. `make check` leaves out both marks, `make test` neither.

Whoever is started in the background of a script inherits a SIGINT that is ignored, and so would the processes that
our tests interrupt.
"""

from __future__ import annotations

import inspect
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

TESTS = Path(__file__).parent
SUPPORT = str(TESTS / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)

from file_order import mixed  # noqa: E402
from s3_server import serving  # noqa: E402

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = TESTS / "load"
ROOMS_OF_PROCESSES = ("load", "reference", "platform", "evidence", "probe")
ROOMS_OF_SERVERS = ("dialects/shipped", "pytest_suite")
"""Folders with tests that start foreign servers or whole runs beside tests that start nothing."""
SLOW = frozenset(
    {
        "checks/test_against_oracle.py",
        "checks/test_faults_against_oracle.py",
        "checks/test_planes_against_oracle.py",
        "checks/test_simulator.py",
        "checks/test_foreign_corpora.py",
        "report/test_follow.py",
        "checks/tester/test_missing_parts.py",
        "report/test_damage.py",
        "report/test_large_rooms.py",
        "report/test_sharded.py",
        "report/comparison/test_false_alarms.py",
    }
)
STARTING = frozenset(
    {"subprocess", "Popen", "fork", "create_subprocess_exec", "multiprocessing", "executable"}
    | {"launch", "CommandFault", "command_faults", "by_two_processes"}  # of the product
    | {"chromium"}  # of the suite
)
"""Names in the code of what starts a process."""
STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec")
"""Audit events of a process that starts another one."""
NOT_MARKED = (
    "{} starts a process ({}), but is not marked so: it would be part of `make check`. Let STARTING in"
    " tests/conftest.py name the function that starts it, or put the test into one of ROOMS_OF_PROCESSES."
)
running: list[str] = []
"""The test that runs now, if it must not start a process."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what `make check` leaves out: rooms of processes, and files of generated histories."""
    if not collection_path.is_relative_to(TESTS) or collection_path == TESTS:
        return None
    place, marks = collection_path.relative_to(TESTS), config.option.markexpr
    left_out = place.as_posix() in SLOW and "not slow" in marks
    return left_out or (place.parts[0] in ROOMS_OF_PROCESSES and "not processes" in marks) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix the files that wait and those that compute; mark what starts processes."""
    for item in items:
        if _starts_processes(item):
            item.add_marker(pytest.mark.processes)
        if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).as_posix() in SLOW:
            item.add_marker(pytest.mark.slow)
    files = dict.fromkeys(item.path for item in items)
    waiting = sorted((file for file in files if _waits(file)), key=lambda file: LONGEST not in file.parents)
    places = mixed(waiting, [file for file in files if not _waits(file)])
    items.sort(key=lambda item: places[item.path])


def _waits(file: Path) -> bool:
    """Return True for a file whose tests start whole runs or services, and so mostly wait."""
    return any(TESTS / room in file.parents for room in (*ROOMS_OF_PROCESSES, *ROOMS_OF_SERVERS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Let a test fail that starts a process and is not marked so."""
    if item.path.is_relative_to(TESTS) and item.get_closest_marker("processes") is None:
        running.append(item.name)
    try:
        return (yield)
    finally:
        running.clear()


def _refuse_processes(event: str, arguments: tuple[Any, ...]) -> None:
    if running and event in STARTS:
        raise RuntimeError(NOT_MARKED.format(running[0], arguments[0] if arguments else event))


sys.addaudithook(_refuse_processes)


def _starts_processes(item: pytest.Item) -> bool:
    if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).parts[0] in ROOMS_OF_PROCESSES:
        return True
    fixtures = getattr(item, "_fixtureinfo", None)
    used = [one.func for defined in (fixtures.name2fixturedefs if fixtures else {}).values() for one in defined[-1:]]
    return any(_leads_to_a_start(one) for one in [getattr(item, "obj", None), *used] if isinstance(one, FunctionType))


@cache
def _leads_to_a_start(function: FunctionType) -> bool:
    """Return True if the function, or one of `tests/` that it calls, names what starts a process."""
    seen: set[Any] = set()
    waiting: list[Any] = [function]
    while waiting:
        one = waiting.pop()
        one = inspect.unwrap(one) if callable(one) else one  # a context manager, a cached function
        if not _of_tests(one) or one in seen:
            continue
        seen.add(one)
        if isinstance(one, type):
            waiting += [value for value in vars(one).values() if isinstance(value, FunctionType)]
            continue
        names = set(_names(one.__code__))
        if names & STARTING:
            return True
        waiting += [one.__globals__[name] for name in names if name in one.__globals__]
    return False


def _of_tests(thing: Any) -> bool:
    """Return True for a function or class that a file of `tests/` defines."""
    if not isinstance(thing, FunctionType | type):
        return False
    file = getattr(sys.modules.get(thing.__module__), "__file__", None) or ""
    return file.startswith(str(TESTS))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


@pytest.fixture(params=["file", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty store; its credentials stand in the environment."""
    if request.param == "file":
        yield (tmp_path / "store").as_uri()
        return
    pytest.importorskip("obstore")
    with serving() as (_, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield "s3://loads/some"
