"""`make campaign NAME`: trials too many for every `make test`, each seeded, so that each can be repeated.

A campaign is a script of this folder with a `main` of its own; its exit code is 0 if nothing was wrong. `make test`
runs a small sample of the same trials.
"""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Campaign:
    """`script` of this folder with `options`; those of the command line follow, and win."""

    script: str
    says: str
    options: tuple[str, ...] = ()


CAMPAIGNS = {
    "fuzz": Campaign("fuzz.py", "valid inputs with one to three mistakes: a sentence, or a run that is judged"),
}


def listed() -> str:
    """Return the usage and a line for each campaign."""
    width = max(map(len, CAMPAIGNS))
    lines = [f"  {name:<{width}}  {campaign.says}" for name, campaign in CAMPAIGNS.items()]
    return "\n".join(['usage: make campaign NAME [ARGS="options of the campaign, --help for one"]', "", *lines])


def main(arguments: list[str]) -> int:
    """Run the campaign that the first argument names, in this process."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listed())
        return 0
    name, options = arguments[0], arguments[1:]
    if name not in CAMPAIGNS:
        close = difflib.get_close_matches(name, CAMPAIGNS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        print(f"there is no campaign {name!r}{hint}\n{listed()}", file=sys.stderr)
        return 2
    campaign = CAMPAIGNS[name]
    command = [sys.executable, str(HERE / campaign.script), *campaign.options, *options]
    sys.stdout.flush()
    os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
