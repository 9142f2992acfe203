"""Coordinator of runs: platform or target, run directory, the steps at a run's end, verdict, exit code."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from gevent import subprocess
from gevent.event import Event
from locust.runners import MasterRunner

from earwitness.harness.errors import Exit, worse
from earwitness.harness.load.contradictions import refuse_unknown_checks, refuse_unknown_opportunities
from earwitness.harness.load.metrics import Metrics
from earwitness.harness.load.run_settings import RunOptions
from earwitness.harness.load.screen import RunScreen
from earwitness.harness.load.shapes import Foreseen, foreseen_of
from earwitness.harness.load.statistics import Violations
from earwitness.harness.load.users import ChatUser
from earwitness.harness.load.worker import Assignment
from earwitness.harness.native import described
from earwitness.harness.planning.plan import Plan
from earwitness.harness.platform.children import dies_with_parent
from earwitness.harness.platform.faults import links_needed
from earwitness.harness.progress import say, show, show_verdict
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.machine import machine, versions
from earwitness.harness.record.rundir import RunDirectory, read_json
from earwitness.harness.record.store import open_store
from earwitness.harness.report.github import tell_github
from earwitness.harness.report.live_file import read_reading
from earwitness.harness.report.thresholds import parse_all
from earwitness.harness.run.faults import JOURNALS, Faults
from earwitness.harness.run.hosts import Hosts
from earwitness.harness.run.judge import JUDGE_DEADLINE_S, JudgeBeside, own_asked
from earwitness.harness.run.messages import ACKED, BEGIN, DRAIN, DRAINED, EVERYONE, KEPT, MET, SETTLE, TOLD
from earwitness.harness.run.metrics import RunMetrics
from earwitness.harness.run.sampler import Sampler
from earwitness.harness.run.signals import Interruption
from earwitness.harness.run.stored import Fetching
from earwitness.harness.run.system import UnderTest

if TYPE_CHECKING:
    from earwitness.harness.load.hooks import Life
    from earwitness.harness.load.worker import Part

COLLECT_DEADLINE_S = 120.0
SHIPPING_LINE_S = 2.0
SHIPPING_S = 10.0
"""Seconds without a full piece of records from other hosts after which the end of a run no longer waits for more."""
EARLY_S = 1.0
"""Seconds by which a run may end before its planned time and still count as complete."""
WEB_RESERVE = 100
"""Smallest number of users that the web UI may add to a run; a run that begins with more users may be doubled."""


class Conductor:
    """Coordinator of all runs of this process. The platform stays up between runs.

    Call `begin` and `finish` once for each run.
    """

    def __init__(self, life: Life, options: Namespace) -> None:
        """Start judge and platform for the story of `life` with these options.

        `life`: Locust hooks of this process. Raises EarwitnessError if a run is impossible.
        """
        self.life = life
        self.options = options
        self.run_options = RunOptions(life.environment, life.story)
        self._settings = self.run_options.own
        refuse_unknown_opportunities(life.story)
        self.interruption: Interruption | None = None
        self._begun = 0.0
        self.worst: int | None = None
        self.run: RunDirectory | None = None
        self.runs: list[Path] = []
        self.metrics = Metrics(life)
        self._sampler: Sampler | None = None
        self._replies: dict[str, dict[str, Any]] = {}
        self._expected: set[str] = set()
        self._here: dict[str, int] = {}
        self._crowd_is_here, self._planned = False, 0
        self._reply_came = Event()
        self._finishing: Event | None = None
        self._screen: RunScreen | None = None
        self._violations = Violations(life.environment.stats)
        self.stage = ""
        RunDirectory.check_root(Path(options.runs))
        self._faults: Faults | None = None
        self._hosts: Hosts | None = None
        self._store = open_store(options.store) if options.store else None
        self._fetching: Fetching | None = None
        if options.metrics_port:
            self.metrics.serve(options.metrics_port)
        self._own = own_asked(life.story.name, life.story.checks, options.check)
        with ExitStack() as started:
            self._judge = JudgeBeside(self._own)  # loads its checks while the platform starts
            started.callback(self._judge.close)
            self._own_stated = self._judge.await_own()
            self.under_test = UnderTest.from_options(options, life.story.platform, links_needed(self._settings.faults))
            started.callback(self.under_test.close)
            self.under_test.faults(self._settings.faults)  # refuses an impossible fault before anything has begun
            refuse_unknown_checks(life.story, self._judge.await_warm())
            started.pop_all()

    # -- begin ------------------------------------------------------------------------------------------------------

    def prepare(self, form: Mapping[str, str]) -> bool:
        """Check a form of the web UI. If no run is in progress, store its values for the next run and return True.

        Returns False during a run. Raises EarwitnessError for a value that is not possible, or that would change the
        run in progress.
        """
        if self.run is not None:
            self.run_options.refuse_changes(form)
            return False
        settings = self.run_options.of_form(form)
        self.under_test.faults(settings.faults)
        self.run_options.await_form(settings)
        return True

    def begin(self) -> None:
        """Make the run directory and send every load process its assignment. Called on Locust's event `test_start`.

        Raises EarwitnessError if the run is impossible.
        """
        runner, story = self.life.runner, self.life.story
        self._begun = time.monotonic()
        self._settings = settings = self.run_options.next()
        seed = settings.seed if settings.seed is not None else secrets.randbelow(1 << 32)
        workers = self._workers()
        foreseen = self._foreseen()
        wanted = foreseen.users
        clients = -(-wanted // len(workers)) * len(workers)
        self.under_test.allow(wanted)
        plan = self.under_test.plan(
            seed=seed, tag=secrets.token_hex(4), clients=clients, sizes=story.room_sizes, devices=story.devices,
            reserve=0 if self.options.headless else max(wanted, WEB_RESERVE), hosts=self._meet(workers),
        )  # fmt: skip
        self.stage = ""
        self.run = run = RunDirectory.create(Path(self.options.runs), story.name, seed)
        self._finishing = None
        assignment = self._assignment(run, plan, workers, foreseen)
        self._write_down(run, plan, workers, assignment, foreseen)
        self._take_records(run)
        self.runs.append(run.path.resolve())
        if settings.faults:
            faults = self.under_test.faults(settings.faults)
            self._faults = Faults(run, settings.faults, faults, self.under_test.control)
        if self._judge.used:  # the run before was not judged to its end
            self._judge.close()
            self._judge = JudgeBeside(self._own)
        self._judge.follow(run.path)
        self._sampler = Sampler(run.path / "tables" / "services.jsonl", self.under_test)
        self.metrics.begin(self._run_metrics(run, plan, foreseen))
        show(f"earwitness: run {run.path} · seed {seed} · {wanted} users")
        self._violations = Violations(self.life.environment.stats)
        self._screen = RunScreen(
            run.path, foreseen.seconds, lambda: int(runner.user_count), lines=self.options.headless,
            on_live=lambda live: self._violations.count(live["checks"]),
            on_broken=self._stop_early if self.options.stop_on_fail else None,
        )  # fmt: skip
        self._expected, self._here, self._crowd_is_here = set(workers), {}, False
        self._planned = 0 if foreseen.grows else wanted
        if isinstance(runner, MasterRunner):
            for worker in workers:
                runner.send_message(BEGIN, dict(assignment), worker)
        else:
            self.life.begin_part(assignment, 0, 1, self._alone_and_here)

    def _meet(self, workers: Sequence[str]) -> tuple[int, ...]:
        """Ask the workers for their hosts and clocks; return the number of each worker's host. () without workers."""
        runner = self.life.runner
        if not isinstance(runner, MasterRunner):
            return ()
        self._hosts = Hosts({worker: index for index, worker in enumerate(workers)}, runner.send_message)
        return self._hosts.meet(Path(self.options.runs))

    def _take_records(self, run: RunDirectory) -> None:
        """Begin to take over the records of workers on other hosts, from the workers or from the object store."""
        if self._hosts is not None:
            self._hosts.begin(run)
        if self._store is not None:
            self._fetching = Fetching(run, self._store, self._hosts.parts if self._hosts is not None else {})
            if self._hosts is not None:
                self._hosts.stated = self._fetching.put_description

    def heard_of_host(self, what: str, worker: str, data: Mapping[str, Any]) -> None:
        """Process a message of the type `what`: MET or TOLD (see `Hosts`), or PIECE, whose records are written.

        `worker`: node id of the sender; `data`: content of the message. No-op between runs.
        """
        hosts = self._hosts
        if hosts is None:
            return
        if what == MET:
            hosts.met(worker, data)
        elif what == TOLD:
            hosts.told(worker, data)
        elif hosts.intake is not None and (answer := hosts.intake.take(worker, data)) is not None:
            self.life.runner.send_message(KEPT, answer, worker)

    def _run_metrics(self, run: RunDirectory, plan: Plan, foreseen: Foreseen) -> RunMetrics:
        return RunMetrics(
            run.path.resolve(),
            story=self.life.story.name,
            seed=plan.seed,
            target=str(self.under_test.description["kind"]),
            users=foreseen.users,
            room_sizes=sorted({len(members) for members in plan.roster().conversations}),
            thresholds=parse_all("run.json", self._settings.thresholds),
            faults={} if self._faults is None else self._faults.counts,
        )

    def _assignment(self, run: RunDirectory, plan: Plan, workers: Sequence[str], foreseen: Foreseen) -> Assignment:
        """Return the assignment for all load processes; each process takes its share from it."""
        return {
            "run_dir": str(run.path.resolve()),
            "plan": plan.to_dict(),
            "target": self.under_test.description,
            "arrivals": self._settings.values.arrivals,
            "grows": foreseen.grows,
            "secrets": self.under_test.secrets(self.life.story.judged_by),
            "keep_frames": self._settings.keep_frames,
            "store": self.options.store,
            "indexes": {worker: index for index, worker in enumerate(workers)},
        }

    def _foreseen(self) -> Foreseen:
        """Return the highest number of users and the duration of the run.

        Raises SettingsError for a shape that cannot be evaluated in advance.
        """
        settings, shape = self._settings, self.life.environment.shape_class
        if settings.shape is not None:
            return Foreseen(settings.shape.peak, settings.seconds, grows=True)
        if shape is not None:
            return foreseen_of(shape)
        return Foreseen(int(self.life.runner.target_user_count), settings.seconds)

    def _workers(self) -> list[str]:
        runner = self.life.runner
        if not isinstance(runner, MasterRunner):
            return ["local"]
        clients = runner.clients
        return [node.id for node in clients.ready + clients.running + clients.spawning]

    def _write_down(
        self, run: RunDirectory, plan: Plan, workers: list[str], assignment: Assignment, foreseen: Foreseen
    ) -> None:
        story, settings = self.life.story, self._settings
        run.update(
            seed=plan.seed,
            tag=plan.tag,
            story=story.name,
            judged_by=list(story.judged_by),
            opportunities=list(story.opportunities),
            own_checks=self._own_stated,
            thresholds=settings.thresholds,
            machine=machine(),
            versions=versions(story.file),
            native=described(),
            process=os.getpid(),
            process_started=psutil.Process().create_time(),
            planned={"users": foreseen.users, "seconds": foreseen.seconds}
            | {name: getattr(settings.values, name) for name in ("spawn_rate", "shape", "arrivals")},
            plan=plan.to_dict(),
            target=self.under_test.description,
            contract=self.under_test.target.contract.to_dict(),
            options={"keep_frames": assignment["keep_frames"], **settings.stated},
            warnings=self.under_test.warnings,
            journals=[f"load-{index}" for index in range(len(workers))]
            + (list(JOURNALS) if settings.faults else [])
            + ["collector"],
            planned_faults=[planned.text for planned in settings.faults],
            state="running",
        )
        run.write_roster(plan.roster(), plan.origin)
        # A run that records nothing still leaves its bursts table empty, not absent.
        (run.path / "tables").mkdir(exist_ok=True)

    def _alone_and_here(self, part: Part) -> None:
        self._here["local"] = part.users_started
        if self._all_are_here():
            part.all_here(part.users_started)

    def part_is_here(self, worker: str, users: int) -> None:
        """Note that all users of a worker have started, `users` of them by now.

        When all workers have reported this, inform all of them, and begin the faults.
        """
        self._here[worker] = users
        if self._all_are_here():
            for each in self._expected:
                self.life.runner.send_message(EVERYONE, {"users": sum(self._here.values())}, each)

    def _all_are_here(self) -> bool:
        """Return True once in a run, when all users of all load processes have started; then begin the faults too.

        If workers report late, Locust states that all users are spawned although some are not. So the users are
        counted, unless a shape changes their number, or users of other classes are among them.
        """
        environment, runner = self.life.environment, self.life.runner
        alone = all(issubclass(kind, ChatUser) for kind in environment.user_classes)
        wanted = min(int(runner.target_user_count), self._planned) if alone else 0
        if self._crowd_is_here or not self._here.keys() >= self._expected or sum(self._here.values()) < wanted:
            return False
        self._crowd_is_here = True
        if self._faults is not None:
            self._faults.begin()
        return True

    # -- the end ----------------------------------------------------------------------------------------------------

    def heard_back(self, step: str, worker: str, data: Mapping[str, Any]) -> None:
        """Store a worker's reply to a step of the end. `step`: type of the message; `data`: its content."""
        self._replies.setdefault(step, {})[worker] = data
        self._reply_came.set()

    def part_is_drained(self, step: str, worker: str, figures: Mapping[str, Any]) -> None:
        """Store a worker's last reply, with the last `figures` of its users (`metrics.part_figures`).

        `step`: type of the message.
        """
        if figures:
            self.metrics.take_part(worker, figures)
        self.heard_back(step, worker, figures)

    def finish(self) -> None:
        """Drain, collect and judge the run; no-op without a run. Further calls wait until the first one is done."""
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
        if self._screen is not None:
            self._screen.close()
        self._note_interruption(run)
        if self._faults is not None:
            run.update(faults_without_effect=self._faults.end())
            self._faults = None
        self._enter("drain", "waiting for answers and deliveries in flight")
        if isinstance(self.life.runner, MasterRunner):
            self._drain_workers(deadline_s)
            if self._hosts is not None:
                self._hosts.close(set(self.life.runner.clients) - self._gone())
                self._hosts = None  # what comes from now on is too late
            if self._fetching is not None:
                self._fetching.close()
        elif self.life.part is not None:
            self.life.see_others()
            self.life.part.settle(self.life.part.drain(deadline_s), deadline_s)
            self.life.end_part()
            self.life.ship_rest()
        if self._sampler is not None:
            self._sampler.close()
        self.under_test.save_logs(run.path / "services")
        run.update(state="drained")
        self._enter("collect", "reading the final state")
        self._collect(run)
        conclude(run, state="collected", **self._story_errors())
        if self._fetching is not None:
            self._fetching.conclude()
            self._fetching = None
        self._enter("judge", "judging")
        self._note(self._verdict(run))
        self.metrics.enter("finished")

    def _enter(self, stage: str, words: str) -> None:
        """Print `words` for the step of the run's end that begins; pass it on to the live page and the metrics.

        `stage`: name of the step in the metrics.
        """
        self.stage = words
        self.metrics.enter(stage)
        show(f"earwitness: {words} ...")

    def progress(self) -> dict[str, Any]:
        """Return how far the run in progress is, for the live page; {} between runs.

        Keys: `stage`: step of the end in words, "" during the load; `seconds` since the beginning; `planned`: planned
        seconds or None; `faults`: planned faults with `name`, `start_s` and `end_s` since all users were connected;
        `done` and `of`: rooms whose final state was read, and rooms to read.
        """
        if self.run is None:
            return {}
        passed = time.monotonic() - self._begun
        planned = self.run.run["planned"]["seconds"]
        faults = [
            {"name": fault.name, "start_s": fault.start_s, "end_s": fault.start_s + (fault.duration_s or 0.0)}
            for fault in self._settings.faults
        ]
        return {
            "stage": self.stage,
            "seconds": round(passed, 1),
            "planned": planned,
            "faults": faults,
            **read_reading(self.run.path),
        }

    def _stop_early(self) -> None:
        """End the run after the first broken promise (--stop-on-fail); no-op if the run is ending."""
        if self.run is None or self._finishing is not None:
            return
        sentence = "stopped at the first broken promise (--stop-on-fail)"
        say(sentence)
        self.run.update(warnings=[*self.under_test.warnings, f"{sentence}: later ones were not looked for."])
        runner = self.life.runner
        runner.quit() if self.options.headless else runner.stop()

    @property
    def interrupted_by(self) -> signal.Signals | None:
        """Return the first signal that interrupted this process, or None."""
        return None if self.interruption is None else self.interruption.first

    def _note_interruption(self, run: RunDirectory) -> None:
        """Store in `run.json` that the run ends before its planned time; the verdict reports that (H4)."""
        planned, passed = run.run["planned"]["seconds"], time.monotonic() - self._begun
        if planned is None or passed + EARLY_S >= planned:
            return
        number = self.interrupted_by
        by = {} if number is None else {"by": number.name}  # a run may also be stopped by the web UI
        run.update(interrupted={"after_s": round(passed, 3), "of_s": planned, **by})
        if number is not None:
            self._note(128 + number)

    def _story_errors(self) -> dict[str, object]:
        """Return the errors of the story's listeners in a master.

        Returns {} in a process with users, which writes these errors into its journal.
        """
        if not isinstance(self.life.runner, MasterRunner):
            return {}
        return {"story_errors": self.life.soundness.summary()}

    def _drain_workers(self, deadline_s: float) -> None:
        acked = self._ask(DRAIN, ACKED, {"deadline_s": deadline_s}, deadline_s + 5)
        heads: dict[str, int] = {}
        for reply in acked.values():
            for label, seq in reply["heads"].items():
                heads[label] = max(heads.get(label, -1), seq)
        self._ask(SETTLE, DRAINED, {"heads": heads, "deadline_s": deadline_s}, deadline_s + 20)

    def _ask(self, question: str, answer: str, data: Mapping[str, object], timeout_s: float) -> dict[str, Any]:
        """Send a message to every load process of the run, and return the answers by worker.

        `question`, `answer`: types of the messages. Waits for at most `timeout_s` seconds, or longer while records of
        other hosts still come. A worker that is gone does not answer; the judge notices that by its torn journal.
        """
        self._replies[answer] = {}
        runner = self.life.runner
        for worker in self._expected & set(runner.clients):
            runner.send_message(question, data, worker)
        end, next_line = time.monotonic() + timeout_s, time.monotonic() + SHIPPING_LINE_S
        while self._missing(answer) and (now := time.monotonic()) < max(end, self._shipped_at() + SHIPPING_S):
            self._reply_came.clear()
            self._reply_came.wait(0.2)
            intake = None if self._hosts is None else self._hosts.intake
            if now >= next_line and intake is not None and intake.bytes:
                next_line = now + SHIPPING_LINE_S
                show(f"  {intake.bytes / 1e6:,.0f} MB of records came from other hosts")
        for worker in self._missing(answer):
            say(f"load process {worker} did not answer {question} in {timeout_s:.0f} s; its record may be incomplete")
        return self._replies[answer]

    def _shipped_at(self) -> float:
        """Return when another host last sent a full piece of records, as `Intake.latest` states it; 0.0: never."""
        intake = None if self._hosts is None else self._hosts.intake
        return 0.0 if intake is None else intake.latest

    def _gone(self) -> set[str]:
        return {node.id for node in self.life.runner.clients.missing}

    def _missing(self, answer: str) -> set[str]:
        return (self._expected & set(self.life.runner.clients)) - set(self._replies[answer]) - self._gone()

    def _collect(self, run: RunDirectory) -> None:
        command = [sys.executable, "-m", "earwitness.harness.run.collect", str(run.path)]
        try:
            environment = {**os.environ, **self.under_test.environment()}
            subprocess.run(
                command, timeout=COLLECT_DEADLINE_S, check=False, start_new_session=True, env=environment,
                preexec_fn=dies_with_parent(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            say(f"the final state could not be read within {COLLECT_DEADLINE_S:.0f} s; unread rooms are not judged")

    def _verdict(self, run: RunDirectory) -> int:
        code = self._judge.verdict(run.path)
        if not self.options.headless:
            self._judge = JudgeBeside(self._own)  # for the next run
        # Before the platform is stopped, which takes some seconds.
        show_verdict((run.path / "verdict.txt").read_text())
        verdict = read_json(run.path / "verdict.json")
        self._violations.count(verdict["checks"])
        tell_github(verdict)
        return code

    def last_words(self) -> None:
        """Stop the server of the metrics, after a last scrape that shows the final verdict (`Metrics.close`)."""
        self.metrics.close(lambda: self.interrupted_by is not None)

    def _note(self, code: int) -> None:
        self.worst = code if self.worst is None else worse(code, self.worst)

    def exit_code(self) -> int:
        """Return the exit code of the worst run.

        Without a run: PASS if only the web UI was opened, CANNOT_RUN if headless.
        """
        if self.worst is None:
            return Exit.CANNOT_RUN if self.options.headless else Exit.PASS
        return self.worst

    def close(self) -> None:
        """Stop the judge and the platform, as far as this process started them."""
        self._judge.close()
        self.under_test.close()
