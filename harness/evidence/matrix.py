"""The matrix: one run of the defect's story, some seconds long, for each defect and seed, on the real platform."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from earwitness.harness.errors import Exit, PlatformError
from earwitness.harness.evidence.cells import Cell, Result, Results
from earwitness.harness.evidence.defect import Defect
from earwitness.harness.evidence.ground_truth import GroundTruth
from earwitness.harness.evidence.stages import file_of, stage_of
from earwitness.harness.platform.children import dies_with_parent, module_environment
from earwitness.harness.platform.launch import Platform, launch

SPAWN_RATE = 50
CELL_S = 240.0

Say = Callable[[str], None]


class Bench(Protocol):
    """Protocol of a context manager that starts one platform and runs cells on it."""

    def __enter__(self) -> Bench:
        """Start the platform."""

    def __exit__(self, *_: object) -> None:
        """Stop the platform."""

    def run(self, cell: Cell) -> Result:
        """Run a cell and return its result."""

    def interrupt(self) -> None:
        """End the run in progress. Called from another thread."""


class RealBench:
    """Platform with one defect or none, which runs cells of one story, with its own folder in the work directory."""

    def __init__(self, work: Path, story: str, defect: Defect | None, probability: float, commit: str) -> None:
        """Choose the folders for the cells; `__enter__` starts the platform.

        `defect` None: no defect; `probability`: of a firing at each opportunity; `commit`: stated in the results.
        """
        self._work, self._defect, self._probability, self._commit = work.resolve(), defect, probability, commit
        self._story, self._stage = file_of(story), stage_of(story)
        name = f"{defect.id}-{probability:g}" if defect else f"healthy-{story}"
        self._logs = self._work / "logs" / name
        self._runs = self._work / "runs" / name
        self._running: subprocess.Popen[bytes] | None = None
        self._order = defect.order if defect else ""
        self._platform: Platform | None = None

    def __enter__(self) -> RealBench:
        """Start the platform with its defect, and with the settings that the story needs; return self."""
        shutil.rmtree(self._logs, ignore_errors=True)
        defect = self._defect
        defects = {defect.service: [f"{defect.order}:{self._probability:g}"]} if defect else {}
        self._platform = launch(
            defects=defects, settings=self._stage.settings, links=self._stage.links, log_dir=self._logs,
            progress=lambda _: None,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the platform."""
        if self._platform is not None:
            self._platform.stop()

    def run(self, cell: Cell) -> Result:
        """Run a cell by starting Locust; return its result.

        The run's directory is removed if the outcome is the expected one. Raises PlatformError if the run left no
        verdict although its exit code says that it was judged.
        """
        truth = GroundTruth(self._logs)
        truth.mark()
        begin = time.time()
        code = self._locust(cell)
        run_dir = (self._runs / "latest").resolve()
        verdict = _read(run_dir / "verdict.json") if code != Exit.CANNOT_RUN else {}
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
        """Run Locust and return its exit code; Exit.CANNOT_RUN also if the run did not end within CELL_S s."""
        assert self._platform is not None
        stage = self._stage
        command = [sys.executable, "-m", "locust", "-f", str(self._story), "--headless", "-u", str(stage.users)]
        command += ["-r", str(SPAWN_RATE), "-t", f"{stage.seconds}s", "--seed", str(cell.seed)]
        command += ["--runs", str(self._runs), "--drain-s", "20"]
        environment = {**os.environ, **module_environment()}
        environment["EARWITNESS_PLATFORM"] = self._platform.control.address
        log = self._work / "logs" / f"run-{cell.defect}-{cell.power}-{cell.seed}.txt"
        with open(log, "wb") as output:
            # The run ends with this thread, which waits for it: a killed matrix leaves no load behind.
            self._running = run = subprocess.Popen(
                command, cwd=self._work, env=environment, stdout=output, stderr=output, preexec_fn=dies_with_parent()
            )
            try:
                code = run.wait(CELL_S)
            except subprocess.TimeoutExpired:
                return Exit.CANNOT_RUN
            finally:
                self.interrupt()
                run.wait()
        # A run that ended otherwise (a signal, a usage error of Locust) was not judged.
        return code if code in (0, 1, 3, 4) else Exit.CANNOT_RUN

    def interrupt(self) -> None:
        """Send SIGKILL to the run in progress."""
        if self._running is not None:
            self._running.kill()


class _Making:
    """Runs in progress, on several threads: each thread runs a group of cells that share a platform."""

    def __init__(self, total: int, results: Results, bench_of: Callable[[Cell], Bench], say: Say) -> None:
        self.over = threading.Event()
        self._results, self._bench_of, self._say, self._total = results, bench_of, say, total
        self._done = 0
        self._lock = threading.Lock()
        self._benches: set[Bench] = set()

    def group(self, cells: Sequence[Cell], late: Callable[[], bool]) -> None:
        defect, power = cells[0].defect, cells[0].power
        if late() or self.over.is_set():
            return
        try:
            with self._bench_of(Cell(defect, power, 0)) as bench:
                with self._lock:
                    self._benches.add(bench)
                for cell in cells:
                    if late() or self.over.is_set():
                        break
                    self._take(bench.run(cell))
                with self._lock:
                    self._benches.discard(bench)
        except PlatformError as error:
            self._say(f"{defect} {power}: the platform did not start or broke down: {error}")

    def _take(self, result: Result) -> None:
        with self._lock:
            if self.over.is_set():
                return  # the run was killed
            self._results.add(result)
            self._done += 1
            self._say(f"{self._done}/{self._total} {_told(result)}")

    def interrupt(self) -> None:
        self.over.set()
        with self._lock:
            for bench in self._benches:
                bench.interrupt()


def run_matrix(
    cells: Sequence[Cell],
    results: Results,
    bench_of: Callable[[Cell], Bench],
    *,
    jobs: int = 1,
    budget_s: float | None = None,
    say: Say,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Make all runs that have no verdict yet; return whether every cell has a verdict then.

    `bench_of` makes the bench of a cell; `jobs` runs are made at a time, each on a platform of its own. After
    `budget_s` seconds (None: no limit) no further run is begun.
    """
    todo = results.missing(cells)
    end = None if budget_s is None else clock() + budget_s
    if len(todo) < len(cells):
        say(f"{len(cells) - len(todo)} of {len(cells)} runs were made before")
    making = _Making(len(todo), results, bench_of, say)
    groups = [list(group) for _, group in groupby(todo, key=lambda cell: (cell.defect, cell.power))]
    with ThreadPoolExecutor(jobs) as pool:
        try:
            waiting = [pool.submit(making.group, group, lambda: end is not None and clock() >= end) for group in groups]
            for one in as_completed(waiting):
                one.result()
        except BaseException:
            making.interrupt()
            raise
    left = len(results.missing(cells))
    if left:
        say(f"{left} of {len(cells)} runs were not made; the same command continues with them")
    return left == 0


def silent_checks(wanted: Sequence[str], checks: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return reasons why checks could not find anything: they do not exist, or they examined nothing.

    `wanted`: ids of the checks; `checks`: rows of the verdict.
    """
    examined = {check["id"]: check["examined"] for check in checks}
    nothing = [f"{id} examined nothing" for id in wanted if examined.get(id) == 0]
    return tuple([f"there is no {id} yet" for id in wanted if id not in examined] + nothing)


def _told(result: Result) -> str:
    outcome = Exit(result.exit_code).name.lower().replace("_", " ")
    outcome = outcome.upper() if result.exit_code in (Exit.PASS, Exit.FAIL, Exit.UNKNOWN) else outcome
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
