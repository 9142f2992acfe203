"""Damage to copies of run directories, and a comparison of their verdicts with that of the undamaged run.

    python tests/support/damage.py [--copies 3000] [--seed 0] [--run RUN …]

Without --run, runs of the simulated platform are used: some that pass, some that fail. Prints a table, and the seed of
each copy that changed a verdict from PASS to FAIL or back, that ended in a traceback, or that was judged for longer
than LONGEST_S. The exit status is 1 in these cases, and also if fewer than 90 % of the failures that undamaged blocks
still prove were found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests/support")]

from journaled import Journaled  # noqa: E402
from rough import rough  # noqa: E402
from simulator import simulate  # noqa: E402

from earwitness.checks.history.record import RECORD_BYTES  # noqa: E402
from earwitness.checks.roster import Origin  # noqa: E402
from earwitness.harness.errors import EarwitnessError  # noqa: E402
from earwitness.harness.progress import Progress  # noqa: E402
from earwitness.harness.record import journal as writing  # noqa: E402
from earwitness.harness.record.history import open_history  # noqa: E402
from earwitness.harness.report.judging import judge_run  # noqa: E402

SMALL_BLOCK = 32
"""Records in a block of simulated runs. These have some hundred records, so there are blocks before a damaged one."""
FOOTER = {"lag_ms": {"p99": 1.0}, "messages_sent": 1, "messages_unsaid": 0}
FAILING = ("Z3", "Z8", "Z12", "Z14")
"""Defects of the simulated platform that break a promise in most runs."""

REFUSED = "refused"
LONGEST_S = 60.0
"""Longest time in s for judging one copy, on a busy machine too."""
KEPT_MIN = 0.9
"""Least share of the failures that must still be found, of those that undamaged blocks prove."""


def simulated_run(path: Path, seed: int, defect: str = "") -> Path:
    """Write a run of the simulated platform into `path`, sealed in small blocks; return `path`.

    All checks of the tester pass for this run.
    """
    defects, options = ((defect,) if defect else ()), rough(seed, journals=4, sequence="contiguous")
    run = simulate(seed, **options, defects=defects, rate=0.5)
    run.infos[:] = [replace(info, footer={**(info.footer or {}), **FOOTER}) for info in run.infos]
    size, writing.BLOCK_RECORDS = writing.BLOCK_RECORDS, SMALL_BLOCK  # type: ignore[misc]
    try:
        written = Journaled(path, run, judged_by=["I1"])
        for number in range(len(run.journals)):
            written.write(number, len(run.journals[number]))
    finally:
        writing.BLOCK_RECORDS = size  # type: ignore[misc]
    written.directory.write_roster(run.roster, Origin.STATED)
    written.directory.append("services", {"service": "backend-1", "rss_mb": 60.0})
    written.close()
    return path


def evidence_of(run: Path) -> list[Path]:
    """Return the paths of all files on which a verdict depends."""
    folders = (run / "journals", run / "tables")
    return [run / "run.json", run / "roster.json", *sorted(p for folder in folders for p in folder.iterdir())]


def files_of(run: Path) -> list[Path]:
    """Return the paths of all files that may be damaged: the evidence, and its spare copies."""
    return [*evidence_of(run), *sorted((run / "spare").iterdir())]


def _bits(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _bytes(rng: random.Random, data: bytearray) -> None:
    at, length = rng.randrange(len(data)), rng.choice((1, 4, 64, 512))
    data[at : at + length] = rng.choice((bytes(length), rng.randbytes(length)))[: len(data) - at]


def _left_out(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, RECORD_BYTES, 300))]


def _put_in(rng: random.Random, data: bytearray) -> None:
    at, start = rng.randrange(len(data) + 1), rng.randrange(len(data))
    data[at:at] = data[start : start + rng.choice((1, RECORD_BYTES, 300))]


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _records_exchanged(rng: random.Random, data: bytearray) -> None:
    count = len(data) // RECORD_BYTES
    one, other = (rng.randrange(count) * RECORD_BYTES for _ in range(2)) if count else (0, 0)
    a, b = bytes(data[one : one + RECORD_BYTES]), bytes(data[other : other + RECORD_BYTES])
    data[one : one + RECORD_BYTES], data[other : other + RECORD_BYTES] = b, a


def _line_left_out(rng: random.Random, data: bytearray) -> None:
    lines = bytes(data).splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    data[:] = b"".join(lines)


INSIDE: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _bits, _bits, _bits, _bits, _bytes, _left_out, _put_in, _cut, _records_exchanged, _line_left_out,
)  # fmt: skip


def damage(run: Path, seed: int) -> str:
    """Damage a run directory in a way that is drawn by the seed; return a description of the damage."""
    rng, files = random.Random(seed), files_of(run)
    if rng.random() < 0.5:  # any file, or any byte
        file = rng.choice(files)
    else:
        file = rng.choices(files, [path.stat().st_size for path in files])[0]
    name = file.relative_to(run).as_posix()
    way = rng.random()
    if way < 0.05:
        file.unlink()
        return f"{name} removed"
    if way < 0.15:
        other = rng.choice([path for path in files if path.suffixes == file.suffixes])
        one, two = file.read_bytes(), other.read_bytes()
        file.write_bytes(two)
        other.write_bytes(one)
        return f"{name} and {other.relative_to(run).as_posix()} exchanged"
    act, data = rng.choice(INSIDE), bytearray(file.read_bytes())
    if data:
        act(rng, data)
        file.write_bytes(bytes(data))
    return f"{name} {act.__name__.strip('_')}"


def content(run: Path) -> dict[str, Any]:
    """Return file name → content of the evidence: bytes; for `run.json` its parsed value, as its layout may differ."""
    said: dict[str, Any] = {path.relative_to(run).as_posix(): path.read_bytes() for path in evidence_of(run)
                            if path.exists()}  # fmt: skip
    with contextlib.suppress(KeyError, ValueError):
        said["run.json"] = json.loads(said["run.json"])
    return said


def outcomes(run: Path) -> dict[str, str]:
    """Return check id → outcome; key "run": outcome of the run, or REFUSED if the run directory was refused."""
    try:
        verdict = judge_run(run)
    except EarwitnessError:
        return {"run": REFUSED}
    return {"run": verdict["outcome"]} | {c["id"]: c["outcome"] for c in [*verdict["checks"], *verdict["harness"]]}


@dataclass
class Whole:
    """An undamaged run: its outcomes, and the records of each finding of a broken promise."""

    path: Path
    outcomes: dict[str, str] = field(init=False)
    proofs: list[list[tuple[str, int]]] = field(init=False)

    def __post_init__(self) -> None:
        verdict = judge_run(self.path)
        self.outcomes = outcomes(self.path)
        self.proofs = [
            [(record["journal"], record["index"]) for record in witness["records"]]
            for check in verdict["checks"]
            if check["outcome"] == "FAIL" and check["promised"]
            for witness in check["witnesses"]
        ]
        self.blocks = {view.name: view.sidecar.blocks for view in open_history(self.path).journals}

    def proven_in(self, copy: Path) -> bool:
        """Return whether all records of some finding are in blocks that are unchanged in the data files of `copy`."""
        whole: dict[tuple[str, int], bool] = {}
        for name, blocks in self.blocks.items():
            file = copy / "journals" / f"{name}.ewj"
            before, after = (self.path / "journals" / f"{name}.ewj").read_bytes(), b""
            if file.exists():
                after = file.read_bytes()
            for block in blocks:
                span = slice((block.first - 1) * RECORD_BYTES, block.last * RECORD_BYTES)
                sound = before[span] == after[span]
                whole |= {(name, index): sound for index in range(block.first, block.last + 1)}
        return any(all(whole[record] for record in proof) for proof in self.proofs)


@dataclass
class Tally:
    """Counts of a campaign. `wrong`: sentences about copies that changed a verdict.

    outcomes  (outcome before, outcome after the damage) → copies
    provable  copies of failing runs of which undamaged blocks still prove a finding; `kept`: those that still failed
    lost      description of the damage → copies that were provable and did not fail
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    provable: int = 0
    kept: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def take(self, whole: Whole, copy: Path, seed: int) -> None:
        """Damage `copy`, a copy of the run `whole`, by the seed, judge it, and count the result."""
        what = damage(copy, seed)
        how = f"seed {seed}, {whole.path.name}: {what}"
        try:
            with limited(LONGEST_S):
                after = outcomes(copy)
        except Exception as error:
            self.wrong.append(f"{how}: {type(error).__name__}: {error}")
            return
        before = whole.outcomes
        self.outcomes[before["run"], after["run"]] += 1
        failed = [id for id, outcome in after.items() if outcome == "FAIL" and before[id] != "FAIL"]
        if failed:
            self.wrong.append(f"{how}: {', '.join(failed)} failed that did not before")
        if after["run"] == "PASS" and content(whole.path) != content(copy):
            self.wrong.append(f"{how}: not noticed")
        if before["run"] == "FAIL" and whole.proven_in(copy):
            self.provable += 1
            self.kept += after["run"] == "FAIL"
            if after["run"] != "FAIL":
                self.lost[f"{what}: {after['run']}"] += 1


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the body if it takes longer than `seconds`. Usable in the main thread only."""

    def end(*_: object) -> None:
        raise TimeoutError(f"still judging after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def campaign(runs: list[Whole], seeds: Iterable[int], folder: Path) -> Tally:
    """For each seed, damage a fresh copy of one of the runs and judge it; return the counts."""
    tally = Tally()
    for seed in seeds:
        whole, copy = runs[seed % len(runs)], folder / "copy"
        shutil.copytree(whole.path, copy)
        try:
            tally.take(whole, copy, seed)
        finally:
            shutil.rmtree(copy)
    return tally


def told(seeds: range) -> Iterator[int]:
    """Yield the seeds, and print the progress."""
    with Progress("damaging copies", len(seeds)) as progress:
        for done, seed in enumerate(seeds):
            progress.at(done)
            yield seed


def simulated_runs(folder: Path, count: int) -> list[Whole]:
    """Return `count` simulated runs that pass, and `count` that fail."""
    runs: list[Whole] = []
    for defects in (("",), FAILING):
        wanted, seed = len(runs) + count, 0
        while len(runs) < wanted:
            defect = defects[seed % len(defects)]
            one = Whole(simulated_run(folder / f"run-{seed}{defect}", seed, defect))
            if one.outcomes["run"] == ("FAIL" if defect else "PASS"):
                runs.append(one)
            seed += 1
    return runs


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Damage copies of runs and compare their verdicts.")
    parser.add_argument("--copies", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0, help="of the first copy")
    parser.add_argument(
        "--run", type=Path, action="append", default=[], help="a run directory instead of simulated ones"
    )
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        runs = [Whole(path.resolve()) for path in options.run] or simulated_runs(folder, 8)
        tally = campaign(runs, told(range(options.seed, options.seed + options.copies)), folder)
    print("| whole | damaged | copies |\n|---|---|---|")
    for (before, after), count in sorted(tally.outcomes.items()):
        print(f"| {before} | {after} | {count:,} |")
    print(f"a counterexample lies in whole blocks: {tally.provable}, of these still FAIL: {tally.kept}")
    print(*(f"  {count} × {what}" for what, count in tally.lost.most_common()), *tally.wrong, sep="\n")
    return int(bool(tally.wrong) or tally.kept < KEPT_MIN * tally.provable)


if __name__ == "__main__":
    sys.exit(main())
