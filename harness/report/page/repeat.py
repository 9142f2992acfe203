"""Section of `report.html` with the commands that repeat a run, with its seed and load, and the judging of the run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from earwitness.harness.record.history import History
from earwitness.harness.report.page.words import Row, lines, paragraph, section, table


def repeat(history: History, verdict: Row) -> str:
    """Return the HTML section with the seed, the planned load and the commands that repeat the run and its judging."""
    run = history.run
    seed = verdict["seed"]
    body = paragraph(
        "No seed is stated." if seed is None else f"Seed {seed}: it decides users, rooms, texts and pauses."
    )
    if "imported_from" in run:
        body = paragraph(
            "The history was imported, so there is no load to run again; the recorder has its own command."
        )
        commands = [["earwitness", "import", str(run["imported_from"]), "-o", str(verdict["run"])]]
    else:
        commands = [list(run_again(run, verdict))]
        body += paragraph(
            "The same seed makes the same users, rooms and texts. The platform and the network decide the order in "
            "which they meet, so a rare defect may need several runs.",
            "soft",
        )
    files = dict.fromkeys(check["file"] for check in verdict["checks"] if "file" in check)
    own = [word for file in files for word in ("--check", file)]
    commands.append(["earwitness", "check", str(verdict["run"]), *own])
    commands.append(["earwitness", "report", str(verdict["run"])])
    body += f'<pre tabindex="0">{lines(chr(10).join(map(shlex.join, commands)))}</pre>'
    planned = {name: value for name, value in (run.get("planned") or {}).items() if value not in ("", None)}
    options = {name: value for name, value in (run.get("options") or {}).items() if value}
    stated = sorted({**planned, **options}.items())
    return section(
        "again", "Again", body + (table("options", ("planned or option", "value"), stated) if stated else "")
    )


def run_again(run: dict[str, Any], verdict: Row) -> Iterator[str]:
    """Yield the words of the command that starts a run with the same seed, load, faults and thresholds."""
    planned, options = run.get("planned") or {}, run.get("options") or {}
    yield from ("earwitness", "run", str(options.get("story_file") or verdict["story"]), "--headless")
    if verdict["seed"] is not None:
        yield from ("--seed", str(verdict["seed"]))
    for option, value, unit in (
        ("-u", planned.get("users"), ""),
        ("-r", planned.get("spawn_rate"), ""),
        ("-t", planned.get("seconds"), "s"),
        ("--drain-s", options.get("drain_s"), ""),
    ):
        if value:
            yield from (option, f"{value:g}{unit}")
    processes = sum(str(name).startswith("load-") for name in run.get("journals") or () if isinstance(name, str))
    faults = ",".join(run.get("planned_faults") or ()) or options.get("faults")
    for option, text in (
        ("--processes", str(processes) if processes > 1 else ""),
        ("--target", options.get("target")),
        ("--defect", options.get("defect")),
        ("--shape", planned.get("shape")),
        ("--arrivals", planned.get("arrivals")),
        ("--faults", faults),
        ("--threshold", "; ".join(run.get("thresholds") or ())),
    ):
        if text:
            yield from (option, str(text))
    for file in options.get("check") or ():
        yield from ("--check", str(file))
    if options.get("keep_frames"):
        yield "--keep-frames"
