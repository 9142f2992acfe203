"""Generator of `docs/scenarios.md`, `python -m pytest_suite.scenarios`: every functional test and every load story."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator

from pytest_suite.orders import HERE, collect

STORIES = HERE.parent / "locustfiles"


def stories() -> Iterator[tuple[str, str]]:
    """Yield (file, first sentence) of each locustfile."""
    for path in sorted(STORIES.glob("*.py")):
        told = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        if told:
            yield path.name, first_line(told)


def first_line(text: str | None) -> str:
    """Return the first line of a docstring, "" without one."""
    return (text or "").strip().splitlines()[0] if text else ""


def page() -> str:
    """Return the page as Markdown."""
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
