"""Program that tests before a load whether a target file fits: `python -m earwitness.harness.probe.fit FILE`.

It runs in a separate process, because the rehearsal needs asyncio and the load uses gevent. It prints a JSON object:

fault  sentences about mistakes in the file that a load would take for errors of the platform; "" if it fits
notes  sentences about what differed from the file, or was not tried
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from earwitness.harness.dialects.registry import load_target
from earwitness.harness.dialects.toml.addresses import proxied
from earwitness.harness.errors import EarwitnessError, Exit, TargetError
from earwitness.harness.probe.rehearsal import Unfit, cast, rehearse

STEP_S = 5.0
"""Time limit (s) of each step of the rehearsal. A slower answer is no mistake of the file; the load judges it."""


def fit(path: Path, step_s: float = STEP_S) -> dict[str, object]:
    """Let two users send one message each; return {"fault", "notes"} as the module describes them.

    `step_s` limits each step. Raises SettingsError or TargetError if the file or its dialect cannot be loaded.
    """
    target = load_target(path)
    notes = proxied(target.addresses)
    try:
        cast(target, "")
    except TargetError as error:
        return {"fault": "", "notes": [*notes, f"The target file was not tried before the load. {error}"]}
    try:
        # The history of a room that existed before may be long.
        rehearsal = asyncio.run(rehearse(target, step_s, each=1, history=target.parts.has_rooms is None))
    except Unfit as error:
        return {"fault": str(error), "notes": []}
    except TargetError as error:
        return {"fault": "", "notes": [*notes, f"Before the load, two users could not exchange messages. {error}"]}
    found = rehearsal.misfits()
    fatal = [one.sentence for one in found if one.fatal]
    return {
        "fault": " ".join(fatal),
        "notes": [*notes, *(one.sentence for one in found if not one.fatal), *rehearsal.notes],
    }


def main() -> int:
    """Print the fit of the file named on the command line as JSON; return 0, or 130 after Ctrl-C."""
    try:
        print(json.dumps(fit(Path(sys.argv[1]))))  # noqa: T201 (for a program)
    except EarwitnessError as error:
        print(json.dumps({"fault": str(error), "notes": []}))  # noqa: T201 (for a program)
    except KeyboardInterrupt:  # the load reports it
        return Exit.INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
