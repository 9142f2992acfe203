"""The verb `earwitness check RUN`: judge a run again, later, on another machine, or with newer checks."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from earwitness.checks.engine.fold import Check
from earwitness.checks.own import OwnCheck
from earwitness.harness.errors import RecordError, SettingsError
from earwitness.harness.progress import say, show, show_json, show_verdict
from earwitness.harness.record.forms import fault_of_run
from earwitness.harness.record.rundir import read_run, write_whole
from earwitness.harness.report.follow import follow_by_hand
from earwitness.harness.report.github import tell_github
from earwitness.harness.report.judging import judge_run, write_verdict
from earwitness.harness.report.own_checks import all_checks, load
from earwitness.harness.report.sharded import CLUSTER_SHARDS, Way, cluster, processes
from earwitness.harness.report.swim_svg import witness_svg
from earwitness.harness.report.swim_text import witness_text
from earwitness.harness.report.terminal import verdict_text
from earwitness.harness.report.warm import compiling_is_said, warm_up

DESCRIPTION = """Judge what a run recorded: all checks, with the verdict written into its directory; with --only some of
them, and with --witness one finding in detail: the records that prove it, the promise that was broken, and a swim-lane
(time downwards, one lane a device, one for the platform)."""
EPILOG = """examples:
  earwitness check runs/latest                                        the verdict again, by today's checks
  earwitness check runs/latest --only I2,I4                           only these, and the record's own health
  earwitness check runs/latest --check my_checks.py                   also by your own checks
  earwitness check runs/latest --processes 2                          a long run, by two processes
  earwitness check runs/latest --only I2 --witness 1                  the first finding of I2 in detail
  earwitness check runs/latest --only I2 --witness 1 --svg swap.svg   and as a picture"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `earwitness check` to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory, e.g. runs/latest")
    parser.add_argument(
        "--only", action="append", default=[], metavar="I2,I4", help="judge only these checks; nothing is written"
    )
    parser.add_argument(
        "--check",
        action="append",
        default=[],
        metavar="FILE.py",
        help="judge also by your own checks in this file, which is executed; repeatable. The own checks of the run "
        "are not executed unless their file is named here; they are UNKNOWN then",
    )
    parser.add_argument(
        "--witness", type=int, metavar="N", help="show the Nth finding of the check in --only in detail"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="with --witness: draw its swim-lane into FILE")
    parser.add_argument("--json", action="store_true", help="print as in verdict.json instead of text")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="judge while the run is in progress: report each violation at once, and the verdict at the end",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="judge by N processes of this machine, each some of the conversations; the verdict is the same. It pays "
        "from about 20 million records on (default 1)",
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="parts into which the conversations are shared out; each needs less memory (default: one a process)",
    )
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="judge the shards on the workers of a dask.distributed scheduler, e.g. tcp://host:8786; needs "
        "earwitness[cluster], and a --shard-dir that all workers can read",
    )
    parser.add_argument(
        "--shard-dir",
        type=Path,
        metavar="DIR",
        help="folder for the shards while they are judged, as large as the journals (default: the temporary folder)",
    )


def run(args: argparse.Namespace) -> int:
    """Judge the run `args.run`, write the files of its verdict, print it, and return its exit code.

    The files are verdict.json, verdict.txt, junit.xml, report.html and pictures. With --only none of them is written,
    and the exit code is that of the chosen checks. Raises EarwitnessError.
    """
    own = load([(file, None) for file in args.check])
    only = chosen(args.only, _checks_of(args.run, own))
    _refuse_contradictions(args, only)
    run_dir = args.run.resolve()
    with compiling_is_said(say):
        if args.follow:
            verdict = _followed(run_dir, own)
        else:
            verdict = judge_run(run_dir, only=[c.id for c in only], own=own, way=way_of(args))
    if args.witness is not None:
        _tell(verdict, only[0], args)
        return int(verdict["exit_code"])
    text = verdict_text(verdict)
    if not only and not args.follow:  # following has written it already
        write_verdict(run_dir, verdict, text)
    show_json(verdict) if args.json else show_verdict(text)
    if not only and not args.json:
        tell_github(verdict)
    return int(verdict["exit_code"])


