"""Measure how many records the judge reads per CPU-second, from a seeded, healthy history with rooms of mixed sizes.

python -m benchmarks.judge --records 10000000            # all checks
python -m benchmarks.judge --records 10000000 --first    # order, holes, duplicates, creation, isolation, loss
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from earwitness.checks import ALL, Batch, Contract, JournalInfo, Judge, Kind, Outcome, Phase, Roster
from earwitness.checks.engine.fold import Check
from earwitness.checks.engine.tables import Array
from earwitness.checks.history.record import empty
from earwitness.checks.verdict import Verdict

T = TypeVar("T")
BATCH = 1 << 20
BLOCK = 10_000_000
"""Number of records that are generated at a time."""
FIRST = ("I1", "I2", "I4", "I5b", "I6", "I8", "I12")
"""Ids of the seven checks of `--first`."""


def make_roster(connections: int, rng: np.random.Generator) -> Roster:
    """Return a roster of `connections` users, with a tenth as many rooms of 5 to 100 members, but at most all users."""
    rooms = max(1, connections // 10)
    sizes = np.minimum(connections, rng.integers(5, 101, rooms))
    members = tuple(tuple(map(int, np.sort(rng.choice(connections, size, replace=False)))) for size in sizes)
    return Roster(user_of=tuple(range(connections)), conversations=members)


def blocks(roster: Roster, records: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yield the records of one healthy journal in blocks, so that the whole journal need not be in memory.

    All users join, random members send, all members receive in order, and everything is stored. `records`: approximate
    number of records.
    """
    index = 0
    for block in _story(roster, records, rng):
        block["index"] = np.arange(index + 1, index + len(block) + 1)
        block["t"] = (block["index"] - 1) * 1000
        index += len(block)
        yield block


def _story(roster: Roster, records: int, rng: np.random.Generator) -> Iterator[Array]:
    rooms = Rooms(roster)
    yield _opening(roster, rooms)
    stored, left = [], int(records / (rooms.sizes.mean() + 3))
    a_block = max(1, int(BLOCK / (rooms.sizes.mean() + 3)))
    while left:
        talk = _talk(rooms, min(left, a_block), rng)
        stored.append(_stored(talk))
        left -= min(left, a_block)
        yield talk
    phases, ends = empty(2), empty(len(rooms.sizes))
    phases["kind"], phases["counter"] = Kind.PHASE, (Phase.DRAIN, Phase.DRAINED)
    ends["kind"], ends["conv"] = Kind.READ_END, np.arange(len(ends))
    yield from (phases, *stored, ends)


class Rooms:
    """Members of all rooms as flat arrays, and counts of the messages so far.

    sizes     number of members of each room
    flat      members of all rooms, one room after the other
    starts    index in `flat` at which each room begins
    said      messages of each user so far
    numbered  messages in each room so far
    """

    def __init__(self, roster: Roster) -> None:
        self.sizes = np.array([len(m) for m in roster.conversations])
        self.flat = np.concatenate([np.array(m) for m in roster.conversations])
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self.said = np.zeros(len(roster.user_of), np.int64)
        self.numbered = np.zeros(len(self.sizes), np.int64)


def _opening(roster: Roster, rooms: Rooms) -> Array:
    clients, flat = len(roster.user_of), rooms.flat
    head = empty(clients + len(flat))
    head["kind"] = Kind.JOIN
    head["kind"][:clients] = Kind.CONNECT
    head["client"] = np.concatenate([np.arange(clients), flat])
    head["conn"] = head["client"] + 1
    head["conv"][clients:] = np.repeat(np.arange(len(rooms.sizes)), rooms.sizes)
    head["seq"][clients:] = 0
    return head


def _ranks(values: Array) -> Array:
    """Return for each value how often it has occurred so far, itself included."""
    order = np.argsort(values, kind="stable")
    sorted_values = values[order]
    first = np.searchsorted(sorted_values, sorted_values)
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.arange(len(values)) - first + 1
    return ranks


def _talk(rooms: Rooms, messages: int, rng: np.random.Generator) -> Array:
    """Return records of `messages` messages: INVOKE, OK and a DELIVER for each member; several messages overlap."""
    sizes, flat, starts = rooms.sizes, rooms.flat, rooms.starts
    conv = rng.integers(0, len(sizes), messages)
    author = flat[starts[conv] + rng.integers(0, 1 << 30, messages) % sizes[conv]]
    fan = sizes[conv]
    total = int((fan + 2).sum())
    mine = np.repeat(np.arange(len(conv)), fan + 2)
    place = np.arange(total) - np.repeat(np.cumsum(fan + 2) - (fan + 2), fan + 2)
    talk = empty(total)
    talk["kind"] = np.where(place == 0, Kind.INVOKE, np.where(place == 1, Kind.OK, Kind.DELIVER))
    talk["conv"], talk["author"] = conv[mine], author[mine]
    talk["counter"], talk["attempt"] = (_ranks(author) + rooms.said[author])[mine], 1
    seq = (_ranks(conv) + rooms.numbered[conv])[mine]
    rooms.said += np.bincount(author, minlength=len(rooms.said))
    rooms.numbered += np.bincount(conv, minlength=len(sizes))
    talk["seq"] = np.where(place == 0, -1, seq)
    talk["client"] = np.where(place < 2, author[mine], flat[starts[conv[mine]] + np.maximum(place - 2, 0)])
    talk["conn"] = talk["client"] + 1
    talk["proc"] = author[mine] + 1 & 255
    heard = place != 1
    talk["size"][heard] = 64
    talk["digest"][heard] = (mine[heard] * 2654435761) & 0xFFFFFFFF
    talk["aux"][place >= 2] = author[mine][place >= 2]
    talk["aux"][place == 0] = np.maximum(seq - 9, -1)[place == 0]
    window = np.floor(mine / 8).astype(np.int64)  # members hear at different times, each in order
    lag = np.where(place < 2, -1, rng.integers(0, 1 << 20, 1 << 16)[talk["client"] & 0xFFFF])
    result: Array = talk[np.lexsort((mine, lag, window))]
    return result


