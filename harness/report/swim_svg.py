"""Counterexample as a picture: one SVG that loads no other file, readable on light and dark backgrounds."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from earwitness.harness.progress import printable
from earwitness.harness.report.swim_text import clock
from earwitness.harness.report.witnesses import Step, Witness, promise_words

TIME, LANE, ROW, TOP, MARGIN = 96, 190, 40, 34, 20
ALONE = 3
"""Width, in lanes, of a picture with one lane: its labels are beside the lane and need the space."""
LETTER = 7.4
"""Average width in px of a character of the labels (12 px). Longer labels are wrapped."""
LINE = 15
"""Height in px of each line of a label after the first; it is added to the height of the row."""
LINES_MAX = 4
"""Most lines of a label; the tooltip has the whole text. No label that the checks make is longer."""
TITLE_LETTER = 9.2
"""Average width in px of a character of the title (15 px, bold).

Both widths are those of DejaVu Sans, a wide font; text in other fonts is narrower.
"""

NOTE = "time runs downwards, not to scale; records of one time stand in the order in which they were recorded"
KEYS = (
    ("proof", "proves it"), ("wrong", "is wrong"), ("other", "also recorded of these messages"),
    ("never", "never happened"),
)  # fmt: skip
"""Kinds of lines, and their words in the legend."""
PLANNED_ROOM = re.compile(r"r\d+-of-\d+")
"""Pattern of the name of a planned room: its number, and its number of members."""

STYLE = """
text { font-family: system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; font-size: 12px; fill: #1b1f24 }
.card { fill: #ffffff; stroke: #d0d7de }
.title { font-size: 15px; font-weight: 600 }
.dim, .time { fill: #57606a }
.time { font-size: 11px; font-variant-numeric: tabular-nums }
.lane { stroke: #c4ccd4; stroke-width: 1.5 }
.head { fill: #eaeef2; stroke: #c4ccd4 }
.name { font-weight: 600 }
.proof { stroke: #0550ae; stroke-width: 2.4; fill: none }
.tip { fill: #0550ae }
.other { stroke: #8c959f; stroke-width: 1.2; stroke-dasharray: 5 4; fill: none }
.othertip { fill: #8c959f }
.wrong { stroke: #cf222e; stroke-width: 2.8; fill: none }
.wrongtip { fill: #cf222e }
.never { stroke: #cf222e; stroke-width: 2.6 }
.nevertext { fill: #cf222e; font-weight: 600 }
.halo { stroke: #ffffff; stroke-width: 5; stroke-linejoin: round }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .card { fill: #161b22; stroke: #3d444d }
  .dim, .time { fill: #9198a1 }
  .lane, .head { stroke: #4a535d }
  .head { fill: #212830 }
  .proof { stroke: #79b8ff }
  .tip { fill: #79b8ff }
  .other { stroke: #7d8590 }
  .othertip { fill: #7d8590 }
  .wrong { stroke: #ff7b72 }
  .wrongtip { fill: #ff7b72 }
  .never { stroke: #ff7b72 }
  .nevertext { fill: #ff7b72 }
  .halo { stroke: #161b22 }
}
"""


def witness_svg(witness: Witness, check: Mapping[str, Any], *, styled: bool = True) -> bytes:
    """Return the picture of a counterexample of verdict.json as SVG. `check`: the row of its check there.

    Lane n, and the steps that begin or end in it, have the class `ln`, so that a page can hide them. `styled`: include
    the style and the texts; False for a page that shows both itself.
    """
    lanes: Sequence[str] = witness["lanes"]
    columns = max(2, len(lanes)) if len(lanes) != 1 else ALONE
    width = MARGIN * 2 + TIME + LANE * columns
    head = _head(witness, check, width) if styled else []
    top = MARGIN + sum(height for _, _, height in head) + (12 if styled else 0)
    steps: Sequence[Step] = witness["steps"]
    letters = int((width - 2 * MARGIN) / LETTER)
    notes = [line for note in _notes(witness) for line in textwrap.wrap(printable(note), letters)]
    keys = _keys(steps, width)
    rows = [_row_height(step, columns) for step in steps]
    height = top + TOP + sum(rows) + 34 + 20 * (len(keys) + len(notes))
    marked = {} if styled else {"class": "swim"}
    size = {"viewBox": f"0 0 {width} {height}", "width": str(width), "height": str(height)}
    svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, **marked, "role": "img"})
    ET.SubElement(svg, "title").text = printable(witness["sentence"])
    if styled:
        ET.SubElement(svg, "style").text = STYLE
    ET.SubElement(
        svg, "rect", {"class": "card"}, x="0.5", y="0.5", width=str(width - 1), height=str(height - 1), rx="8"
    )
    y = MARGIN
    for text, kind, line in head:
        _text(svg, MARGIN, y + line - 6, text, kind)
        y += line
    _lanes(svg, lanes, top, sum(rows))
    y = top + TOP
    for step, high in zip(steps, rows, strict=True):
        _step(svg, step, y + _above(step, columns) + ROW * 0.7, columns)
        y += high
    _legend(svg, keys, notes, height + 2 - 20 * (len(keys) + len(notes)))
    return bytes(ET.tostring(svg, encoding="utf-8", xml_declaration=True))


def _head(witness: Witness, check: Mapping[str, Any], width: int) -> list[tuple[str, str, int]]:
    """Return the lines of text above the lanes as (text, class, height in px)."""
    letters = int((width - 2 * MARGIN) / TITLE_LETTER)
    told = [(line, "title", 21) for line in textwrap.wrap(printable(witness["sentence"]), letters)]
    made = "Promise broken" if check["promised"] else "Never promised, an observation"
    where = f"{check['id']} {check['name']}, finding {witness['number']} of {check['violations']:,}"
    small = [f"{made}: {promise_words(witness['promise'])}", where, witness["command"]]
    letters = int((width - 2 * MARGIN) / LETTER)
    return told + [(line, "dim", 18) for text in small for line in textwrap.wrap(printable(text), letters)]


def _centre(lane: int) -> float:
    return MARGIN + TIME + LANE * (lane + 0.5)


def _lanes(svg: ET.Element, lanes: Sequence[str], top: int, height: int) -> None:
    for number, name in enumerate(lanes):
        x = _centre(number)
        lane = ET.SubElement(svg, "g", {"class": f"l{number}"})
        _line(lane, "lane", x, top + 24, x, top + TOP + height + 12)
        room = LANE - 24
        ET.SubElement(
            lane, "rect", {"class": "head"}, x=f"{x - room / 2:g}", y=str(top), width=str(room), height="24", rx="5"
        )
        _text(lane, x, top + 16, name, "name", "middle", room - 8)


def _step(svg: ET.Element, step: Step, y: float, lanes: int) -> None:
    start, end = _centre(step["from"]), _centre(step["to"])
    touched = dict.fromkeys((step["from"], step["to"]))
    svg = ET.SubElement(svg, "g", {"class": " ".join(f"l{lane}" for lane in touched)})
    _text(svg, MARGIN + TIME - 12, y + 4, clock(step["at_ms"]), "time", "end")
    kind = _kind(step)
    words = {"other": "dim", "never": "nevertext", "wrong": "nevertext"}.get(kind, "")
    if kind == "never":
        for one in (-1, 1):
            _line(svg, "never", start - 6, y - 6 * one, start + 6, y + 6 * one)
        _beside(svg, step, start, y, lanes, words)
        return
    tip = {"proof": "tip", "wrong": "wrongtip"}.get(kind, "othertip")
    ET.SubElement(svg, "circle", {"class": tip}, cx=f"{start:g}", cy=f"{y:g}", r="4")
    if start == end:
        _beside(svg, step, start, y, lanes, words)
        return
    ahead = 1 if end > start else -1
    _line(svg, kind, start, y, end - 8 * ahead, y)
    points = f"{end:g},{y:g} {end - 10 * ahead:g},{y - 5:g} {end - 10 * ahead:g},{y + 5:g}"
    ET.SubElement(svg, "polygon", {"class": tip}, points=points)
    # At the device's end of an arrow over many lanes: there is always one whole lane of room.
    near = start if step["to"] < step["from"] else end
    x = near - LANE / 2 if abs(end - start) > LANE else (start + end) / 2
    told = _wrapped(step["label"], LANE - 24)
    for line, part in enumerate(told):
        _label(svg, x, y - 7 - LINE * (len(told) - 1 - line), part, words, "middle", 0)
    for line, part in enumerate(_wrapped(step.get("wrong") or "", LANE - 4)):
        _label(svg, x, y + LINE * (line + 1), part, words, "middle", 0)


def _beside(svg: ET.Element, step: Step, x: float, y: float, lanes: int, kind: str) -> None:
    """Draw the label of a step within one lane at (`x`, `y`) px: right of the lane, or left of the last lane.

    `lanes`: number of lanes; `kind`: class of the text.
    """
    at = (x + 12, "start") if lanes - 1 - step["from"] else (x - 12, "end")
    for line, words in enumerate(_told_beside(step, lanes)):
        _label(svg, at[0], y + 4 + LINE * line, words, kind, at[1], 0)


def _told_beside(step: Step, lanes: int) -> list[str]:
    """Return the lines of text of a step within one lane: its label, and why it is wrong."""
    behind = lanes - 1 - step["from"]
    room = LANE * (behind + 0.5) - 24 if behind else LANE * (lanes - 0.5) - 24
    return [line for words in (step["label"], step.get("wrong")) if words for line in _wrapped(words, room)]


def _wrapped(words: str, room: float) -> list[str]:
    """Return `words` in lines that fit into `room` px. If there are more than LINES_MAX, the last one ends with "…"."""
    letters = int(room / LETTER)
    lines = textwrap.wrap(printable(words), letters, break_on_hyphens=False)
    if len(lines) > LINES_MAX:
        lines[LINES_MAX - 1 :] = [lines[LINES_MAX - 1][: letters - 1] + "…"]
    return lines


def _above(step: Step, lanes: int) -> int:
    """Return the px by which the label of an arrow is higher than a label of one line; 0 for a step within one lane."""
    return 0 if step["from"] == step["to"] else LINE * max(0, len(_wrapped(step["label"], LANE - 24)) - 1)


def _row_height(step: Step, lanes: int) -> int:
    """Return the height of a step's row in px: ROW, and LINE for each line of its words beyond the first."""
    if step["from"] == step["to"]:
        return ROW + LINE * max(0, len(_told_beside(step, lanes)) - 1)
    below = _wrapped(step.get("wrong") or "", LANE - 4)
    return ROW + _above(step, lanes) + LINE * max(0, len(below) - 1)


def _label(svg: ET.Element, x: float, y: float, text: str, kind: str, anchor: str, room: float) -> None:
    """Draw a label twice: first as a halo in the background colour, which separates the letters from the lanes.

    `kind`: class of the text; `anchor`: SVG's `text-anchor`; `room`: greatest width in px, 0: any.
    """
    _text(svg, x, y, text, "halo", anchor, room)
    _text(svg, x, y, text, kind, anchor, room)


def _keys(steps: Sequence[Step], width: int) -> list[list[tuple[str, str]]]:
    """Return the lines of the legend, each as (class, words) of its keys.

    Only kinds of lines in this picture are included.
    """
    there = {_kind(step) for step in steps} | {"proof"}
    rows: list[list[tuple[str, str]]] = [[]]
    room = free = width - 2.0 * MARGIN
    for kind, words in KEYS:
        if kind in there:
            if rows[-1] and _key_width(words) > free:
                rows.append([])
                free = room
            rows[-1].append((kind, words))
            free -= _key_width(words)
    return rows


def _key_width(words: str) -> float:
    return 52 + len(words) * LETTER


def _kind(step: Step) -> str:
    """Return the kind of a step's line, the first element of an entry of KEYS."""
    if step["at_ms"] is None:
        return "never"
    if step.get("wrong") is not None:
        return "wrong"
    return "proof" if step["proof"] else "other"


def _notes(witness: Witness) -> list[str]:
    """Return the sentences below a picture: its room, how to read numbers in its labels, and what the times mean."""
    notes = []
    name, members = witness.get("room"), witness.get("members")
    if name and members:
        named = f"“{name}” is the room {name.partition('-')[0]}" if PLANNED_ROOM.fullmatch(name) else f"room “{name}”"
        notes.append(f"{named} with {members:,} members")
    labels = "\n".join(step["label"] for step in witness["steps"])
    if found := re.search(r"(\d+) · #(\d+) of (.+)", labels):
        number, counter, author = found.groups()
        notes.append(
            f"“{found[0]}”: message {counter} of {author}, to which the platform gave number {number} of its room"
        )
    elif found := re.search(r"accepted #(\d+) as (\d+)", labels):
        notes.append(f"“{found[0]}”: the sender's message {found[1]} is accepted as number {found[2]} of its room")
    return [*notes, NOTE]


def _legend(svg: ET.Element, keys: Sequence[Sequence[tuple[str, str]]], notes: Sequence[str], y: int) -> None:
    for row in keys:
        x = float(MARGIN)
        for kind, words in row:
            _line(svg, kind, x, y - 4, x + 26, y - 4)
            _text(svg, x + 32, y, words, "dim")
            x += _key_width(words)
        y += 20
    for number, note in enumerate(notes):
        _text(svg, MARGIN, y + 20 * number, note, "dim")


def _line(svg: ET.Element, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
    ET.SubElement(svg, "line", {"class": kind}, x1=f"{x1:g}", y1=f"{y1:g}", x2=f"{x2:g}", y2=f"{y2:g}")


def _text(
    svg: ET.Element, x: float, y: float, text: str, kind: str = "", anchor: str = "start", room: float = 0.0
) -> None:
    text = printable(text)
    element = ET.SubElement(svg, "text", {"class": kind} if kind else {}, x=f"{x:g}", y=f"{y:g}")
    if anchor != "start":
        element.set("text-anchor", anchor)
    letters = int(room / LETTER)
    element.text = text
    if room and len(text) > letters:
        element.text = text[: letters - 1] + "…"
        if kind != "halo":
            ET.SubElement(element, "title").text = text