def _followed(run_dir: Path, own: Sequence[OwnCheck]) -> dict[str, Any]:
    warm_up(say)
    return follow_by_hand(run_dir, own)


SHARDS_MOST = 4096
"""Largest number of shards: each shard is an open file while records are written to the shards."""


def way_of(args: argparse.Namespace) -> Way | None:
    """Return the `Way` to judge a run by shards, as the arguments state it; None: judge in one pass, in this process.

    Raises SettingsError for numbers out of range, a missing folder, and `--cluster` without `--shard-dir`.
    """
    shards = args.shards or args.processes
    if not 1 <= args.processes <= SHARDS_MOST or not 1 <= shards <= SHARDS_MOST:
        raise SettingsError("--processes, --shards", [f"give a number from 1 to {SHARDS_MOST}"])
    if args.shard_dir is not None and not args.shard_dir.is_dir():
        raise SettingsError("--shard-dir", [f"{args.shard_dir} is no folder; create it first"])
    if args.cluster:
        if args.shard_dir is None:
            raise SettingsError("--cluster", ["name a folder that all workers can read: --shard-dir DIR"])
        return Way(args.shards or CLUSTER_SHARDS, partial(cluster, args.cluster), args.shard_dir.resolve())
    if args.processes == 1 and args.shards is None:
        return None
    return Way(shards, partial(processes, args.processes), args.shard_dir)


def _checks_of(run_dir: Path, own: Sequence[OwnCheck]) -> Sequence[Check]:
    """Return all checks that judge a run: the tool's, the run's own checks, and `own`.

    If `run.json` cannot be read, the run's own checks are left out; `judge_run` reports the error later.
    """
    try:
        run, _ = read_run(run_dir)
    except RecordError:
        run = {}
    return all_checks(run if not fault_of_run(run) else {}, own)


def _refuse_contradictions(args: argparse.Namespace, only: Sequence[Check]) -> None:
    if args.follow and (args.processes != 1 or args.shards or args.cluster):
        raise SettingsError("--follow", ["--follow judges by one process; leave out --processes, --shards, --cluster"])
    if args.follow and only:
        raise SettingsError("--follow", ["--follow judges by all checks; leave out --only until the run has ended"])
    if args.witness is not None and len(only) != 1:
        raise SettingsError("--witness", ["name one check, e.g. --only I2 --witness 1"])
    if args.svg is not None and args.witness is None:
        raise SettingsError("--svg", ["name the finding to draw, e.g. --only I2 --witness 1 --svg I2.svg"])


def chosen(only: Sequence[str], checks: Sequence[Check]) -> list[Check]:
    """Return the checks that `only` names, in the order of `checks`.

    An element of `only` is one or several ids or names, separated by commas. Raises SettingsError for an unknown one.
    """
    wanted = [word.strip().lower() for words in only for word in words.split(",") if word.strip()]
    known = {key: check for check in checks for key in (check.id.lower(), check.name)}
    unknown = [word for word in wanted if word not in known]
    if unknown or (only and not wanted):
        names = ", ".join(check.id for check in checks)
        raise SettingsError("--only", [f"there is no check {word!r}" for word in unknown] + [f"there are {names}"])
    picked = [known[word] for word in wanted]
    return [check for check in checks if check in picked]


def _tell(verdict: Mapping[str, Any], check: Check, args: argparse.Namespace) -> None:
    row = next(row for row in (*verdict["checks"], *verdict["harness"]) if row["id"] == check.id)
    witnesses = row["witnesses"]
    if not witnesses:
        why = f": {row['why']}" if row["why"] else ""
        raise SettingsError("--witness", [f"{check.id} {check.name} has no finding here, it is {row['outcome']}{why}"])
    if not 1 <= args.witness <= len(witnesses):
        kept = f"the first {len(witnesses)} of {row['violations']:,} findings are kept"
        raise SettingsError("--witness", [f"{check.id} has no finding {args.witness}: {kept}"])
    witness = witnesses[args.witness - 1]
    if args.json:
        show_json(witness)
    else:
        show(witness_text(witness, row, shutil.get_terminal_size((120, 24)).columns))
    if args.svg is not None:
        write_whole(args.svg, witness_svg(witness, row))
        say(f"drawn: {args.svg}")
