"""The verb `earwitness compare A… -- B…`: report what is worse in the runs B than in the runs A."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from earwitness.harness.errors import Exit, SettingsError
from earwitness.harness.progress import Progress, show, show_json
from earwitness.harness.report.comparison import texts
from earwitness.harness.report.comparison.alike import ALL, CONDITIONS, MEANING, require_alike
from earwitness.harness.report.comparison.rerun import ROUNDS, rerun
from earwitness.harness.report.comparison.rows import (
    FEWEST_RUNS,
    MOST_RUNS,
    POINTS,
    RANKS_FROM,
    comparable_names,
    compare_sets,
)
from earwitness.harness.report.comparison.samples import (
    ENOUGH_S,
    QUANTILES,
    Sample,
    described,
    finished,
    key_of,
    outcome_of,
    sample_of,
)
from earwitness.harness.report.comparison.within import ENOUGH, blocks_of, compare_pair

SIDES: Final = "--"
"""Word on the command line that separates the runs before the change from those after it."""
MARGIN: Final = 5.0
"""Default of `--tolerance`: per cent by which a figure may become worse."""

DESCRIPTION = """Compare two states of a platform by several runs of each: latencies, messages a second, errors, CPU for
each message, memory. Options come before the runs."""
EPILOG = f"""Each row: the means over the runs before and after, and their ratio with a 95 % interval over runs.
  worse, by more than 5 %                a regression (exit 4): seen, and shown to be beyond the margin
  worse; not shown: by more than 5 %     seen, but perhaps or certainly within the margin
  no difference seen; with these runs so much would have been
                                         a change of that size is seen in four of five comparisons
Errors are compared by their difference; their margin is {POINTS:g} percentage points. The unit is the run: messages of
one run are not independent. With fewer than {RANKS_FROM} runs a side the rank test has no say; with one run a side
nothing is claimed, as the spread between runs is unknown.

Runs are refused unless all are alike in:
{MEANING}
What may differ is named with --despite.

--rerun A B runs two commands in turns, A B A B …, and compares their runs. Each command makes one run; it finds the
folder for it in the variable EARWITNESS_RUNS. A state may be a checkout or a setting:
  earwitness compare --despite tester --rerun "env -C before make load" "env -C after make load"
  earwitness compare --rounds 7 --rerun "earwitness run baseline --headless --target old.toml" \\
                                        "earwitness run baseline --headless --target new.toml"

examples:
  earwitness compare runs/2026*-baseline-1 -- runs/2027*-baseline-1
  earwitness compare --margin 10 --json a1 a2 a3 -- b1 b2 b3
