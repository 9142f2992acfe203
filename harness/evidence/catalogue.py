"""Catalogue of defects, read from another process: this program imports no module of the reference platform."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence

from earwitness.harness.errors import PlatformError, SettingsError
from earwitness.harness.evidence.defect import Defect
from earwitness.harness.platform.stack import require_platform

LIST_S = 30.0


def all_defects() -> list[Defect]:
    """Return all defects in the order of the catalogue. Raises PlatformError if the list cannot be read."""
    require_platform()
    command = [sys.executable, "-m", "earwitness.harness.defects"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIST_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise PlatformError(f"The list of defects cannot be read from the reference platform: {error}.") from error
    return [Defect.from_dict(one) for one in json.loads(done.stdout)]


def chosen(defects: Sequence[Defect], only: Iterable[str]) -> list[Defect]:
    """Return the defects whose id or name is in `only`; all defects if `only` is empty.

    Raises SettingsError, which names the unknown ids and names.
    """
    wanted = [text.strip() for text in only if text.strip()]
    known = {key for one in defects for key in (one.id, one.name)}
    strange = [text for text in wanted if text not in known]
    if strange:
        ids = ", ".join(one.id for one in defects)
        raise SettingsError("--only", [f"there is no defect {text!r} (there are {ids})" for text in strange])
    return [one for one in defects if not wanted or one.id in wanted or one.name in wanted]


def listing_text(defects: Sequence[Defect]) -> str:
    """Return two lines on each defect (what breaks, its service, what must find it), and example commands."""
    lines = []
    for one in defects:
        facts = [
            one.service,
            f"caught by {' or '.join(one.caught_by) or 'tests of pytest_suite'}",
            f"p is per {one.opportunity.removeprefix('one ')}",
        ]
        facts += [f"needs {one.needs}"] if one.needs else []
        shown_by = [story for story in (one.story, *one.also) if one.caught_by and story != "rough"]
        facts += [f"shown by {' and '.join(shown_by)}"] if shown_by else []
        lines += [f"{one.id:<5}{one.name}: “{one.breaks}”", f"     {' · '.join(facts)}"]
    talk = next((one for one in defects if one.story == "rough" and not one.needs), None)
    if talk is not None:
        lines += ["", f"See one being caught: locust -f locustfiles/ws_ordering.py --headless --defect {_order(talk)}"]
    shown = [one.id for one in defects if one.caught_by]
    if shown:
        lines += ["", f"Each in the story that shows it: earwitness defects --matrix --seeds 1 --only {shown[0]}"]
    return "\n".join(lines)


def _order(defect: Defect) -> str:
    return f"{defect.service}={defect.name}:{defect.high:g}"
