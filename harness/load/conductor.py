"""The conductor of runs: platform or target, run directory, the end in order, the verdict, the exit code."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from gevent import subprocess
from gevent.event import Event
from locust.runners import MasterRunner

from harness.errors import EXIT_CANNOT_RUN, EXIT_PASS, EXIT_UNKNOWN
from harness.load.arguments import read_faults, read_thresholds, seed_of
from harness.load.judge import JUDGE_DEADLINE_S, JudgeBeside
from harness.load.metrics import Metrics
from harness.load.sampler import Sampler
from harness.load.shapes import shape_of
from harness.load.under_test import UnderTest
from harness.platform.faults.orders import links_needed
from harness.record.rundir import RunDirectory
from harness.target.faulting import JOURNALS, Faults
from harness.target.pace import Arrivals
from harness.target.plan import Plan

if TYPE_CHECKING:
    from harness.load.life import Life
    from harness.load.part import Part

COLLECT_DEADLINE_S = 120.0
RANK = {EXIT_CANNOT_RUN: 4, 1: 3, EXIT_UNKNOWN: 2, 4: 1, EXIT_PASS: 0}


class Conductor:
    """One for the life of the process; `begin` and `finish` once a run. The platform stays up between runs."""

    def __init__(self, life: Life, options: Any) -> None:
        self.life = life
        self.options = options
        self.seed_given = seed_of(options)
        self.thresholds = read_thresholds(options, life.story)
        self.shape = shape_of(options)
        if self.shape is not None:
            life.environment.shape_class = self.shape
        Arrivals.parse(options.arrivals)  # its faults are told before anything is begun
        self.worst: int | None = None
        self.run: RunDirectory | None = None
        self.runs: list[Path] = []
        self.metrics = Metrics(self)
        self._sampler: Sampler | None = None
        self._replies: dict[str, dict[str, Any]] = {}
        self._expected: set[str] = set()
        self._here: set[str] = set()
        self._reply_came = Event()
        self._finishing: Event | None = None
        self._told: list[str] = []
        RunDirectory.check_root(Path(options.runs))
        self._plan = read_faults(options, life.story)
        self._faults: Faults | None = None
        if options.metrics_port:
            self.metrics.serve(options.metrics_port)
        with ExitStack() as started:
            self._judge = JudgeBeside()  # loads its checks while the platform starts
            started.callback(self._judge.close)
            self.under_test = UnderTest.from_options(options, life.story.platform, links_needed(self._plan))
            started.callback(self.under_test.close)
            self.under_test.faults(self._plan)  # said now, before anything is begun, if one cannot be had
            self._judge.await_warm()
            started.pop_all()

    # -- begin ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make the run directory and give every load process its part. Called in Locust's `test_start`."""
        runner, story = self.life.runner, self.life.story
        seed = self.seed_given if self.seed_given is not None else secrets.randbelow(1 << 32)
        workers = self._workers()
        wanted = self._users()
        clients = -(-wanted // len(workers)) * len(workers)
        self.under_test.allow(wanted)
        plan = self.under_test.plan(
            seed=seed, tag=secrets.token_hex(4), clients=clients, sizes=story.room_sizes, devices=story.devices
        )
        self.run = run = RunDirectory.create(Path(self.options.runs), story.name, seed)
        self._finishing = None
        assignment = {
            "run_dir": str(run.path.resolve()),
            "plan": plan.to_dict(),
            "target": self.under_test.description,
            "arrivals": self.options.arrivals,
            "secrets": self.under_test.secrets(story.judged_by),
            "keep_frames": bool(self.options.keep_frames),
            "indexes": {worker: index for index, worker in enumerate(workers)},
        }
        self._write_down(run, plan, workers, assignment)
        self.runs.append(run.path.resolve())
        if self._plan:
            self._faults = Faults(run, self._plan, self.under_test.faults(self._plan), self.under_test.control)
        if self._judge.used:  # the run before was not judged to its end
            self._judge.close()
            self._judge = JudgeBeside()
        self._judge.follow(run.path)
        self._sampler = Sampler(run.path / "tables" / "services.jsonl", self.under_test)
        print(f"earwitness: run {run.path} · seed {seed} · {wanted} users", flush=True)
        self._expected, self._here = set(workers), set()
        if isinstance(runner, MasterRunner):
            for worker in workers:
                runner.send_message("earwitness-begin", assignment, worker)
        else:
            self.life.begin_part(assignment, 0, 1, self._alone_and_here)

    def _users(self) -> int:
        """How many there will be at most."""
        return int(self.life.runner.target_user_count) if self.shape is None else self.shape.peak

    def _workers(self) -> list[str]:
        runner = self.life.runner
        if not isinstance(runner, MasterRunner):
            return ["local"]
        clients = runner.clients
        return [node.id for node in clients.ready + clients.running + clients.spawning]

    def _write_down(self, run: RunDirectory, plan: Plan, workers: list[str], assignment: Mapping[str, Any]) -> None:
        story = self.life.story
        run.update(
            seed=plan.seed,
            tag=plan.tag,
            story=story.name,
            judged_by=list(story.judged_by),
            thresholds=self.thresholds,
            process=os.getpid(),
            process_started=psutil.Process().create_time(),
            planned={"users": self._users()}
            | {name: getattr(self.options, name, None) for name in ("spawn_rate", "shape", "arrivals")},
            plan=plan.to_dict(),
            target=self.under_test.description,
            contract=self.under_test.target.contract.to_dict(),
            options={"keep_frames": assignment["keep_frames"]},
            warnings=self.under_test.warnings,
            journals=[f"load-{index}" for index in range(len(workers))]
            + (list(JOURNALS) if self._plan else [])
            + ["collector"],
            planned_faults=[planned.text for planned in self._plan],
            state="running",
        )
        run.write_roster(plan.roster(), plan.origin)
        # A run that records nothing still leaves its bursts table empty, not absent.
        (run.path / "tables").mkdir(exist_ok=True)

    def _alone_and_here(self, part: Part) -> None:
        part.everyone_here.set()
        if self._faults is not None:
            self._faults.begin()

    def part_is_here(self, worker: str) -> None:
        """A worker's users have all started; when all workers said so, everybody is told."""
        self._here.add(worker)
        if self._here >= self._expected:
            for each in self._expected:
                self.life.runner.send_message("earwitness-everyone", {}, each)
            if self._faults is not None:
                self._faults.begin()

    # -- the end ----------------------------------------------------------------------------------------------------

    def heard_back(self, step: str, worker: str, data: Mapping[str, Any]) -> None:
        self._replies.setdefault(step, {})[worker] = data
        self._reply_came.set()

    def finish(self) -> None:
        """Drain, collect, judge; once a run, whoever calls first does it and others wait for it."""
        if self.run is None:
            return
        if self._finishing is not None:
            self._finishing.wait(COLLECT_DEADLINE_S + JUDGE_DEADLINE_S)
            return
        self._finishing = Event()
        try:
            self._finish(self.run)
        finally:
            self.run = None
            self._finishing.set()

    def _finish(self, run: RunDirectory) -> None:
        deadline_s = float(self.options.drain_s)
        if self._faults is not None:
            run.update(faults_without_effect=self._faults.end())
            self._faults = None
        print("earwitness: waiting for what is still on its way ...", flush=True)
        if isinstance(self.life.runner, MasterRunner):
            self._drain_workers(deadline_s)
        elif self.life.part is not None:
            self.life.part.settle(self.life.part.drain(deadline_s), deadline_s)
            self.life.end_part()
        if self._sampler is not None:
            self._sampler.close()
        self.under_test.save_logs(run.path / "services")
        run.update(state="drained")
        print("earwitness: reading the final state ...", flush=True)
        self._collect(run)
        run.update(state="collected")
        self._note(self._verdict(run))

    def _drain_workers(self, deadline_s: float) -> None:
        acked = self._ask("earwitness-drain", "earwitness-acked", {"deadline_s": deadline_s}, deadline_s + 5)
        heads: dict[str, int] = {}
        for reply in acked.values():
            for label, seq in reply["heads"].items():
                heads[label] = max(heads.get(label, -1), seq)
        self._ask(
            "earwitness-settle", "earwitness-drained", {"heads": heads, "deadline_s": deadline_s}, deadline_s + 20
        )

    def _ask(self, question: str, answer: str, data: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send to every load process of the run and wait for their answers; a worker that is gone never answers,
        its torn journal says so to the judge."""
        self._replies[answer] = {}
        runner = self.life.runner
        for worker in self._expected & set(runner.clients):
            runner.send_message(question, data, worker)
        end = time.monotonic() + timeout_s
        while self._missing(answer) and time.monotonic() < end:
            self._reply_came.clear()
            self._reply_came.wait(0.2)
        for worker in self._missing(answer):
            print(f"earwitness: load process {worker} did not answer to {question}", file=sys.stderr)
        return self._replies[answer]

    def _missing(self, answer: str) -> set[str]:
        missing_nodes = {node.id for node in self.life.runner.clients.missing}
        return (self._expected & set(self.life.runner.clients)) - set(self._replies[answer]) - missing_nodes

    def _collect(self, run: RunDirectory) -> None:
        command = [sys.executable, "-m", "harness.target.collect", str(run.path)]
        try:
            environment = {**os.environ, **self.under_test.environment()}
            subprocess.run(command, timeout=COLLECT_DEADLINE_S, check=False, start_new_session=True, env=environment)
        except subprocess.TimeoutExpired:
            print("earwitness: the final state could not be read in time", file=sys.stderr)

    def _verdict(self, run: RunDirectory) -> int:
        code = self._judge.verdict(run.path)
        self._told.append((run.path / "verdict.txt").read_text())
        if not self.options.headless:
            self._judge = JudgeBeside()  # for the next run
            self.tell()
        return code

    def tell(self) -> None:
        """Print the verdicts that were not printed yet: without a web UI after Locust's own tables, as last words."""
        for text in self._told:
            print(text, flush=True)
        self._told.clear()

    def _note(self, code: int) -> None:
        if self.worst is None or RANK.get(code, 4) > RANK.get(self.worst, 4):
            self.worst = code

    def exit_code(self) -> int:
        """The worst run's. Without any run: a web UI that was only opened is well, a headless process could not run."""
        if self.worst is None:
            return EXIT_CANNOT_RUN if self.options.headless else EXIT_PASS
        return self.worst

    def close(self) -> None:
        """Stop what we started."""
        self._judge.close()
        self.metrics.close()
        self.under_test.close()
