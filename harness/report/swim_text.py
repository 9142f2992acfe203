"""Counterexample as text for a terminal: sentence, promise, records, and swim-lanes with time going down."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from earwitness.harness.progress import one_line
from earwitness.harness.report.witnesses import Step, Witness, promise_words

TIME = 14
LANE_MIN, LANE_MAX = 11, 22
FRAME_MAX = 400
"""Characters of a raw frame that are shown; verdict.json has the whole frame."""


def witness_text(witness: Witness, check: Mapping[str, Any], width: int) -> str:
    """Return a counterexample as text for the terminal.

    `check`: the row of its check in verdict.json; `width`: characters of a line.
    """
    of = f"{check['violations']:,}"
    title = f"{witness['check']} {check['name']} · finding {witness['number']} of {of}: {witness['sentence']}"
    promised = promise_words(witness["promise"])
    broken = f"the promise {'broken' if check['promised'] else '(never made, so this is an observation)'}: {promised}"
    lines = ["", *_wrapped(title, width), "", *_wrapped(broken, width), "", "the records that prove it:"]
    for record in witness["records"]:
        lines += record_lines(record, width)
    lines += ["", *swim_lines(witness, width)]
    if any(not step["proof"] for step in witness["steps"]):
        lines += ["", "━ proves it   ─ also recorded of these messages   ✗ is wrong, or never came"]
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(40, width), subsequent_indent="  ", break_long_words=False)


def record_lines(record: Mapping[str, Any], width: int) -> list[str]:
    """Return the lines that describe a record, and its raw frame if the run kept frames.

    `record`: a row of a counterexample; `width`: characters of a line of the frame, at least 40.
    """
    lines = [f"  {record['journal']}:{record['index']}  {clock(record['at_ms'])}  {record['words']}"]
    frame = record.get("frame")
    if frame is not None:
        shown = one_line(frame if len(frame) <= FRAME_MAX else frame[:FRAME_MAX] + " …")
        lines += [f"      {part}" for part in _pieces(shown, max(40, width - 6))]
    return lines


def _pieces(text: str, size: int) -> list[str]:
    """Return `text` in pieces of `size` characters, cut anywhere: a raw frame has no words to keep together."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def clock(at_ms: float | None) -> str:
    """Return `at_ms`, the time since the first record, in ms or s; "" for None."""
    if at_ms is None:
        return ""
    return f"{at_ms:+.3f} ms" if abs(at_ms) < 10_000 else f"{at_ms / 1000:+.3f} s"


def swim_lines(witness: Witness, width: int) -> list[str]:
    """Return the lines of the swim-lane diagram: one column for each lane, one row for each step.

    `width`: characters of a line; a column has LANE_MIN to LANE_MAX of them.
    """
    lanes: Sequence[str] = [one_line(name) for name in witness["lanes"]]
    widest = max(len(one_line(step["label"])) for step in witness["steps"]) if witness["steps"] else 0
    free = (width - TIME - min(widest, 30) - 2) // max(1, len(lanes))
    lane = max(LANE_MIN, min(LANE_MAX, free))
    heads = "".join(_cut(name, lane - 1).center(lane) for name in lanes)
    rows = [" " * TIME + heads.rstrip()]
    for step in witness["steps"]:
        drawn = _row(step, len(lanes), lane)
        wrong = step.get("wrong")
        why = f" – {one_line(wrong)}" if wrong else ""
        mark = "✗ " if wrong is not None else ""
        rows.append(f"{clock(step['at_ms']):>{TIME - 2}}  {drawn}  {mark}{one_line(step['label'])}{why}")
    return rows


def _row(step: Step, lanes: int, lane: int) -> str:
    """Return the drawing of one step: `│` for each lane, and an arrow between two lanes, heavy if the step is proof.

    A step within one lane is ● or, if it is no proof, ○; a step that never happened is ✗. `lane`: characters of a
    column.
    """
    cells = [" "] * (lanes * lane)
    centres = [k * lane + lane // 2 for k in range(lanes)]
    for at in centres:
        cells[at] = "│"
    start, end, heavy = centres[step["from"]], centres[step["to"]], step["proof"]
    if start == end:
        cells[start] = "✗" if step["at_ms"] is None else "●" if heavy else "○"
        return "".join(cells)
    step_by = 1 if end > start else -1
    for at in range(start + step_by, end, step_by):
        cells[at] = "━" if heavy else "─"
    cells[end - step_by] = "▶" if step_by > 0 else "◀"
    cells[start] = "●" if heavy else "○"
    return "".join(cells)


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"
