"""Campaigns, `make campaign NAME`: more trials than `make test` has time for.

Each trial has a seed and can be repeated.

A campaign is a script of this folder or a command of the project; its exit code is 0 if nothing was wrong. `make test`
runs a small sample of the same trials.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent


LEAST_COVERED = 70
"""Least coverage in per cent. The tests reached 73 when this was written; raise it after a complete run."""


COVERAGE = (
    *("-m", "pytest", "tests/checks", "tests/record", "-q", "-n", "2", "--dist", "loadfile", "--timeout", "300"),
    *("-m", "not processes and not slow and not campaign and not servers"),
    *("--cov", "checks", "--cov", "harness/record"),
    *("--cov-report", "term:skip-covered", "--cov-fail-under", str(LEAST_COVERED)),
)


def _script(name: str) -> str:
    return str(HERE / f"{name}.py")


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign: arguments for the Python interpreter, and a sentence about it.

    Options of the command line are appended, so they override `command`. `environ`: environment variables to set.
    """

    command: tuple[str, ...]
    says: str
    environ: Mapping[str, str] = field(default_factory=dict)


CAMPAIGNS = {
    "tests": Campaign(("-m", "pytest", "tests", "-q", "-m", "campaign"), "the tests that every `make test` leaves out"),
    "fuzz": Campaign(
        (_script("fuzz"),), "valid inputs with one to three mistakes: a sentence, or a run that is judged"
    ),
    "damage": Campaign((_script("damage"),), "damaged copies of runs: no verdict changes sides, nothing crashes"),
    "kills": Campaign((_script("kills"),), "processes of runs killed at random moments: no completed record is lost"),
    "hosts": Campaign(
        (_script("hosts"),),
        "runs over three hosts (namespaces; needs root): sound, twelve defects, each on one host too, kills",
    ),
    "mutations": Campaign((_script("mutate_checks"),), "small mistakes in the checks: each turns a test red"),
    "coverage": Campaign(
        COVERAGE,
        f"lines of checks/ and harness/record that their own tests run: {LEAST_COVERED} % or more",
        {"NUMBA_DISABLE_JIT": "1"},  # coverage does not see into compiled loops
    ),
    "frames": Campaign(
        ("-m", "pytest", "tests/dialects/shipped", "-q", "-k", "mutated or garbage or damaged", "--timeout", "0"),
        "100,000 mutated frames for each shipped dialect: no exception, and only events that can be recorded",
        {"MUTATED_FRAMES": "100000"},
    ),
    "foreign": Campaign((_script("foreign_numbers"),), "histories that others publish, beside oracles of their own"),
    "scale": Campaign(
        (_script("scale"),), "up to a billion records judged shard by shard, with violations that must be found"
    ),
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
    """Replace this process by the campaign that the first argument names.

    Returns 0 after printing the list for `-h` or no argument, 2 for an unknown campaign.
    """
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
    os.execve(command[0], command, {**os.environ, **CAMPAIGNS[name].environ})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
