"""`python -m pytest_suite.scenarios > docs/scenarios.md`: every functional test and every load story, counted."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
STORIES = HERE.parent / "locustfiles"


class Collected:
    """A plugin of pytest that keeps what was collected: cases by test, in the order of the files."""

    def __init__(self) -> None:
        self.tests: dict[tuple[str, str], list[pytest.Function]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            assert isinstance(item, pytest.Function)
            self.tests.setdefault((item.path.name, item.originalname), []).append(item)


def collect() -> dict[tuple[str, str], list[pytest.Function]]:
    """All tests of the suite, nothing started."""
    collected = Collected()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main(["--collect-only", "-q", "-p", "no:randomly", str(HERE)], plugins=[collected])
    if code != pytest.ExitCode.OK:
        raise SystemExit(f"The suite could not be collected:\n{said.getvalue()}")
    return dict(sorted(collected.tests.items(), key=lambda pair: pair[0][0]))


def stories() -> Iterator[tuple[str, str]]:
    """(file, first sentence) of each locustfile."""
    for path in sorted(STORIES.glob("*.py")):
        told = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        if told:
            yield path.name, first_line(told)


def first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""


def page() -> str:
    """The whole page as Markdown."""
    tests, load = collect(), list(stories())
    cases = sum(len(items) for items in tests.values())
    lines = [
        "# The scenarios",
        "",
        "Written by `python -m pytest_suite.scenarios > docs/scenarios.md`; do not edit by hand.",
        "",
        f"{len(tests) + len(load)} scenarios: {len(tests)} functional tests with {cases} cases, "
        f"{len(load)} load {'story' if len(load) == 1 else 'stories'}.",
    ]
    file = ""
    for (name, test), items in tests.items():
        if name != file:
            file = name
            lines += [
                "",
                f"## `{name}`",
                "",
                first_line(items[0].module.__doc__),
                "",
                "| test | cases | what must hold |",
            ]
            lines += ["|---|---|---|"]
        told = " ".join((inspect.getdoc(items[0].obj) or "").split())
        lines.append(f"| `{test}` | {len(items)} | {told} |")
    lines += ["", "## Load stories", "", "| locustfile | what happens |", "|---|---|"]
    lines += [f"| `{name}` | {told} |" for name, told in load]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
