"""Locust hooks of a run, for each role that a process can have.

`Conductor`  coordinator, in the only process or the master: platform or target, run directory, end, verdict, exit code
`Part`       in every process with users (the only process, or a worker): journal and sessions

`harness.run.messages` lists what master and workers send each other over Locust's own connection.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import gevent
import locust
from locust.rpc.protocol import Message
from locust.runners import MasterRunner, WorkerRunner

from earwitness.harness.errors import EarwitnessError, Exit
from earwitness.harness.load.coordinator import Conductor
from earwitness.harness.load.declaration import Story
from earwitness.harness.load.master_watch import MasterWatch
from earwitness.harness.load.metrics import part_figures, report_part
from earwitness.harness.load.screen import tables_on_request
from earwitness.harness.load.shapes import limited_to
from earwitness.harness.load.soundness import Soundness
from earwitness.harness.load.users import ChatUser
from earwitness.harness.load.web import extend
from earwitness.harness.load.web_guard import guard
from earwitness.harness.load.worker import Assignment, Part
from earwitness.harness.progress import say, show_logs
from earwitness.harness.record.meta import clock_id
from earwitness.harness.record.store import open_store
from earwitness.harness.run.messages import (
    ACKED,
    BEGIN,
    DRAIN,
    DRAINED,
    EVERYONE,
    HERE,
    KEPT,
    MEET,
    MET,
    PIECE,
    SETTLE,
    TIME,
    TOLD,
)
from earwitness.harness.run.shipper import Shipper, own_directory, shares_disk
from earwitness.harness.run.signals import SIGNALS, Interruption
from earwitness.harness.run.stored import Depositing

events: Any = locust.events
MASTER_LEADS_S = 3.0
"""Seconds that a worker waits after a SIGTERM for its master to end the run."""
LEAVE_S = 10.0
"""Seconds that a worker which leaves before the run ends waits for answers to its users."""
ORPHANED_S = 0.5
"""Seconds that a worker whose master is dead waits for answers to its users.

The wait is short, because the platform has ended with the master, or no process will judge the run.
"""


class Life:
    """Locust hooks of one process, reachable as `environment.earwitness`.

    part  state of this process in the current run; None between runs, and in a process without users
    latest_part  state of the current or the last run; Locust may still start users after the end of a run
    """

    def __init__(self, environment: Any, told: Story) -> None:
        """Store Locust's `environment`, which has its runner already, and the story to run."""
        self.environment = environment
        self.story = told
        self.runner = environment.runner
        self.part: Part | None = None
        self.latest_part: Part | None = None
        self.soundness = Soundness()
        self.conductor: Conductor | None = None
        self.run_dir: Path | None = None
        self.shares_disk = True
        self.shipper: Shipper | Depositing | None = None

    # -- parts ------------------------------------------------------------------------------------------------------

    def begin_part(self, assignment: Assignment, index: int, count: int, on_all_here: Callable[[Part], None]) -> None:
        """Create the state of this process for a run that begins.

        `index` of `count`: number of this process among the load processes, from 0, and how many there are;
        `on_all_here`: called when all users of this process have started, and again if Locust starts more. If the run
        has an object store, the records are put there from now on.
        """
        self.run_dir = Path(assignment["run_dir"])
        self.part = self.latest_part = Part(self.environment, assignment, index, count, on_all_here, self.soundness)
        if assignment.get("store"):
            name = assignment.get("run", self.run_dir.name)
            self.shipper = Depositing(
                self.run_dir, self.part.journal, name, index, open_store(assignment["store"]), own="run" in assignment
            )

    def begin_own_part(
        self, assignment: Assignment, index: int, count: int, on_all_here: Callable[[Part], None]
    ) -> None:
        """Create the state of a worker that cannot write to the master's disk, and begin to send its records.

        The parameters are those of `begin_part`.
        """
        run_dir, name = Path(assignment["run_dir"]), f"load-{index}"
        own = own_directory(Path(self.environment.parsed_options.runs).resolve(), run_dir, name)
        self.begin_part({**assignment, "run_dir": str(own), "run": run_dir.name}, index, count, on_all_here)
        assert self.part is not None
        if self.shipper is None:
            self.shipper = Shipper(own, self.part.journal, run_dir.name, self._send_piece)

    def _send_piece(self, data: Mapping[str, object]) -> None:
        self.runner.send_message(PIECE, data)

    def ship_rest(self) -> None:
        """Send the remaining records to the master or the store, and wait until all of them are written there.

        Call it after `end_part`. The wait ends without success if no more answers come.
        """
        if self.shipper is not None:
            self.shipper.finish()
            self.shipper = None

    def table(self, name: str, row: Mapping[str, object]) -> None:
        """Append a row to a side table of the run, in one write, so that lines of several processes do not mix."""
        assert self.run_dir is not None
        with open(self.run_dir / "tables" / f"{name}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")

    def see_others(self) -> None:
        """Note how many users of other classes than ChatUser run now; only Locust's statistics cover their actions."""
        if self.part is not None:
            counts, classes = self.runner.user_classes_count, self.runner.user_classes_by_name
            others = (count for name, count in counts.items() if not issubclass(classes[name], ChatUser))
            self.part.attained.see_others(sum(others))

    def end_part(self) -> None:
        """Close the state of the current run; if another greenlet is closing it, wait for that."""
        self.part = None
        if self.latest_part is not None:
            self.latest_part.close()


