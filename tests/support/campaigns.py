"""`make campaign NAME`: trials too many for every `make test`, each seeded, so that each can be repeated.

A campaign is a script of this folder or a command of ours; its exit code is 0 if nothing was wrong. `make test` runs a
small sample of the same trials.
"""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


def _script(name: str) -> str:
    return str(HERE / f"{name}.py")


@dataclass(frozen=True, slots=True)
class Campaign:
    """Arguments of Python; those of the command line follow, and win."""

    command: tuple[str, ...]
    says: str


CAMPAIGNS = {
    "tests": Campaign(("-m", "pytest", "tests", "-q", "-m", "campaign"), "the tests that every `make test` leaves out"),
    "fuzz": Campaign(
        (_script("fuzz"),), "valid inputs with one to three mistakes: a sentence, or a run that is judged"
    ),
    "damage": Campaign((_script("damage"),), "damaged copies of runs: no verdict changes sides, nothing crashes"),
    "kills": Campaign((_script("kills"),), "processes of runs killed at random moments: no completed record is lost"),
    "mutations": Campaign((_script("mutate_checks"),), "small mistakes in the checks: each turns a test red"),
    "foreign": Campaign((_script("foreign_numbers"),), "histories that others publish, beside oracles of their own"),
    "matrix": Campaign(
        ("-m", "earwitness.harness.cli", "defects", "--matrix"), "every defect on the real platform; takes hours"
    ),
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
    command = [sys.executable, *CAMPAIGNS[name].command, *options]
    sys.stdout.flush()
    os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
