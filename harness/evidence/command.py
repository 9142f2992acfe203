"""The verb `earwitness defects`: list the defects of the reference platform, and test whether the checks find them."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from earwitness.harness.errors import Exit, SettingsError
from earwitness.harness.evidence.catalogue import all_defects, chosen, listing_text
from earwitness.harness.evidence.cells import HEALTHY, Cell, Results, cells_of, reserved
from earwitness.harness.evidence.defect import Defect, Power
from earwitness.harness.evidence.matrix import Bench, RealBench, run_matrix
from earwitness.harness.evidence.page import evidence_text
from earwitness.harness.evidence.published import publish
from earwitness.harness.evidence.stages import ROUGH, staged, stories_of
from earwitness.harness.progress import say, show, show_json

WORK = Path("runs/matrix")
EVIDENCE = Path("docs/evidence.md")
ASIDE = "evidence.md"
"""Name of the page in the work directory that is written if the published page rests on more runs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `earwitness defects`."""
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.add_argument("--only", default="", metavar="Z5,Z6", help="ids or names of defects, instead of all")
    parser.add_argument("--matrix", action="store_true", help="run defects × seeds on the real platform")
    parser.add_argument("--story", metavar="NAME", help="only runs of this story, not of all that show them")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="runs of each defect (default 5)")
    parser.add_argument("--healthy", type=int, metavar="N", help="runs without a defect (default: as many as seeds)")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N",
        help="runs at a time, each with a platform of its own and about half a processor (default 1)",
    )  # fmt: skip
    parser.add_argument("--budget", type=float, metavar="MIN", help="start no run after this many minutes")
    parser.add_argument(
        "--power",
        choices=("high", "one", "both"),
        default="high",
        help="how often a defect fires: many times a run, or about once",
    )
    parser.add_argument(
        "--work", type=Path, default=WORK, metavar="DIR",
        help=f"folder for results, so that the same command continues after an interruption (default {WORK})",
    )  # fmt: skip
    parser.add_argument(
        "--evidence",
        type=Path,
        default=EVIDENCE,
        metavar="FILE",
        help=f"the page to write, unless the existing one shows more (default {EVIDENCE})",
    )


def run(args: argparse.Namespace) -> int:
    """Print the list of defects, or with --matrix make the matrix; return the exit code.

    Returns 1 after a false alarm or a miss, 3 if runs are still to be made or all verdicts are UNKNOWN, else 0. Raises
    SettingsError for options that are not possible.
    """
    defects = all_defects()
    picked = chosen(defects, args.only.split(","))
    if args.matrix:
        return _matrix(args, defects, _of_story(staged(picked), args.story))
    show_json([asdict(one) for one in picked]) if args.json else show(listing_text(picked))
    return Exit.PASS


def _of_story(picked: list[Defect], story: str | None) -> list[Defect]:
    found = [one for one in picked if story in (None, one.story)]
    if picked and not found:
        raise SettingsError("--story", [f"{story!r} shows none of them (there are {', '.join(stories_of(picked))})"])
    return found


def _matrix(args: argparse.Namespace, defects: list[Defect], picked: list[Defect]) -> int:
    healthy = args.seeds if args.healthy is None else args.healthy
    faults = [
        f"{name} must not be negative, not {value:g}"
        for name, value in (("--seeds", args.seeds), ("--healthy", healthy), ("--budget", args.budget or 0))
        if value < 0
    ]
    faults += [f"--jobs must be at least 1, not {args.jobs}"] if args.jobs < 1 else []
    if faults:
        raise SettingsError("earwitness defects", faults)
    powers: list[Power] = ["high", "one"] if args.power == "both" else [args.power]
    cells = cells_of(picked, powers, args.seeds, healthy)
    with reserved(args.work):
        results = Results(args.work)
        complete = _made(args, defects, picked, cells, results)
    return _exit_code(cells, results, picked, complete)


def _made(
    args: argparse.Namespace, defects: list[Defect], picked: list[Defect], cells: list[Cell], results: Results
) -> bool:
    """Make the runs that have no verdict yet and write the page; return whether every cell has a verdict then."""
    budget_s = None if args.budget is None else args.budget * 60
    try:
        benches = _benches(args.work, picked)
        return run_matrix(cells, results, benches, jobs=args.jobs, budget_s=budget_s, say=say)
    finally:
        # The results of an interrupted matrix are published too.
        say(publish(args.evidence, evidence_text(defects, results), args.work / ASIDE))


def _exit_code(cells: list[Cell], results: Results, picked: list[Defect], complete: bool) -> int:
    by_id = {one.id: one for one in picked}
    made = [results.by_cell[cell] for cell in cells if cell in results.by_cell]
    alarms = [r for r in made if r.detected and (r.cell.healthy or not r.fired)]
    missed = [r for r in made if not r.cell.healthy and r.judged and r.manifest and not r.attributed(by_id[r.defect])]
    told = [r for r in made if r.judged and r.exit_code != Exit.UNKNOWN]
    say(f"{len(made)} runs, {len(alarms)} false alarms, {len(missed)} misses")
    if alarms or missed:
        return Exit.FAIL
    # Without a judged run nothing is proven, even if the matrix is complete.
    return Exit.PASS if complete and told else Exit.UNKNOWN


def _benches(work: Path, picked: list[Defect]) -> Callable[[Cell], Bench]:
    by_id, commit = {one.id: one for one in picked}, _commit()

    def bench_of(cell: Cell) -> Bench:
        defect = by_id.get(cell.defect)
        if defect is None:
            return RealBench(work, cell.defect.removeprefix(HEALTHY).strip() or ROUGH, None, 0.0, commit)
        return RealBench(work, defect.story, defect, defect.high if cell.power == "high" else defect.one, commit)

    return bench_of


def _commit() -> str:
    """Return `git describe` of the judged code, or "unknown" outside of a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
