"""Campaign `make campaign scale`: any number of records, judged shard by shard; each is made, judged and deleted.

A shard is ten conversations of the same hundred users. All shards are parts of one history: messages are numbered
consecutively over all shards, and every judge knows the connections and phases of the whole history. The messages of a
shard are a seeded pattern (`benchmarks.judge`), with the shard's own conversations, numbers and times. In every seventh
shard some deliveries are overwritten by a repetition of an earlier one: the checks must find each, as a duplicate and
as a loss.

    make campaign scale ARGS="--records 1000000000 --processes 2"
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.check import CONTRACT  # noqa: E402
from benchmarks.judge import anonymous_mib, blocks, make_roster, plant  # noqa: E402
from earwitness.checks.catalogue import ALL  # noqa: E402
from earwitness.checks.engine.fold import JournalInfo  # noqa: E402
from earwitness.checks.engine.world import Context  # noqa: E402
from earwitness.checks.history.record import RECORD, Kind  # noqa: E402
from earwitness.checks.merging import BY_CONVERSATION, merge  # noqa: E402
from earwitness.checks.resources.fairness import Sketch  # noqa: E402
from earwitness.checks.roster import Roster  # noqa: E402
from earwitness.checks.verdict import Outcome, Verdict  # noqa: E402
from earwitness.harness.record.shards import COMMON, Layout, file_of, read_shards  # noqa: E402
from earwitness.harness.report.sharded import Part, Task, judge_part, processes  # noqa: E402

USERS = 100
CHUNK = 1 << 16
PLANTED_IN, PLANTED = 7, 5
"""Every PLANTED_IN-th shard has PLANTED deliveries that are replaced by repetitions."""


@dataclass(frozen=True)
class Pattern:
    """The records of one shard before they are moved, and their position in the whole history.

    head, talk, tail  connections; number of records of chatting; number of records of the final read
    said              number of messages of each client in one shard
    """

    roster: Roster
    folder: Path
    shards: int
    head: np.ndarray
    phases: np.ndarray
    talk: int
    tail: int
    said: np.ndarray

    @property
    def records(self) -> int:
        """Return the number of records in all shards and in their common part."""
        return len(self.head) + len(self.phases) + self.shards * (self.talk + self.tail)


def pattern_of(folder: Path, records: int, shards: int, seed: int) -> Pattern:
    """Return the pattern of a shard of about `records` records; its chatting and final read are written into files."""
    rng = np.random.default_rng(seed)
    small = make_roster(USERS, rng)
    parts = list(blocks(small, records, rng))
    opening, phases = parts[0], next(n for n, part in enumerate(parts) if (part["kind"] == Kind.PHASE).all())
    connects = opening["kind"] == Kind.CONNECT
    talk = np.concatenate([opening[~connects], *parts[1:phases]])
    tail = np.concatenate(parts[phases + 1 :])
    talk.tofile(folder / "talk")
    tail.tofile(folder / "tail")
    sent = talk[talk["kind"] == Kind.INVOKE]
    roster = Roster(user_of=small.user_of, conversations=small.conversations * shards)
    said = np.bincount(sent["author"], minlength=USERS)
    return Pattern(
        roster, folder, shards, opening[connects], parts[phases], len(talk), len(tail), said
    )  # fmt: skip


def task_of(pattern: Pattern) -> Task:
    """Return the `Task` that all judges share."""
    clients = np.arange(USERS)
    context = Context(
        conns=np.stack([np.zeros(USERS, np.int64), clients + 1, clients], axis=1),
        speaking={0: np.ones(USERS, np.uint8)},
        latest=np.full(USERS, -1, np.int64),
    )
    footer = {"records": pattern.records, "lag_ms": {"p99": 1.0, "max": 2.0}}
    info = JournalInfo(name="one", records=pattern.records, footer=footer, torn=False, meta={"host": "here"})
    ids = tuple(sorted({*BY_CONVERSATION, "I26"}))
    return Task(pattern.roster, CONTRACT, (info,), {}, context, Layout(), ids)


def common_of(pattern: Pattern) -> np.ndarray:
    """Return the common records of all shards: connections at the beginning, and phases after the chatting."""
    head, phases = pattern.head.copy(), pattern.phases.copy()
    head["index"] = np.arange(1, len(head) + 1)
    phases["index"] = len(head) + pattern.shards * pattern.talk + np.arange(1, len(phases) + 1)
    return _timed(np.concatenate([head, phases]))


def make(pattern: Pattern, shard: int, folder: Path) -> Layout:
    """Write the files of a shard into `folder`, as a run would; return their layout."""
    common = common_of(pattern)
    common.tofile(file_of(folder, COMMON))
    begin = len(pattern.head) + shard * pattern.talk
    behind = len(pattern.head) + pattern.shards * pattern.talk + len(pattern.phases) + shard * pattern.tail
    with file_of(folder, shard).open("wb") as file:
        for name, first in (("talk", begin), ("tail", behind)):
            source = np.memmap(pattern.folder / name, RECORD, "r")
            for start in range(0, len(source), CHUNK):
                records = np.array(source[start : start + CHUNK])
                records["index"] = first + start + np.arange(1, len(records) + 1)
                file.write(_moved(pattern, shard, records).view(np.uint8).data)
    if shard % PLANTED_IN == PLANTED_IN - 1:
        plant(np.memmap(file_of(folder, shard), RECORD, "r+")[: pattern.talk], PLANTED, shard)
    head, phases = len(pattern.head), len(pattern.phases)
    return Layout(
        {
            COMMON: [(1, 0, head), (_chunk_behind(pattern), 0, phases)],
            shard: _runs(pattern.talk, 2) + _runs(pattern.tail, _chunk_behind(pattern) + 1),
        }
    )


def _chunk_behind(pattern: Pattern) -> int:
    """Return the number of the first chunk after the chatting."""
    return 2 + len(_runs(pattern.talk, 2))


def _runs(records: int, first: int) -> list[tuple[int, int, int]]:
    """Return (chunk, offset, length) for each CHUNK records in a part of a shard's file; `first`: first chunk."""
    starts = range(0, records, CHUNK)
    return [(first + n, 0, min(CHUNK, records - start)) for n, start in enumerate(starts)]


