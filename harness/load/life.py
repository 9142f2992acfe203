"""The life of a run, tied to Locust's events, in whichever role this process has.

conductor  the only process, or the master: platform or target, run directory, end, verdict, exit code
part       every process with users (the only process, or a worker): journal and sessions
Nothing about messages travels through Locust's own channel: only the assignment, and the two steps of the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gevent
import locust
from locust.runners import MasterRunner, WorkerRunner

from harness.errors import EXIT_CANNOT_RUN, EXIT_INTERRUPTED, EarwitnessError
from harness.load.conductor import Conductor
from harness.load.metrics import report_lag
from harness.load.part import Part
from harness.load.story import Story
from harness.load.web import extend

events: Any = locust.events

BEGIN, HERE, EVERYONE, DRAIN, ACKED, SETTLE, DRAINED = (
    f"earwitness-{step}" for step in ("begin", "here", "everyone", "drain", "acked", "settle", "drained")
)


class Life:
    """Hangs on `environment.earwitness`; `part` is this process's share of the current run, if it has users."""

    def __init__(self, environment: Any, told: Story) -> None:
        self.environment = environment
        self.story = told
        self.runner = environment.runner
        self.part: Part | None = None
        self.conductor: Conductor | None = None
        self.run_dir: Path | None = None

    # -- parts ------------------------------------------------------------------------------------------------------

    def begin_part(
        self, assignment: Mapping[str, Any], index: int, count: int, on_all_here: Callable[[Part], None]
    ) -> None:
        self.run_dir = Path(assignment["run_dir"])
        self.part = Part(self.environment, assignment, index, count, on_all_here)

    def table(self, name: str, row: Mapping[str, Any]) -> None:
        """Append a row to a side table of the run; one write a row, so that processes do not mix lines."""
        assert self.run_dir is not None
        with open(self.run_dir / "tables" / f"{name}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")

    def end_part(self) -> None:
        part, self.part = self.part, None
        if part is not None:
            part.close()


def attach(environment: Any, told: Story) -> None:
    """Listener of Locust's `init`: take the role that this process has. Faults end with a sentence and exit 2."""
    life = Life(environment, told)
    environment.earwitness = life

    def on_spawned(**_: Any) -> None:
        if life.part is not None:
            life.part.spawned()

    events.spawning_complete.add_listener(on_spawned)
    if isinstance(life.runner, WorkerRunner):
        _attach_worker(life)
    else:
        _attach_conductor(life)


def _attach_worker(life: Life) -> None:
    runner = life.runner

    def begin(environment: Any, msg: Any, **_: Any) -> None:
        indexes = msg.data["indexes"]
        index = indexes[runner.client_id]
        life.begin_part(msg.data, index, len(indexes), lambda _: runner.send_message(HERE, {}))

    def everyone(environment: Any, msg: Any, **_: Any) -> None:
        if life.part:
            life.part.everyone_here.set()

    def drain(environment: Any, msg: Any, **_: Any) -> None:
        heads = life.part.drain(msg.data["deadline_s"]) if life.part else {}
        runner.send_message(ACKED, {"heads": heads})

    def settle(environment: Any, msg: Any, **_: Any) -> None:
        if life.part:
            life.part.settle(msg.data["heads"], msg.data["deadline_s"])
        life.end_part()
        runner.send_message(DRAINED, {})

    runner.register_message(BEGIN, begin)
    runner.register_message(EVERYONE, everyone)
    runner.register_message(DRAIN, drain, concurrent=True)
    runner.register_message(SETTLE, settle, concurrent=True)
    # The master leads the end of a run: a Ctrl-C that reaches the whole process group must not cut our users off.
    original = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: Any) -> None:
        if life.part is None and callable(original):
            original(number, frame)

    signal.signal(signal.SIGINT, on_interrupt)
    events.quitting.add_listener(lambda **_: life.end_part())
    report_lag(life)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C meanwhile is a sentence and its exit code: Locust itself has no answer to it before users run."""
    original = signal.getsignal(signal.SIGINT)
    if original in (signal.SIG_IGN, None):  # nohup, or a shell's background job, meant that
        yield
        return

    def on_interrupt(number: int, frame: Any) -> None:
        print("earwitness: interrupted before the run began.", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, original)


def _attach_conductor(life: Life) -> None:
    environment, runner = life.environment, life.runner
    try:
        with _interruptible():
            life.conductor = conductor = Conductor(life, environment.parsed_options)
    except EarwitnessError as error:
        print(f"earwitness: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if isinstance(runner, MasterRunner):
        runner.register_message(HERE, lambda msg, **_: conductor.part_is_here(msg.node_id))
        runner.register_message(ACKED, lambda msg, **_: conductor.heard_back(ACKED, msg.node_id, msg.data))
        runner.register_message(DRAINED, lambda msg, **_: conductor.heard_back(DRAINED, msg.node_id, msg.data))

    def on_start(**_: Any) -> None:
        try:
            conductor.begin()
        except EarwitnessError as error:
            print(f"earwitness: {error}", file=sys.stderr)
            conductor.worst = error.exit_code
            if environment.parsed_options.headless:
                gevent.spawn(os.kill, os.getpid(), signal.SIGTERM)
            # Not an Exception, which Locust would log and go on from: no user may be spawned into a run that is not.
            raise gevent.GreenletExit from error

    def on_quitting(**_: Any) -> None:
        _finish(conductor)
        conductor.close()
        environment.process_exit_code = conductor.exit_code()

    if environment.web_ui is not None:
        extend(environment.web_ui, conductor, environment.parsed_options.web_base_path)
    events.test_start.add_listener(on_start)
    events.test_stopping.add_listener(lambda **_: _finish(conductor))
    events.quitting.add_listener(on_quitting)
    events.quit.add_listener(lambda **_: conductor.tell())


def _finish(conductor: Conductor) -> None:
    # Locust swallows what a listener raises; a run that could not be finished must not look like a good one.
    try:
        conductor.finish()
    except EarwitnessError as error:
        print(f"earwitness: {error}", file=sys.stderr)
        conductor.worst = error.exit_code
    except Exception:
        traceback.print_exc()
        conductor.worst = EXIT_CANNOT_RUN
