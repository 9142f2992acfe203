"""Stored results of servers that were tried, so that an interrupted command can continue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from earwitness.harness.evidence.conformance.course import Course
from earwitness.harness.evidence.conformance.page import Tried
from earwitness.harness.evidence.conformance.servers import Server
from earwitness.harness.evidence.conformance.trials import Trial
from earwitness.harness.record.rundir import write_whole

FILE = "tried.json"
TOLD = frozenset({"breaks", "sometimes", "note"})
"""Keys of a server that change only the page, not its runs."""


def keep(folder: Path, tried: Tried, asked: Mapping[str, object]) -> None:
    """Write the results of a server. `asked`: settings of its runs, such as their number."""
    write_whole(folder / FILE, json.dumps({"asked": asked, **asdict(tried)}, indent=1).encode())


def kept(folder: Path, server: Server, asked: Mapping[str, object]) -> Tried | None:
    """Return the stored results of a server; None if there are none, or if its description or `asked` has changed.

    None also if a run gave no verdict: then the server is tried again.
    """
    try:
        found: dict[str, Any] = json.loads((folder / FILE).read_text("utf-8"))
        trials = [Trial(**{**one, "course": Course(**one["course"])}) for one in found["trials"]]
        same = _runs_of(found["server"]) == _runs_of(asdict(server)) and found["asked"] == asked
        version = str(found["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not same or not trials or any(trial.trouble for trial in trials):
        return None
    return Tried(server=server, version=version, trials=tuple(trials))


def _runs_of(server: Mapping[str, Any]) -> Any:
    """Return a server's description without the keys of TOLD, converted as JSON would."""
    return json.loads(json.dumps({name: value for name, value in server.items() if name not in TOLD}))


__all__ = ["keep", "kept"]