exit codes: 0 no regression, 4 a regression, 2 could not compare,
3 one run a side, and the run after seems worse beyond the margin"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `earwitness compare`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = "earwitness compare [options] A... -- B..."
    parser.add_argument("runs", nargs="*", metavar="RUN", help="runs before the change, --, runs after it")
    add_options(parser)
    parser.add_argument("--rerun", nargs=2, metavar=("A", "B"), help="make the runs: two commands, run in turns")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each command (default {ROUNDS})")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options that `earwitness compare` and `earwitness baseline` have in common."""
    parser.add_argument(
        "--tolerance", "--margin", dest="margin", type=float, default=MARGIN, metavar="PERCENT",
        help=f"by how much a figure may become worse (default {MARGIN:g})",
    )  # fmt: skip
    parser.add_argument(
        "--despite", action="append", default=[], choices=(*CONDITIONS, ALL), help="what may differ between the runs"
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def run(args: argparse.Namespace) -> int:
    """Compare the runs of both sides and print one row for each figure, as text or, with `--json`, as JSON.

    With `--rerun` the runs are made first. Return the exit code: PASS; THRESHOLD: a regression; UNKNOWN: there is one
    run a side, and B seems slower. Raises RecordError for a path that is no finished run, or a command that made none;
    SettingsError for bad options and runs that cannot be compared.
    """
    check_margin(args.margin)
    if args.rerun:
        if args.runs:
            raise SettingsError("--rerun", ["it makes the runs itself; name no others"])
        before, after = rerun(args.rerun[0], args.rerun[1], args.rounds, args.despite)
    else:
        before, after = sides_of(args.runs)
    if len(before) == len(after) == 1:
        return _pair(before[0], after[0], args.margin, args.despite, as_json=args.json)
    check_numbers(len(before), len(after))
    samples = read([*before, *after])
    return compare_samples(samples[: len(before)], samples[len(before) :], args.margin, args.despite, as_json=args.json)


def sides_of(words: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Return (runs before, runs after) from the command line's words.

    If there are only two words, `--` may be left out.

    Raises SettingsError if a side is empty or a run is named twice.
    """
    at = words.index(SIDES) if SIDES in words else 1 if len(words) == 2 else None
    if at is None:
        raise SettingsError(
            "compare", ["write -- between the sides: earwitness compare before1 before2 -- after1 after2"]
        )
    before, after = list(words[:at]), [word for word in words[at:] if word != SIDES]
    if options := [word for word in words if word.startswith("--") and word != SIDES]:
        raise SettingsError(options[0], ["options come before the runs: earwitness compare --json a1 a2 -- b1 b2"])
    if not before or not after:
        raise SettingsError(
            "compare", [f"there is no run {'after' if before else 'before'} the --; name runs of both sides"]
        )
    paths = [Path(word) for word in (*before, *after)]
    refuse_twice([path.resolve() for path in paths], [str(path) for path in paths])
    return paths[: len(before)], paths[len(before) :]


def refuse_twice(keys: Sequence[Any], names: Sequence[str]) -> None:
    """Raise SettingsError if a run is given twice: a run that counts twice makes the spread between runs too small.

    - `keys`: what identifies each run, its resolved path for example
    - `names`: the name of each run for the error, in the same order
    """
    for number, key in enumerate(keys):
        if key in keys[:number]:
            raise SettingsError(names[number], [f"the run is named twice (also as {names[list(keys).index(key)]})"])


def check_margin(margin: float) -> None:
    """Raise SettingsError unless `margin`, in per cent, is at least 0 and below 100."""
    if not 0 <= margin < 100:
        raise SettingsError("--margin", [f"{margin:g} is no per cent from 0 to 99; write --margin {MARGIN:g}"])


def check_numbers(before: int, after: int) -> None:
    """Raise SettingsError if a side has fewer than FEWEST_RUNS runs, too few to show a spread, or more than MOST_RUNS.

    `before`, `after`: number of runs of each side.
    """
    if min(before, after) < FEWEST_RUNS:
        few = f"{before} and {after} runs: a side with one run has no spread; record {RANKS_FROM} or more of each"
        raise SettingsError("compare", [few])
    if max(before, after) > MOST_RUNS:
        raise SettingsError("compare", [f"{max(before, after)} runs on one side; {MOST_RUNS} are the most"])


def read(paths: Sequence[Path]) -> list[Sample]:
    """Return a sample of each run directory, in order. Raises RecordError under the conditions of `sample_of`.

    Only one run is in memory at a time.
    """
    samples = []
    with Progress("reading the runs", len(paths)) as progress:
        for number, path in enumerate(paths):
            samples.append(sample_of(path))
            progress.at(number + 1)
    return samples


def compare_samples(
    before: Sequence[Sample], after: Sequence[Sample], margin: float, despite: Collection[str], *, as_json: bool
) -> int:
    """Print the comparison of two sets; return THRESHOLD if there is a regression, else PASS.

    `margin`: per cent; `despite`: conditions that may differ; `as_json`: print JSON. Raises SettingsError for runs that
    were given twice, are not alike, or have no figure in common.
    """
    both = [*before, *after]
    refuse_twice([sample.key for sample in both], [sample.run for sample in both])
    notes = [f"not alike: {text}" for text in require_alike(both, despite)]
    notes += [note for sample in both if (note := _doubt(sample.run, sample.outcome))]
    figures = [sample.figures for sample in before], [sample.figures for sample in after]
    names, partly = comparable_names(*figures)
    if not names:
        raise SettingsError("compare", [f"the runs have no figure in common; latencies need {ENOUGH_S} s in each run"])
    notes += [f"not compared, as not all runs have it (or it is zero): {name}" for name in partly]
    if not any(name.endswith(tuple(f" p{one}" for one in QUANTILES)) for name in names):
        notes.append(f"latencies are not compared: they need samples in {ENOUGH_S} different seconds of each run")
    rows = compare_sets(*figures, margin / 100)
    regression = any(row.regression for row in rows)
    if as_json:
        sides = {"before": [sample.run for sample in before], "after": [sample.run for sample in after]}
        show_json({**sides, "margin": margin, "notes": notes, "rows": [row.to_dict() for row in rows],
                   "regression": regression})  # fmt: skip
    else:
        show("\n".join([f"{len(before)} runs before, {len(after)} after", *notes, texts.table(rows, margin)]))
        show(f"{texts.method(rows, (len(before), len(after)))}\n{texts.result(rows, margin)}")
    return Exit.THRESHOLD if regression else Exit.PASS


def _doubt(run: str, outcome: str | None) -> str:
    if outcome == "PASS":
        return ""
    return f"{run} was {outcome or 'never judged'}: its figures may be those of a defect, or of a tester in trouble"


def _pair(a: Path, b: Path, margin: float, despite: Collection[str], *, as_json: bool) -> int:
    """Print the comparison of two single runs.

    Return UNKNOWN if a figure of B seems worse beyond the margin, else PASS.

    A single run a side cannot prove a regression. `margin`: per cent; `despite`: conditions that may differ; `as_json`:
    print JSON.
    """
    one, other = finished(a), finished(b)
    samples = [
        Sample(str(history.path), key_of(history), outcome_of(history.path), described(history.run))
        for history in (one, other)
    ]
    refuse_twice([sample.key for sample in samples], [sample.run for sample in samples])
    notes = [f"not alike: {text}" for text in require_alike(samples, despite)]
    notes += [note for sample in samples if (note := _doubt(sample.run, sample.outcome))]
    rows = compare_pair(blocks_of(one), blocks_of(other), margin / 100)
    if not rows:
        raise SettingsError("compare", [f"the runs have no figure in common that lasted {ENOUGH} s in both"])
    if as_json:
        show_json({"spread between runs": "unknown", "margin": margin, "notes": notes, "rows": rows})
    else:
        show("\n".join([*notes, texts.pair_table(rows)]))
    return Exit.UNKNOWN if any(row["word"] == "slower" for row in rows) else Exit.PASS
