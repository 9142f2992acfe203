"""Page `docs/opportunities.md`: the opportunities of each story, and the checks that judge them.

`python -m earwitness.harness.evidence.opportunities_page` writes the page.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from earwitness.harness.evidence.stages import FOLDERS
from earwitness.harness.progress import say
from earwitness.harness.report.opportunities import ALL, FOOTER_KEY

PAGE = Path(__file__).resolve().parents[2] / "docs" / "opportunities.md"


def stories(folders: Iterable[Path] = FOLDERS) -> dict[str, tuple[str, ...]]:
    """Return story → the opportunities that it names, read from the locustfiles without executing them."""
    found = {}
    for path in sorted((path for folder in folders for path in folder.glob("*.py")), key=lambda path: path.stem):
        call = _story_call(ast.parse(path.read_text("utf-8")))
        if call is not None:
            named = next((k.value for k in call.keywords if k.arg == FOOTER_KEY), None)
            found[path.stem] = tuple(ast.literal_eval(named)) if named is not None else ()
    return found


def _story_call(tree: ast.Module) -> ast.Call | None:
    calls = (node.value for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
    return next((call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "story"), None)


INTRO = """# Opportunities

Written by `python -m earwitness.harness.evidence.opportunities_page`; do not edit. An opportunity is a situation in
which platforms go wrong. A story names those that it creates; its users count each that occurred. The verdict names
those that did not occur, because a check says nothing about what never came up. ● means that the story creates it in
every run on a platform that offers what it needs."""


def page(by_story: Mapping[str, Sequence[str]]) -> str:
    """Return the text of docs/opportunities.md. `by_story`: result of `stories`."""
    names = [name for name, ids in by_story.items() if ids]
    lines = [INTRO, "", f"| opportunity | {' | '.join(f'`{name}`' for name in names)} |"]
    lines.append(f"|---|{'---|' * len(names)}")
    for one in ALL:
        marks = " | ".join("●" if one.id in by_story[name] else "" for name in names)
        lines.append(f"| {one.id} | {marks} |")
    lines += ["", "| opportunity | occurs when | created by | judged by |", "|---|---|---|---|"]
    for one in ALL:
        maker = f"fault `{one.fault}`" if one.fault else ", ".join(f"`{name}`" for name in one.by)
        lines.append(f"| {one.id} | {one.occurs} | {maker} | {', '.join(one.checks)} |")
    without = [name for name, ids in by_story.items() if not ids]
    if without:
        lines += ["", f"Stories that name none: {', '.join(f'`{name}`' for name in without)}."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page and print its path; return the exit code 0."""
    PAGE.write_text(page(stories()), "utf-8")
    say(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
