"""Running the matrix: defects × seeds on the real platform, a run of a few seconds of the defect's story for each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from harness.errors import EXIT_CANNOT_RUN, PlatformError
from harness.platform.launch import Platform, launch
from harness.platform.tether import module_environment
from harness.report.cells import Cell, Result, Results
from harness.report.listing import Defect
from harness.report.stages import file_of, stage_of
from harness.report.truth import GroundTruth

SPAWN_RATE = 50
CELL_S = 240.0

Say = Callable[[str], None]


class Bench(Protocol):
    """Makes the runs of cells that share a platform; a context manager."""

    def __enter__(self) -> Bench: ...
    def __exit__(self, *_: object) -> None: ...
    def run(self, cell: Cell) -> Result: ...


class RealBench:
    """One platform with one defect (or none) for runs of one story, in its own folder of the work directory."""

    def __init__(self, work: Path, story: str, defect: Defect | None, probability: float, commit: str) -> None:
        self._work, self._defect, self._probability, self._commit = work.resolve(), defect, probability, commit
        self._story, self._stage = file_of(story), stage_of(story)
        self._logs = self._work / "logs" / (f"{defect.id}-{probability:g}" if defect else f"healthy-{story}")
        self._order = defect.order if defect else ""
        self._platform: Platform | None = None

    def __enter__(self) -> RealBench:
        shutil.rmtree(self._logs, ignore_errors=True)
        defect = self._defect
        defects = {defect.service: [f"{defect.order}:{self._probability:g}"]} if defect else {}
        self._platform = launch(
            defects=defects, settings=self._stage.settings, links=self._stage.links, log_dir=self._logs,
            progress=lambda _: None,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        if self._platform is not None:
            self._platform.stop()

    def run(self, cell: Cell) -> Result:
        """The run's directory stays only if something about it needs an explanation."""
        truth = GroundTruth(self._logs)
        truth.mark()
        begin = time.time()
        code = self._locust(cell)
        run_dir = (self._work / "runs" / "latest").resolve()
        verdict = _read(run_dir / "verdict.json") if code != EXIT_CANNOT_RUN else {}
        told = _read(run_dir / "run.json") if verdict else {}
        checks = [*verdict.get("checks", ()), *verdict.get("harness", ())]
        failed = tuple(c["id"] for c in checks if c["outcome"] == "FAIL" and c["promised"])
        fired, manifest = truth.count(self._order, str(told["tag"])) if told else (0, 0)
        result = Result(
            defect=cell.defect,
            power=cell.power,
            seed=cell.seed,
            probability=self._probability,
            exit_code=code,
            failed=failed,
            fired=fired,
            manifest=manifest,
            messages=int(verdict.get("load", {}).get("messages_sent", 0)),
            seconds=round(time.time() - begin, 1),
            at=round(begin, 1),
            commit=self._commit,
            run=run_dir.name if verdict else "",
            silent=silent_checks(self._defect.caught_by if self._defect else (), checks),
        )
        as_expected = result.attributed(self._defect) if self._defect else code == 0
        if verdict and as_expected:
            shutil.rmtree(run_dir, ignore_errors=True)
        return result

    def _locust(self, cell: Cell) -> int:
        """Exit code of the run; EXIT_CANNOT_RUN also when it did not end in time."""
        assert self._platform is not None
        stage = self._stage
        command = [sys.executable, "-m", "locust", "-f", str(self._story), "--headless", "-u", str(stage.users)]
        command += ["-r", str(SPAWN_RATE), "-t", f"{stage.seconds}s", "--seed", str(cell.seed), "--only-summary"]
        command += ["--runs", str(self._work / "runs"), "--drain-s", "20"]
        environment = {**os.environ, **module_environment()}
        environment["EARWITNESS_PLATFORM"] = self._platform.control.address
        log = self._work / "logs" / f"run-{cell.defect}-{cell.power}-{cell.seed}.txt"
        with open(log, "wb") as output:
            run = subprocess.Popen(command, cwd=self._work, env=environment, stdout=output, stderr=output)
            try:
                code = run.wait(CELL_S)
            except BaseException as error:
                run.kill()
                run.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                return EXIT_CANNOT_RUN
        # A run that broke down by itself (a signal, a usage error of Locust) was not judged.
        return code if code in (0, 1, 3, 4) else EXIT_CANNOT_RUN


def run_matrix(
    cells: Sequence[Cell],
    results: Results,
    bench_of: Callable[[Cell], Bench],
    *,
    budget_s: float | None = None,
    say: Say,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Make all runs that have no result yet; False if the budget ended before them."""
    todo = results.missing(cells)
    end = None if budget_s is None else clock() + budget_s
    done = 0
    if len(todo) < len(cells):
        say(f"{len(cells) - len(todo)} of {len(cells)} runs were made before")
    for (defect, power), group in groupby(todo, key=lambda cell: (cell.defect, cell.power)):
        if end is not None and clock() >= end:
            break
        try:
            with bench_of(Cell(defect, power, 0)) as bench:
                for cell in group:
                    if end is not None and clock() >= end:
                        break
                    results.add(result := bench.run(cell))
                    done += 1
                    say(f"{done}/{len(todo)} {_told(result)}")
        except PlatformError as error:
            say(f"{defect} {power}: the platform did not start or broke down: {error}")
    left = len(results.missing(cells))
    if left:
        say(f"{left} of {len(cells)} runs were not made; the same command goes on with them")
    return left == 0


def silent_checks(wanted: Sequence[str], checks: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Why checks of a verdict could not find anything: there is no such check, or it examined nothing."""
    examined = {check["id"]: check["examined"] for check in checks}
    nothing = [f"{id} examined nothing" for id in wanted if examined.get(id) == 0]
    return tuple([f"there is no {id} yet" for id in wanted if id not in examined] + nothing)


def _told(result: Result) -> str:
    outcome = {0: "PASS", 1: "FAIL", 2: "could not run", 3: "UNKNOWN", 4: "threshold missed"}[result.exit_code]
    checks = f" ({', '.join(result.failed)})" if result.failed else ""
    name = f"{result.defect} {result.power}".strip()
    truth = "" if result.cell.healthy else f", fired {result.fired}, manifest {result.manifest}"
    return f"{name} seed {result.seed}: {outcome}{checks}{truth}, {result.seconds} s"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        data: Mapping[str, Any] = json.loads(path.read_text())
    except OSError as error:
        raise PlatformError(f"A run left no {path.name}: {error}.") from error
    return data