def _moved(pattern: Pattern, shard: int, records: np.ndarray) -> np.ndarray:
    """Return records of the pattern with the conversations, counters and times of a shard; `records` is changed."""
    convs = len(pattern.roster.conversations) // pattern.shards
    records["conv"] += np.uint32(shard * convs)
    named = records["counter"] > 0
    records["counter"][named] += (shard * pattern.said[records["author"][named]]).astype(np.uint32)
    return _timed(records)


def _timed(records: np.ndarray) -> np.ndarray:
    records["t"] = records["index"].astype(np.int64) * 1000
    return records


@dataclass(frozen=True)
class Done:
    """Result of one shard: what the judge found, and the cost (s of CPU time, MiB of anonymous memory)."""

    part: Part
    made_s: float
    judged_s: float
    memory_mib: float


def judge_one(pattern: Pattern, shard: int) -> Done:
    """Make a shard, judge it and delete it; return the result. Runs as a task of an executor."""
    with tempfile.TemporaryDirectory(prefix="earwitness-scale-", dir=pattern.folder) as name:
        folder = Path(name)
        begun = time.process_time()
        layout = make(pattern, shard, folder)
        made = time.process_time()
        task = task_of(pattern)
        part = judge_part(task, read_shards(folder, layout, (shard,)))
        return Done(part, made - begun, time.process_time() - made, anonymous_mib())


@dataclass
class Total:
    """Merged verdicts of all shards judged so far, and their total cost."""

    verdicts: list[Verdict]
    heard: Sketch | None = None
    shards: int = 0
    planted: int = 0
    records: int = 0
    made_s: float = 0.0
    judged_s: float = 0.0
    memory_mib: float = 0.0

    def add(self, shard: int, done: Done) -> None:
        """Add the result of a shard."""
        part = done.part
        self.verdicts = merge([self.verdicts, part.verdicts]) if self.verdicts else part.verdicts
        if part.heard is not None:
            self.heard = part.heard if self.heard is None else self.heard.merged(part.heard)
        self.shards += 1
        self.planted += PLANTED * (shard % PLANTED_IN == PLANTED_IN - 1)
        self.records += part.records
        self.made_s, self.judged_s = self.made_s + done.made_s, self.judged_s + done.judged_s
        self.memory_mib = max(self.memory_mib, done.memory_mib)

    def wrong(self) -> list[str]:
        """Return a sentence for each check whose violations are not those that were planted."""
        found = {verdict.id: verdict for verdict in self.verdicts}
        wanted = dict.fromkeys(("I4", "I5b", "I6", "I47"), self.planted)
        return [
            f"{id}: {verdict.violations} violations, {wanted.get(id, 0)} were planted ({verdict.why})"
            for id, verdict in found.items()
            if verdict.violations != wanted.get(id, 0)
        ] + [
            f"{id} has examined nothing" for id in ("I1", "I4", "I5a", "I5b", "I6", "I8", "I10", "I12", "I14", "I15")
            if not found[id].examined or found[id].outcome is Outcome.UNKNOWN
        ]  # fmt: skip


def judged(pattern: Pattern, workers: int, until: float = float("inf")) -> Total:
    """Judge all shards on `workers` processes; return the total.

    `until`: monotonic time in s after which no further shard is begun.
    """
    total, left, running = Total([]), list(range(pattern.shards)), dict[Future[Done], int]()
    with processes(workers) as executor:
        while running or (left and time.monotonic() < until):
            while left and len(running) < workers and time.monotonic() < until:
                shard = left.pop(0)
                running[executor.submit(judge_one, pattern, shard)] = shard
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                total.add(running.pop(future), future.result())
                if total.shards % 10 == 0:
                    print(line(total), flush=True)
    return total


def line(total: Total) -> str:
    """Return one line about the shards judged so far: records, speed and memory."""
    cpu_s = total.made_s + total.judged_s
    return (
        f"{total.shards} shards, {total.records:,} records: judged {total.records / total.judged_s / 1e6:.2f} million "
        f"a CPU-second ({total.judged_s:.0f} s), made and judged {total.records / cpu_s / 1e6:.2f}; at most "
        f"{total.memory_mib:.0f} MiB a process"
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000_000)
    parser.add_argument("--shard", type=int, default=10_000_000, metavar="RECORDS", help="records of a shard")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no shard after that")
    args = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="earwitness-scale-") as folder:
        size = min(args.shard, args.records)
        pattern = pattern_of(Path(folder), size, max(1, round(args.records / size)), args.seed)
        total = judged(pattern, args.processes, began + 60 * args.minutes)
    print(line(total))
    print(f"{time.monotonic() - began:.0f} s in all; {total.planted} repetitions were planted")
    for verdict in total.verdicts:
        told = f"{verdict.examined:>14,} examined, {verdict.violations} violations"
        print(f"{verdict.id:>4} {verdict.outcome.name:7} {told}")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB: the process that merges")
    for sentence in total.wrong():
        print(sentence)
    assert len(total.verdicts) == len([check for check in ALL if check.id in BY_CONVERSATION])
    return 1 if total.wrong() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