def _stored(talk: Array) -> Array:
    """Return the STORED records of the messages in `talk`."""
    stored: Array = talk[talk["kind"] == Kind.INVOKE]
    stored["kind"], stored["conn"] = Kind.STORED, 0
    oks = talk[talk["kind"] == Kind.OK]
    numbers = oks[np.lexsort((oks["counter"], oks["author"]))]
    order = np.lexsort((stored["counter"], stored["author"]))
    stored["seq"][order] = numbers["seq"]
    stored["aux"] = stored["author"]
    return stored


def plant(records: Array, number: int, seed: int) -> None:
    """Replace `number` deliveries of a history by the delivery before, to the same device in the same conversation.

    Each one is then a loss (I5b, I47), a gap (I4) and a repetition (I6). `records` are changed in place.
    """
    rng = np.random.default_rng(seed)
    window = min(len(records) // 10, 200_000)
    for part in np.linspace(0.1 * len(records), 0.8 * len(records), number).astype(int):
        near = records[part : part + window]
        # Not an author's own echo, whose loss I47 does not count.
        heard = np.flatnonzero((near["kind"] == Kind.DELIVER) & (near["client"] != near["author"]))
        pick = near[heard[rng.integers(len(heard) // 2, len(heard))]]
        mine = heard[(near["client"][heard] == pick["client"]) & (near["conv"][heard] == pick["conv"])]
        before, after = mine[-2:]
        for name in records.dtype.names or ():
            if name not in ("t", "index"):
                near[name][after] = near[name][before]


def anonymous_mib() -> float:
    """Return the anonymous memory of this process in MiB (Linux), else its largest resident size."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(records: int, connections: int = 100, seed: int = 1, *, first: bool = False) -> Mapping[str, Any]:
    """Judge a generated history once; return its records, and CPU time and memory of the judge.

    `first`: only the checks in FIRST. `first_call_s`: CPU-seconds of an earlier, small history, with compilation.
    """
    rng = np.random.default_rng(seed)
    roster = make_roster(connections, rng)
    budget: dict[str, Any] = {"rate_per_s": 1e6, "rate_burst": 1e6, "retry_after": True, "fairness_factor": 10.0}
    checks = [check for check in ALL if check.id in FIRST] if first else ALL
    contract = Contract(sequence="contiguous", idempotent=True, delivery_bound_s=3600.0, **budget)
    first_call_s = _judged(roster, contract, checks, blocks(roster, 20_000, rng)).cpu_s
    judged = _judged(roster, contract, checks, blocks(roster, records, rng))
    broken = [v for v in judged.verdicts if v.violations or (v.examined and v.outcome is not Outcome.PASS)]
    assert not broken, broken
    return {
        "records": judged.records,
        "cpu_s": judged.cpu_s,
        "records_per_cpu_s": judged.records / judged.cpu_s,
        "memory_mib": judged.memory_mib,
        "first_call_s": first_call_s,
    }


@dataclass
class Judged:
    """Costs of judging one history, and its verdicts.

    cpu_s       CPU-seconds of the judge alone, without generating the history
    memory_mib  memory that the judge holds before the verdict, in MiB
    """

    records: int = 0
    cpu_s: float = 0.0
    memory_mib: float = 0.0
    verdicts: Sequence[Verdict] = ()

    def spend(self, act: Callable[[], T]) -> T:
        """Call `act`, add its CPU time to `cpu_s`, and return its result."""
        started = time.process_time()
        result = act()
        self.cpu_s += time.process_time() - started
        return result


def _judged(roster: Roster, contract: Contract, checks: Sequence[Check], history: Iterable[Array]) -> Judged:
    before, block = anonymous_mib(), empty(0)
    judge, judged = Judge(roster, contract, checks), Judged()
    for block in history:
        for start in range(0, len(block), BATCH):
            judged.spend(partial(judge.step, Batch(0, block[start : start + BATCH])))
        judged.records += len(block)
    del block  # the judge may hold its last chunk, and with it all of the last block, which is small
    judged.memory_mib = anonymous_mib() - before
    footer = {"records": judged.records, "lag_ms": {"p99": 1.0}}
    info = JournalInfo(name="one", records=judged.records, footer=footer, torn=False, meta={"host": "here"})
    judged.verdicts = judged.spend(lambda: judge.finish([info]))
    return judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", action="store_true", help=f"only {', '.join(FIRST)}")
    arguments = parser.parse_args()
    result = measure(arguments.records, arguments.connections, arguments.seed, first=arguments.first)
    print(
        f"{result['records']:,} records in {result['cpu_s']:.2f} CPU-seconds: "
        f"{result['records_per_cpu_s'] / 1e6:.1f} million a CPU-second; "
        f"{result['memory_mib']:.0f} MiB of its own; first call {result['first_call_s']:.1f} s"
    )


if __name__ == "__main__":
    main()
