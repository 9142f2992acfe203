"""The verb `earwitness baseline record|list|check NAME`: store figures of sets of runs, and compare new runs with them.

A set is one JSON file with the figures of its runs and the conditions under which they were measured, a few kilobytes a
run. The file can be kept under version control, and the run directories may be removed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from earwitness.harness.errors import Exit, RecordError, SettingsError
from earwitness.harness.progress import show, show_json
from earwitness.harness.record.rundir import read_json, write_json
from earwitness.harness.report.comparison.alike import MEANING, conditions, require_alike
from earwitness.harness.report.comparison.command import (
    add_options,
    check_margin,
    check_numbers,
    compare_samples,
    read,
    refuse_twice,
)
from earwitness.harness.report.comparison.rows import MOST_RUNS, RANKS_FROM
from earwitness.harness.report.comparison.samples import Sample

FOLDER: Final = Path("baselines")
FORMAT: Final = 1
_SOUND_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,80}")

DESCRIPTION = """Keep the figures of a set of runs under a name, and compare new runs with them. `record` adds runs to
the set NAME, `list` shows the sets, or the runs of one, `check` compares runs with a set as `earwitness compare` does.
Options stand before the action, or at the end."""
EPILOG = f"""All runs of a set must be alike in:
{MEANING}

examples:
  earwitness baseline record main runs/2026*-baseline-1      seven runs or more, so that the rank test has a say
  earwitness baseline list
  earwitness baseline check main runs/2027*-baseline-1 --margin 10
exit codes: 0 recorded, listed, or no regression, 4 a regression, 2 could not do it"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `earwitness baseline`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("action", choices=tuple(ACTIONS), help="what to do")
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the set: letters, digits, _, . and -")
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run directories")
    parser.add_argument(
        "--baselines", type=Path, default=FOLDER, metavar="DIR", help=f"folder of the sets (default {FOLDER})"
    )
    parser.add_argument("--replace", action="store_true", help="record: forget the runs that the set has")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Record, list or check sets of runs, as `args.action` says, and return the exit code.

    Raises RecordError for a set or a run that cannot be read, SettingsError for bad options and runs that are not
    alike.
    """
    check_margin(args.margin)
    if args.name is not None and not _SOUND_NAME.fullmatch(args.name):
        raise SettingsError("NAME", [f"{args.name!r} is no name for a set: use letters, digits, _, . and -"])
    if args.action != "list":
        if args.name is None or not args.runs:
            raise SettingsError(
                f"baseline {args.action}", [f"name a set and runs: earwitness baseline {args.action} main runs/2026*"]
            )
        refuse_twice([path.resolve() for path in args.runs], [str(path) for path in args.runs])
    return ACTIONS[args.action](args)


def file_of(folder: Path, name: str) -> Path:
    """Return the path of the file that stores the set `name`."""
    return folder / f"{name}.json"


def load_set(folder: Path, name: str) -> list[Sample]:
    """Return the runs of a set. Raises RecordError if there is none of that name, or its file is damaged."""
    path = file_of(folder, name)
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.json"))) or "none is recorded yet"
        raise RecordError(
            f"There is no set {name} in {folder} ({known}). Record it: earwitness baseline record {name} RUN…"
        )
    data = read_json(path)
    try:
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}")
        return [Sample.from_dict(one) for one in data["runs"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{path} is no set of runs ({error}). Restore it, or record it with --replace.") from error


def save_set(folder: Path, name: str, samples: Sequence[Sample]) -> Path:
    """Write the set `name` atomically and return its file.

    Raises RecordError if the folder or file cannot be written.
    """
    path = file_of(folder, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"Cannot make {folder}: {error.strerror}. Name another place with --baselines.") from error
    write_json(path, {"format": FORMAT, "runs": [sample.to_dict() for sample in samples]})
    return path


def _record(args: argparse.Namespace) -> int:
    kept: list[Sample] = []
    if file_of(args.baselines, args.name).exists() and not args.replace:
        kept = load_set(args.baselines, args.name)
    if len(kept) + len(args.runs) > MOST_RUNS:
        raise SettingsError(args.name, [f"a set has at most {MOST_RUNS} runs; record another, or use --replace"])
    samples = [*kept, *read(args.runs)]
    refuse_twice([sample.key for sample in samples], [sample.run for sample in samples])
    notes = require_alike(samples, args.despite)
    path = save_set(args.baselines, args.name, samples)
    if args.json:
        show_json({"file": str(path), "runs": len(samples), "notes": notes})
        return Exit.PASS
    for note in notes:
        show(f"not alike: {note}")
    few = f"; {RANKS_FROM} or more are wanted" if len(samples) < RANKS_FROM else ""
    show(f"{path}: {len(samples)} runs{few}")
    return Exit.PASS


def _list(args: argparse.Namespace) -> int:
    if args.name is not None:
        samples = load_set(args.baselines, args.name)
        rows = [{"run": sample.run, "outcome": sample.outcome, **_summary(sample)} for sample in samples]
        lines = [f"{row['run']}  {row['outcome'] or 'never judged'}  {row['created']}" for row in rows]
    else:
        sets = {path.stem: load_set(args.baselines, path.stem) for path in sorted(args.baselines.glob("*.json"))}
        rows = [{"name": name, "runs": len(runs), **_summary(runs[-1])} for name, runs in sets.items() if runs]
        lines = [
            f"{row['name']:<20}{row['runs']:>4} runs  {row['story']}, {row['users']} users, {row['seconds']} s, "
            f"machine {row['machine']}, commit {row['commit']}, last {row['created']}"
            for row in rows
        ]
    if args.json:
        show_json(rows)
    else:
        show("\n".join(lines) or f"no set in {args.baselines}; earwitness baseline record NAME RUN… makes one")
    return Exit.PASS


def _summary(sample: Sample) -> dict[str, Any]:
    of = conditions(sample.described)
    load = of["load"]
    return {
        "story": sample.described.get("story"),
        "users": load.get("users"),
        "seconds": load.get("seconds"),
        "machine": (of["machine"] or {}).get("hash"),
        "commit": ((of["tester"] or {}).get("commit") or "unknown")[:12],
        "created": sample.described.get("created"),
    }


def _check(args: argparse.Namespace) -> int:
    kept = load_set(args.baselines, args.name)
    check_numbers(len(kept), len(args.runs))
    return compare_samples(kept, read(args.runs), args.margin, args.despite, as_json=args.json)


ACTIONS: Final = {"record": _record, "list": _list, "check": _check}