def attach(environment: Any, told: Story) -> None:
    """Set up the hooks of this process as coordinator or worker, as a listener of Locust's event `init`.

    An EarwitnessError is printed in one sentence and ends the process with the error's exit code.
    """
    show_logs()
    life = Life(environment, told)
    environment.earwitness = life
    life.soundness.attach(environment)

    def on_spawned(**_: object) -> None:
        life.see_others()
        if life.part is not None:
            life.part.spawned()

    events.spawning_complete.add_listener(on_spawned)
    if isinstance(life.runner, WorkerRunner):
        _attach_worker(life)
    else:
        _attach_conductor(life)


def _attach_worker(life: Life) -> None:
    runner = life.runner

    def begin(environment: object, msg: Message, **_: object) -> None:
        indexes = msg.data["indexes"]
        begin_part = life.begin_part if life.shares_disk else life.begin_own_part
        begin_part(
            msg.data, indexes[runner.client_id], len(indexes),
            lambda part: runner.send_message(HERE, {"users": part.users_started}),
        )  # fmt: skip
        leave.install()

    def everyone(environment: object, msg: Message, **_: object) -> None:
        if life.part:
            life.part.all_here(msg.data["users"])

    def drain(environment: object, msg: Message, **_: object) -> None:
        life.see_others()
        heads = life.part.drain(msg.data["deadline_s"]) if life.part else {}
        runner.send_message(ACKED, {"heads": heads})

    def settle(environment: object, msg: Message, **_: object) -> None:
        if life.part:
            life.part.settle(msg.data["heads"], msg.data["deadline_s"])
        life.end_part()
        life.ship_rest()
        runner.send_message(DRAINED, part_figures(life.latest_part) if life.latest_part else {})

    _attach_to_other_host(life)
    runner.register_message(BEGIN, begin)
    runner.register_message(EVERYONE, everyone)
    runner.register_message(DRAIN, drain, concurrent=True)
    runner.register_message(SETTLE, settle, concurrent=True)
    leave = _Leaving(life)
    leave.install()
    watch = MasterWatch(runner, lambda: _abandon(life))

    def on_quitting(**_: object) -> None:
        watch.close()
        life.end_part()
        if life.shipper is not None:  # it has not ended as the master asked, so nobody waits for the rest
            life.shipper.abandon()
            life.shipper = None

    events.quitting.add_listener(on_quitting)
    report_part(life)


def _attach_to_other_host(life: Life) -> None:
    """Register handlers of the master's questions about this worker's host, and of its answers to sent records."""
    runner, options = life.runner, life.environment.parsed_options

    def meet(environment: object, msg: Message, **_: object) -> None:
        now = time.monotonic_ns()
        life.shares_disk = not options.own_disk and shares_disk(Path(msg.data["mark"]), msg.data["text"])
        answer = {"n": msg.data["n"], "t": now, "clock": clock_id(), "shares": life.shares_disk}
        runner.send_message(MET, answer)

    def tell_time(environment: object, msg: Message, **_: object) -> None:
        runner.send_message(TOLD, {"n": msg.data["n"], "t": time.monotonic_ns()})

    def kept(environment: object, msg: Message, **_: object) -> None:
        if life.shipper is not None:
            life.shipper.answered(msg.data)

    runner.register_message(MEET, meet)
    runner.register_message(TIME, tell_time)
    runner.register_message(KEPT, kept)


def _abandon(life: Life) -> None:
    """End a worker whose master is dead; its journal records that it left."""
    if life.part is not None:
        life.part.leave(ORPHANED_S)
        life.end_part()
    life.runner.quit()


