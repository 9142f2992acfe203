"""How many records the judge reads in a CPU-second: a seeded, healthy history of mixed rooms.

python -m benchmarks.judge --records 10000000            # all checks
python -m benchmarks.judge --records 10000000 --first    # order, holes, duplicates, creation, isolation, loss
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from checks import ALL, Batch, Contract, JournalInfo, Judge, Kind, Outcome, Phase, Roster
from checks.fold import Check
from checks.record import empty
from checks.tables import Array

BATCH = 1 << 20
FIRST = ("I1", "I2", "I4", "I5b", "I6", "I8", "I12")
"""The seven checks that every table of judges begins with."""


def make_roster(connections: int, rng: np.random.Generator) -> Roster:
    """As many rooms as a tenth of the users, of mixed sizes from 5 to 100."""
    rooms = max(1, connections // 10)
    sizes = np.minimum(connections, rng.integers(5, 101, rooms))
    members = tuple(tuple(map(int, np.sort(rng.choice(connections, size, replace=False)))) for size in sizes)
    return Roster(user_of=tuple(range(connections)), conversations=members)


def make_history(roster: Roster, records: int, rng: np.random.Generator) -> Array:
    """One journal: everyone joins, random members send, everyone hears in order, all is stored."""
    sizes = np.array([len(m) for m in roster.conversations])
    flat = np.concatenate([np.array(m) for m in roster.conversations])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    messages = int(records / (sizes.mean() + 3))
    conv = rng.integers(0, len(sizes), messages)
    author = flat[starts[conv] + rng.integers(0, 1 << 30, messages) % sizes[conv]]
    head = _opening(roster, flat, sizes)
    body = _talk(conv, author, flat, starts, sizes, rng)
    tail = _closing(body[body["kind"] == Kind.INVOKE], body[body["kind"] == Kind.OK], len(sizes))
    history = np.concatenate([head, body, tail])
    history["index"] = np.arange(1, len(history) + 1)
    history["t"] = np.arange(len(history)) * 1000
    return history


def _opening(roster: Roster, flat: Array, sizes: Array) -> Array:
    clients = len(roster.user_of)
    head = empty(clients + len(flat))
    head["kind"] = Kind.JOIN
    head["kind"][:clients] = Kind.CONNECT
    head["client"] = np.concatenate([np.arange(clients), flat])
    head["conn"] = head["client"] + 1
    head["conv"][clients:] = np.repeat(np.arange(len(sizes)), sizes)
    head["seq"][clients:] = 0
    return head


def _ranks(values: Array) -> Array:
    """1-based occurrence number of each value, in order."""
    order = np.argsort(values, kind="stable")
    sorted_values = values[order]
    first = np.searchsorted(sorted_values, sorted_values)
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.arange(len(values)) - first + 1
    return ranks


def _talk(conv: Array, author: Array, flat: Array, starts: Array, sizes: Array, rng: np.random.Generator) -> Array:
    """INVOKE, OK, then one DELIVER for each member; several messages are on their way at once."""
    fan = sizes[conv]
    total = int((fan + 2).sum())
    mine = np.repeat(np.arange(len(conv)), fan + 2)
    place = np.arange(total) - np.repeat(np.cumsum(fan + 2) - (fan + 2), fan + 2)
    talk = empty(total)
    talk["kind"] = np.where(place == 0, Kind.INVOKE, np.where(place == 1, Kind.OK, Kind.DELIVER))
    talk["conv"], talk["author"] = conv[mine], author[mine]
    talk["counter"], talk["attempt"] = _ranks(author)[mine], 1
    seq = _ranks(conv)[mine]
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


def _closing(invokes: Array, oks: Array, convs: int) -> Array:
    stored = invokes.copy()
    stored["kind"], stored["conn"] = Kind.STORED, 0
    numbers = oks[np.lexsort((oks["counter"], oks["author"]))]
    order = np.lexsort((stored["counter"], stored["author"]))
    stored["seq"][order] = numbers["seq"]
    stored["aux"] = stored["author"]
    ends = empty(convs + 2)
    ends["kind"], ends["conv"][:convs] = Kind.READ_END, np.arange(convs)
    ends["kind"][convs:] = Kind.PHASE
    ends["counter"][convs:] = Phase.DRAIN, Phase.DRAINED
    return np.concatenate([ends[convs:], stored, ends[:convs]])


def batches(history: Array) -> Iterator[Batch]:
    for start in range(0, len(history), BATCH):
        yield Batch(0, history[start : start + BATCH])


def anonymous_mib() -> float:
    """Anonymous memory of this process (Linux), else its largest resident size."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(records: int, connections: int = 100, seed: int = 1, *, first: bool = False) -> Mapping[str, Any]:
    """Judge once; CPU time of the whole process, memory that the judge added."""
    rng = np.random.default_rng(seed)
    roster = make_roster(connections, rng)
    budget: dict[str, Any] = {"rate_per_s": 1e6, "rate_burst": 1e6, "retry_after": True, "fairness_factor": 10.0}
    checks = [check for check in ALL if check.id in FIRST] if first else ALL
    contract = Contract(sequence="contiguous", idempotent=True, delivery_bound_s=3600.0, **budget)
    warm = make_history(roster, 20_000, rng)
    started = time.process_time()
    _judged(roster, contract, checks, warm)
    compiled_s = time.process_time() - started
    history = make_history(roster, records, rng)
    before, started = anonymous_mib(), time.process_time()
    verdicts, peak = _judged(roster, contract, checks, history)
    cpu_s = time.process_time() - started
    broken = [v for v in verdicts if v.violations or (v.examined and v.outcome is not Outcome.PASS)]
    assert not broken, broken
    return {
        "records": len(history),
        "cpu_s": cpu_s,
        "records_per_cpu_s": len(history) / cpu_s,
        "memory_mib": peak - before,
        "first_call_s": compiled_s,
    }


def _judged(roster: Roster, contract: Contract, checks: Sequence[Check], history: Array) -> tuple[list[Any], float]:
    judge, peak = Judge(roster, contract, checks), 0.0
    for batch in batches(history):
        judge.step(batch)
        peak = max(peak, anonymous_mib())
    footer = {"records": len(history), "lag_ms": {"p99": 1.0}}
    info = JournalInfo(name="one", records=len(history), footer=footer, torn=False, meta={"host": "here"})
    verdicts = judge.finish([info])
    return verdicts, max(peak, anonymous_mib())


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
