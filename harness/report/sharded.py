"""Judging by shards of conversations, on any `concurrent.futures.Executor`; the verdict equals that of one judge.

One pass over the journals writes the records into shards (`harness.record.shards`) and judges the checks that concern
the run as a whole; these need few records. Then each shard is judged by a task of its own, and the verdicts are merged
(`checks.merging`). Only users' own checks need all records in one place: this process reads the journals again and
judges them, while the tasks run.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np

from earwitness.checks.accounts.authority import LIVE_AUTHORITY, Evidence, LiveAuthority, Opened
from earwitness.checks.catalogue import ALL
from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import Check, End, JournalInfo
from earwitness.checks.engine.tables import DELIVERED
from earwitness.checks.engine.world import CHUNK, Context
from earwitness.checks.judge import Batch, Judge, Watcher, proven
from earwitness.checks.merging import BY_CONVERSATION, merge, replaced
from earwitness.checks.own_fold import Own
from earwitness.checks.resources.fairness import FAIRNESS, Fairness, Sketch
from earwitness.checks.roster import Roster
from earwitness.checks.routing import LARGE, NOT_ONCE, NOWHERE, WAITING, Router, Split
from earwitness.checks.splitting import Apart, delivered, may_split, states_of, together
from earwitness.checks.tester.health import CLOCK, OWN_ORDER, RECORD_COMPLETE, OwnOrder, Watching
from earwitness.checks.verdict import Verdict
from earwitness.harness.errors import SettingsError
from earwitness.harness.progress import Progress
from earwitness.harness.record.history import History
from earwitness.harness.record.shard_folder import shard_folder
from earwitness.harness.record.shards import Layout, ShardWriter, read_shards
from earwitness.harness.report.facts import facts_of
from earwitness.harness.report.reach import Reach, Reached

P = ParamSpec("P")
T = TypeVar("T")
SEES_ALL: Final = (RECORD_COMPLETE.id, CLOCK.id, OWN_ORDER.id)
"""Checks of the tester that use the index or the time of every record."""
TASK: Final = "task.pickle"


class Inline(Executor):
    """Executor that runs each task immediately, in this process."""

    def submit(self, task: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `task` with its arguments; return its finished future, which has its result or its exception."""
        future: Future[T] = Future()
        try:
            future.set_result(task(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def processes(number: int) -> Executor:
    """Return an executor with `number` processes of this machine; for 1, one that runs tasks in this process."""
    # Spawned, not forked: a copy of a process with threads and open journals may hang.
    if number == 1:
        return Inline()
    return ProcessPoolExecutor(number, mp_context=get_context("spawn"), initializer=end_with_parent)


def end_with_parent() -> None:
    """Start a thread that ends this process when its parent has ended, even by SIGKILL.

    Without it the process would wait for tasks forever.
    """

    def watch() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


CLUSTER_SHARDS: Final = 64
"""Default number of shards for a cluster: many, so that workers of unequal speed end at nearly the same time."""


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """Yield the executor of the dask.distributed cluster whose scheduler is at `address`.

    Raises SettingsError if dask.distributed is not installed, or if the scheduler does not answer.
    """
    try:
        from dask.distributed import Client
    except ImportError:
        missing = "dask.distributed is not installed: pip install 'earwitness[cluster]'"
        raise SettingsError("--cluster", [missing]) from None
    try:
        client = Client(address, timeout=10)
    except OSError as error:
        raise SettingsError("--cluster", [f"no scheduler answers at {address} ({error})"]) from None
    with client:
        yield client.get_executor()


@dataclass(frozen=True, slots=True)
class Task:
    """Data that every judge of a shard needs besides the records.

    facts    as `facts_of` returns them
    context  facts about the records of other shards (`checks.engine.world.Context`)
    layout   layout of the files of the shards
    checks   ids of the checks to judge by
    opened   connections whose authority ended while they were open, for I34
    """

    roster: Roster
    contract: Contract
    journals: tuple[JournalInfo, ...]
    facts: Mapping[str, Any]
    context: Context
    layout: Layout
    checks: tuple[str, ...]
    opened: tuple[Opened, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Result of judging one or several shards.

    verdicts   verdicts of the checks that judge each conversation by itself (BY_CONVERSATION)
    heard      how long devices waited for deliveries, for I26; None if the contract promises no fairness, or I26 is not
               among the task's checks
    delivered  number of messages delivered, for H2
    reached    which deliveries were owed, and which of them came; None: not known
    records    number of records read
    authority  deliveries on the task's opened connections, and messages accepted from them, for I34
    apart      facts about messages, needed to join the parts of one split conversation; None if it is not split
    """

    verdicts: list[Verdict]
    heard: Sketch | None
    delivered: int
    reached: Reached | None
    records: int
    authority: tuple[Evidence, ...] = ()
    apart: Apart | None = None


def judge_shards(folder: str, shards: tuple[int, ...], split: bool = False) -> Part:
    """Judge the shards with these numbers together; return the result.

    Any process that can read `folder` may run this task. `split`: the shards hold a part of one conversation.
    """
    task: Task = pickle.loads((Path(folder) / TASK).read_bytes())
    batches = read_shards(Path(folder), task.layout, shards)
    return judge_part(task, batches, split=split)


def judge_part(task: Task, batches: Any, *, split: bool = False) -> Part:
    """Judge the records of some conversations; return the result.

    `batches`: all records of these conversations, and the records without a conversation that every judge needs.
    `split`: they are a part of one conversation.
    """
    reach, fairness = Reach(task.contract), FAIRNESS.start(task.roster, task.contract)
    authority = LIVE_AUTHORITY.start(task.roster, task.contract)
    assert isinstance(fairness, Fairness)
    assert isinstance(authority, LiveAuthority)
    fair = task.contract.fairness_factor is not None and FAIRNESS.id in task.checks
    watchers: list[Watcher] = [reach, *([fairness] if fair else []), *([authority] if task.opened else [])]
    checks = [check for check in ALL if check.id in BY_CONVERSATION and check.id in task.checks]
    judge, records = Judge(task.roster, task.contract, checks, watchers, task.context), 0
    for batch in batches:
        judge.step(batch)
        records += len(batch.records)
    states = states_of(judge)
    verdicts = judge.conclude(task.journals, task.facts, forget=True)
    bound = End(judge.world, task.journals, task.facts).clock_bound_ns()  # None: I34 is not judged
    return Part(
        verdicts=verdicts,
        heard=fairness.heard(judge.world) if fair else None,
        delivered=int(((judge.world.messages()["flags"] & DELIVERED) > 0).sum()),
        reached=reach.found(task.journals, task.facts),
        records=records,
        authority=tuple(authority.evidence(judge.world, task.opened, bound or 0)),
        apart=Apart.of(judge, *states) if split else None,
    )


def part_of(said: Part, parts: Sequence[Part]) -> Part | None:
    """Join the results of a split conversation; None if the whole conversation must be judged by one judge instead.

    said   result of judging the conversation's sendings, answers and final reads alone (`checks.routing.SAID`)
    parts  for each group of receivers, the result of judging these records and those of the group
    """
    aparts = [part.apart for part in parts if part.apart is not None]
    if said.apart is None or len(aparts) != len(parts):
        return None
    pairs = [(part.verdicts, apart) for part, apart in zip(parts, aparts, strict=True)]
    verdicts = together((said.verdicts, said.apart), pairs)
    if verdicts is None:
        return None
    first, *rest = parts
    heard, reached, authority = first.heard, first.reached, first.authority
    for part in rest:
        heard = heard.merged(part.heard) if heard is not None and part.heard is not None else None
        reached = reached + part.reached if reached is not None and part.reached is not None else None
        authority = tuple(one.merged(other) for one, other in zip(authority, part.authority, strict=True))
    return Part(verdicts, heard, delivered(aparts), reached, sum(part.records for part in parts), authority)


def judge_whole(history: History, checks: Sequence[Check]) -> list[Verdict]:
    """Return the verdicts of checks that need all records of a run; this process reads and judges the records."""
    if not checks:
        return []
    judge = Judge(history.roster, history.contract, checks)
    for batch in history.batches():
        judge.step(batch)
    return judge.conclude(history.infos(), facts_of(history), forget=True)


class Splitter:
    """One pass over a history that writes its records into shards and judges what concerns the run as a whole."""

    def __init__(
        self, roster: Roster, contract: Contract, checks: Sequence[Check], router: Router, writer: ShardWriter
    ) -> None:
        """Prepare for the records of a history; `checks`: all checks of the verdict."""
        self.router = router
        once = [check for check in checks if check.id not in BY_CONVERSATION and not isinstance(check, Own)]
        self.judge = Judge(roster, contract, once)
        self._writer = writer
        self._waiting: list[tuple[int, int, np.ndarray]] = []
        self._all: list[Watching | OwnOrder] = []
        for id in SEES_ALL:
            fold = self.judge.fold(id)
            if isinstance(fold, Watching | OwnOrder):
                fold.apart = True
                self._all.append(fold)

    def step(self, batch: Batch) -> None:
        """Write consecutive records of one journal into the shards, and judge them for the run as a whole."""
        for start in range(0, len(batch.records), CHUNK):
            self._step(batch.journal, batch.records[start : start + CHUNK])

    def _step(self, journal: int, records: np.ndarray) -> None:
        world = self.judge.world
        world.register(journal, records)
        conns = world.connections(journal, records)
        for fold in self._all:
            fold.read_all(journal, records, conns)
        where = self.router.route(journal, records)
        self._writer.write(journal, records, np.where(where == WAITING, NOWHERE, where))
        waiting = records[where == WAITING]
        if len(waiting):
            self._waiting.append((self._writer.chunks, journal, waiting))
        self.judge.step(Batch(journal, records[~NOT_ONCE[records["kind"]]]))

    def opened(self) -> tuple[Opened, ...]:
        """Return the connections that I34 has to examine. Call this after all records were passed to `step`."""
        authority = self.judge.fold(LIVE_AUTHORITY.id)
        return tuple(authority.opened(self.judge.world)) if isinstance(authority, LiveAuthority) else ()

    def finish(self) -> None:
        """Write the delayed records, whose shard was unknown before the sending of their message was read.

        Call this once, after all records were passed to `step`.
        """
        for chunk, journal, records in self._waiting:
            where = self.router.where(records)
            for shard in np.unique(where).tolist():
                self._writer.late(shard, chunk, journal, records[where == shard])


@dataclass(frozen=True, slots=True)
class Way:
    """Settings of judging by shards: number of shards, function that makes the executor, folder for the shards.

    `folder` None: a temporary folder of this machine. Workers on other machines must be able to read it by the same
    path.
    """

    shards: int
    executor: Callable[[], AbstractContextManager[Executor]]
    folder: Path | None = None


def judge_sharded(history: History, checks: Sequence[Check], way: Way) -> tuple[list[Verdict], Reached | None]:
    """Return the verdicts of `checks` about a run, and its reach, as one judge would return them.

    `way`: number of shards, executor and folder. Raises RecordError if the shards cannot be written, SettingsError if
    the executor's cluster cannot be reached.
    """
    with shard_folder(way.folder) as folder, way.executor() as executor:
        router = router_of(history.roster, history.contract, checks, way.shards)
        with ShardWriter(folder, router.shards) as writer:
            splitter = Splitter(history.roster, history.contract, checks, router, writer)
            done, total = 0, sum(view.count for view in history.journals)
            with Progress(f"laying out {history.path.name}", total) as progress:
                for batch in history.batches():
                    splitter.step(batch)
                    done += len(batch.records)
                    progress.at(done)
            splitter.finish()
        facts, journals = facts_of(history), tuple(history.infos())
        whole = [check for check in checks if isinstance(check, Own)]
        context = router.context(splitter.judge.world)
        ids = tuple(check.id for check in checks)
        task = Task(history.roster, history.contract, journals, facts, context, writer.layout, ids, splitter.opened())
        (folder / TASK).write_bytes(pickle.dumps(task))
        futures = [executor.submit(judge_shards, str(folder), group) for group in router.groups()]
        rooms = [_Room(str(folder), executor, split) for split in router.splits()]
        others = judge_whole(history, whole)
        with Progress(f"judging {len(futures)} shards of {history.path.name}", len(futures)) as progress:
            parts = []
            for number, future in enumerate(futures, 1):
                parts.append(future.result())
                progress.at(number)
        parts += [room.result() for room in rooms]
    return put_together(task, checks, splitter.judge, parts, others)


def router_of(roster: Roster, contract: Contract, checks: Sequence[Check], shards: int, large: int = LARGE) -> Router:
    """Return the router to `shards` shards.

    Conversations with `large` or more members are split if all checks allow it.
    """
    return Router(roster, shards, large if may_split(contract, [check.id for check in checks]) else None)


class _Room:
    """One split conversation: judged in parts by receiver, or as a whole if the parts cannot be joined."""

    def __init__(self, folder: str, executor: Executor, split: Split) -> None:
        """Submit the tasks that judge the parts."""
        self._folder, self._executor, self._split = folder, executor, split
        which = [(split.said,), *((split.said, part) for part in split.parts)]
        self._futures = [executor.submit(judge_shards, folder, shards, True) for shards in which]

    def result(self) -> Part:
        """Wait for the parts; return their joined result, or that of one judge if they cannot be joined."""
        said, *parts = (future.result() for future in self._futures)
        found = part_of(said, parts)
        return found or self._executor.submit(judge_shards, self._folder, self._split.shards).result()


def put_together(
    task: Task, checks: Sequence[Check], once: Judge, parts: Sequence[Part], others: Sequence[Verdict] = ()
) -> tuple[list[Verdict], Reached | None]:
    """Return (verdicts in the order of `checks`, reach of the run), merged from all judges.

    once    the judge of the run as a whole, which has read all records that it needs
    parts   results of the shards
    others  verdicts of users' own checks
    """
    fairness, authority = once.fold(FAIRNESS.id), once.fold(LIVE_AUTHORITY.id)
    for part in parts:
        if isinstance(authority, LiveAuthority):
            authority.add_evidence(part.authority)
        once.world.delivered_elsewhere += part.delivered
        if part.heard is not None and isinstance(fairness, Fairness):
            fairness.add_heard(part.heard)
    verdicts = {v.id: v for v in merge([part.verdicts for part in parts])}
    verdicts |= {v.id: v for v in replaced(once.conclude(task.journals, task.facts), others)}
    verdicts |= {v.id: v for v in others}
    reached: Reached | None = None
    for part in parts:
        reached = part.reached if reached is None or part.reached is None else reached + part.reached
    ordered = [verdicts[check.id] for check in checks]
    return proven(ordered, task.roster, task.journals, task.facts), reached