class _Leaving:
    """Signal handlers of a worker.

    The master leads the end of a run, so a Ctrl-C or a SIGTERM that reaches the whole process group must not cut off
    users. A SIGTERM to this worker alone ends this worker, and its journal records that.
    """

    def __init__(self, life: Life) -> None:
        self._life = life
        self._before = {int(number): signal.getsignal(number) for number in SIGNALS}

    def install(self) -> None:
        """Install the handlers.

        Call it again when a run begins, because Locust installs its own handlers after `init`.
        """
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._came)

    def _came(self, number: int, frame: FrameType | None) -> None:
        part, before = self._life.latest_part, self._before[number]
        if part is not None and (number == signal.SIGINT or not part.ended):
            # A `Part` that is being closed ends by itself; between runs the master leads, which got the SIGINT too.
            if number == signal.SIGTERM:
                gevent.spawn(self._leave, part)
        elif callable(before):
            before(number, frame)
        else:
            sys.exit(128 + number)

    def _leave(self, part: Part) -> None:
        """Wait for the master to end the run. If the master does not, close this worker, which alone got the signal."""
        if part.over.wait(MASTER_LEADS_S):
            return
        part.leave(LEAVE_S)
        self._life.end_part()
        self._life.ship_rest()
        self._life.runner.quit()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Make SIGINT and SIGTERM within this context end the process with a message and exit code 128 + signal number.

    Locust itself does not handle these signals before users run.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        say("interrupted before the run began.")
        sys.exit(128 + number)

    # under nohup, or in a shell's background job, an ignored signal must stay ignored
    taken = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in taken:
        signal.signal(number, on_interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def _attach_conductor(life: Life) -> None:
    environment, runner = life.environment, life.runner
    tables_on_request(environment.parsed_options)
    try:
        with _interruptible():
            life.conductor = conductor = Conductor(life, environment.parsed_options)
    except EarwitnessError as error:
        say(str(error))
        sys.exit(error.exit_code)
    target = conductor.under_test.target
    if target.max_users is not None:
        environment.dispatcher_class = limited_to(target.max_users, target.name)
    if isinstance(runner, MasterRunner):
        runner.register_message(HERE, lambda msg, **_: conductor.part_is_here(msg.node_id, msg.data["users"]))
        runner.register_message(ACKED, lambda msg, **_: conductor.heard_back(ACKED, msg.node_id, msg.data))
        runner.register_message(MET, lambda msg, **_: conductor.heard_of_host(MET, msg.node_id, msg.data))
        runner.register_message(TOLD, lambda msg, **_: conductor.heard_of_host(TOLD, msg.node_id, msg.data))
        runner.register_message(PIECE, lambda msg, **_: conductor.heard_of_host(PIECE, msg.node_id, msg.data))
        runner.register_message(DRAINED, lambda msg, **_: conductor.part_is_drained(DRAINED, msg.node_id, msg.data))

    interruption = Interruption(lambda: _end_all(conductor, environment))
    interruption.install()
    conductor.interruption = interruption

    def on_start(**_: object) -> None:
        try:
            interruption.install()
            conductor.begin()
        except EarwitnessError as error:
            say(str(error))
            conductor.worst = error.exit_code
            if environment.parsed_options.headless:
                gevent.spawn(runner.quit)
            # Not an Exception, which Locust would log and ignore: no user may be spawned without a run.
            raise gevent.GreenletExit from error

    def on_quitting(**_: object) -> None:
        _finish(conductor)
        conductor.close()
        environment.process_exit_code = conductor.exit_code()

    if environment.web_ui is not None:
        guard(environment.web_ui, environment.parsed_options)
        extend(environment.web_ui, conductor, environment.parsed_options.web_base_path)
    events.test_start.add_listener(on_start)
    events.test_stopping.add_listener(lambda **_: _finish(conductor))
    events.quitting.add_listener(on_quitting)
    events.quit.add_listener(lambda **_: conductor.last_words())


def _end_all(conductor: Conductor, environment: Any) -> None:
    """End this process regularly after a signal: with a verdict during a run, with a message if no run has begun."""
    if conductor.run is None and not conductor.runs and environment.parsed_options.headless:
        say("interrupted before the run began.")
        conductor.close()
        # Locust's main greenlet may be waiting for workers, and has no other way out.
        gevent.kill(gevent.get_hub().parent, SystemExit(128 + int(conductor.interrupted_by or signal.SIGINT)))
        return
    environment.runner.quit()
    if environment.web_ui is not None:
        environment.web_ui.stop()


def _finish(conductor: Conductor) -> None:
    # Locust swallows what a listener raises; a run that could not be finished must not look successful.
    try:
        conductor.finish()
    except EarwitnessError as error:
        say(str(error))
        conductor.worst = error.exit_code
    except Exception:
        traceback.print_exc()
        conductor.worst = Exit.CANNOT_RUN
