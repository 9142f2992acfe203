"""HTML elements of `report.html`: functions that make them from plain text, which they escape and shorten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from earwitness.harness.progress import printable

Row = Mapping[str, Any]
TEXT_MOST: Final = 2_000
"""Most characters of one text that are shown: a platform may choose long names, and the page must stay small."""
MARKS: Final = {"PASS": "pass", "FAIL": "fail", "UNKNOWN": "unknown"}


def text(value: object, most: int = TEXT_MOST) -> str:
    """Return `value` as text for HTML: escaped, cut after `most` characters, control characters shown as escapes."""
    whole = str(value)
    return escape(printable(whole if len(whole) <= most else whole[:most] + " …"), quote=True)


def lines(value: str, most: int = TEXT_MOST) -> str:
    """Return text of several lines for HTML; each line is cut after `most` characters."""
    return "\n".join(text(line, most) for line in value.split("\n"))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 card", "2 cards"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def section(id: str, title: str, body: str) -> str:
    """Return the HTML of a section with a heading. `id`: target of links; `body`: HTML, not escaped here."""
    return f'<section id="{id}" aria-labelledby="{id}-h"><h2 id="{id}-h">{text(title)}</h2>{body}</section>'


def paragraph(sentence: str, kind: str = "") -> str:
    """Return the HTML of a paragraph; `sentence` is escaped here, "" gives "". `kind`: class of the style sheet."""
    mark = f' class="{kind}"' if kind else ""
    return f"<p{mark}>{text(sentence)}</p>" if sentence else ""


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[object]], raw: frozenset[int] = frozenset()
) -> str:
    """Return the HTML of a table in a box that scrolls. Columns whose index is in `raw` are HTML and not escaped.

    `caption`: accessible name of the box; `head`: names of the columns.
    """
    cells = "".join(
        f"<tr>{''.join(f'<td>{cell if at in raw else text(cell)}</td>' for at, cell in enumerate(row))}</tr>"
        for row in rows
    )
    names = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table>'
        f"<thead><tr>{names}</tr></thead><tbody>{cells}</tbody></table></div>"
    )


def picture(svg: str, label: str) -> str:
    """Return the HTML of a box that shows `svg` and can be scrolled by keyboard too. `label`: its accessible name."""
    return f'<figure class="scroll" tabindex="0" role="region" aria-label="{text(label)}">{svg}</figure>'
