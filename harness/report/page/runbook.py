"""Runbooks of broken checks inside `report.html`: likely causes, and what to examine next.

The texts are those of `docs/runbooks/`. An installed package does not contain them; then the page states their path.
Only the part written by hand is shown, because the generated part repeats the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

from earwitness.harness.report.page.words import Row, section, table, text
from earwitness.harness.report.runbooks import runbook_of

ROOT: Final = Path(__file__).resolve().parents[3]
BEGIN, END = "<!-- end meaning -->", "<!-- begin repeat -->"


def written(check_id: str) -> str:
    """Return the part of a check's runbook that was written by hand, as Markdown; "" if there is no such page."""
    try:
        whole = (ROOT / runbook_of(check_id)).read_text("utf-8")
    except OSError:
        return ""
    return whole.partition(BEGIN)[2].partition(END)[0].strip()


def runbook_link(check_id: str) -> str:
    """Return a link to a check's runbook inside the page; only the runbook's path if its text is not installed."""
    path = text(runbook_of(check_id))
    return f'<a href="#runbook-{text(check_id)}">{path}</a>' if written(check_id) else path


def runbooks(checks: Sequence[Row]) -> str:
    """Return the HTML section with the runbooks of the failed checks; "" if there are none."""
    entries = "".join(
        f'<article class="page" id="runbook-{text(check["id"])}"><h3>{text(check["id"])} {text(check["name"])}</h3>'
        f'{html_of(page, check["id"])}<p class="soft">{text(runbook_of(check["id"]))}</p></article>'
        for check in checks
        if check["outcome"] == "FAIL" and (page := written(check["id"]))
    )
    return section("runbooks", "Runbooks: likely causes, and what to examine next", entries) if entries else ""


def html_of(markdown: str, check_id: str) -> str:
    """Return the Markdown of a runbook as HTML: headings, tables, lists, code and paragraphs; links become text."""
    return "".join(_blocks(markdown, check_id))


def _blocks(markdown: str, check_id: str) -> Iterator[str]:
    tables = 0
    for block in re.split(r"\n\s*\n", markdown):
        lines = block.strip("\n").split("\n")
        if lines[0].startswith("#"):
            yield f"<h4>{_inline(lines[0].lstrip('# '))}</h4>"
        elif lines[0].startswith("|"):
            head, _, *rows = [[_inline(cell.strip()) for cell in line.strip("| ").split(" | ")] for line in lines]
            tables += 1
            # Screen readers list boxes that scroll by their names, so each needs its own.
            yield table(f"Runbook of {check_id}, table {tables}", head, rows, raw=frozenset(range(len(head))))
        elif lines[0].startswith("```"):
            yield f"<pre>{escape(chr(10).join(line for line in lines if not line.startswith('```')))}</pre>"
        elif item := re.match(r"(\d+\.|-) ", lines[0]):
            kind = "ul" if item[1] == "-" else "ol"
            items = re.split(r"\n(?:\d+\.|-) ", "\n" + block.strip())[1:]
            yield f"<{kind}>{''.join(f'<li>{_inline(one)}</li>' for one in items)}</{kind}>"
        elif block.strip():
            yield f"<p>{_inline(block)}</p>"


def _inline(words: str) -> str:
    plain = escape(" ".join(words.split()))
    plain = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", plain)
    plain = re.sub(r"`([^`]+)`", r"<code>\1</code>", plain)
    plain = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", plain)
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", plain)
