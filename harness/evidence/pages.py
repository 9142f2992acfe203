"""Generated pages of `docs/`, whose text comes from the code.

`python -m earwitness.harness.evidence.pages` writes them; with `--check` it only names those that are not current.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from earwitness.harness.errors import Exit
from earwitness.harness.evidence import (
    opportunities_page,
    pages_checks,
    pages_metrics,
    pages_modules,
    pages_options,
    pages_runbooks,
    pages_stories,
)
from earwitness.harness.progress import say

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMMAND = "python -m earwitness.harness.evidence.pages"
WRITTEN = f"<!-- Written by `{COMMAND}`; do not edit. -->"

WHOLE: Mapping[str, Callable[[], str]] = {
    "reference/checks.md": pages_checks.page,
    "reference/metrics.md": pages_metrics.page,
    "reference/modules.md": pages_modules.page,
    "reference/options.md": pages_options.page,
    "reference/stories.md": pages_stories.page,
}
"""Path of each page that is generated as a whole → function that returns its text."""
SCHEMAS: Mapping[str, str] = {"schema/target.schema.json": "target", "schema/earwitness.schema.json": "settings"}
"""Path of each generated JSON schema → name of the schema. A schema has no line that says how it was written."""
PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "your-first-story.md": {"methods": pages_stories.methods},
    "guide/settings.md": {"defaults": pages_options.defaults, "variables": pages_options.variables},
    "guide/targets.md": {"promises": pages_options.promises},
}
"""Path of a hand-written page → its generated blocks, by name: text between `<!-- begin NAME -->` and `<!-- end NAME
-->`."""


def rendered(docs: Path = DOCS) -> dict[Path, str]:
    """Return the path of each generated page → the text that it must have."""
    pages = {docs / name: f"{WRITTEN}\n\n{make()}" for name, make in WHOLE.items()}
    pages[docs / "opportunities.md"] = opportunities_page.page(opportunities_page.stories())
    for name, blocks in {**PARTS, **pages_runbooks.parts()}.items():
        text = (docs / name).read_text("utf-8")
        for block, make in blocks.items():
            text = replace_block(text, block, make())
        pages[docs / name] = text
    # imported after Locust, whose gevent wants to patch ssl before anybody imports it
    written = importlib.import_module("earwitness.harness.dialects.schemas").written
    return pages | {docs / path: written(name) for path, name in SCHEMAS.items()}


def replace_block(text: str, name: str, content: str) -> str:
    """Return the text of a page with the content of its generated block `name` replaced.

    Raises ValueError unless the page has exactly one such block.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    found = re.compile(f"(?s){re.escape(begin)}\n.*?{re.escape(end)}")
    if len(found.findall(text)) != 1:
        raise ValueError(f"the page needs one {begin} … {end}")
    written = WRITTEN.replace("do not edit", f"do not edit until `end {name}`")
    return found.sub(lambda _: f"{begin}\n{written}\n\n{content.strip()}\n\n{end}", text)


def main(argv: list[str] | None = None) -> int:
    """Write the pages that changed and return 0. With `--check` only name them, and return 1 if there are any."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Write the generated pages of docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is not current")
    args = parser.parse_args(argv)
    stale = {p: text for p, text in rendered().items() if not p.exists() or p.read_text("utf-8") != text}
    for path, text in stale.items():
        if args.check:
            say(f"not current: docs/{path.relative_to(DOCS)}; run {COMMAND}")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
            say(f"written: docs/{path.relative_to(DOCS)}")
    return Exit.FAIL if args.check and stale else Exit.PASS


if __name__ == "__main__":
    sys.exit(main())
