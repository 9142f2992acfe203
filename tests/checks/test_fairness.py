"""I26: nobody is starved."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from compare import fold
from literal import Told

from checks.fairness import BUCKETS, FAIRNESS, _quantile_ns, bucket_of, jain
from checks.record import FOREIGN, Flag, Kind
from checks.verdict import Outcome, Verdict

MS = 1_000_000
S = 1000 * MS


def crowd(users: int = 8, factor: float | None = 10.0) -> Told:
    told = Told(users, sequence="none", fairness_factor=factor)
    for client in range(users):
        told.join(client, client + 1, -1)
    return told


def say(told: Told, author: int, count: int, *, first: int = 1, ack_ms: int | None = 5) -> None:
    for counter in range(first, first + count):
        told.invoke(author, author + 1, counter)
        told.rows[-1]["t"] = counter * S
        if ack_ms is not None:
            told.ok(author, author + 1, counter)
            told.rows[-1]["t"] = counter * S + ack_ms * MS


def hear(told: Told, client: int, count: int, ms: float, *, late: int = 0, late_ms: int = 0) -> None:
    """`count` messages of device 0 after `ms`, the last `late` of them after `late_ms`."""
    for counter in range(1, count + 1):
        told.deliver(client, client + 1, 0, counter)
        told.rows[-1]["t"] = counter * S + int((late_ms if counter > count - late else ms) * MS)


def verdict(told: Told) -> Verdict:
    return fold(told.run(), checks=[FAIRNESS])["I26"]


def heard_by(*waits: tuple[int, float, int, int], count: int = 100) -> Told:
    """Eight hear `count` messages; device n as waits[n] says: (messages, ms, late ones, their ms)."""
    told = crowd()
    say(told, 0, count)
    for client in range(8):
        n, ms, late, late_ms = waits[client] if client < len(waits) else (count, 20, 0, 0)
        hear(told, client, n, ms, late=late, late_ms=late_ms)
    return told


@pytest.mark.parametrize(
    ("one", "violations"),
    [
        ((100, 20, 0, 0), 0),
        ((100, 4000, 0, 0), 1),
        ((100, 400, 0, 0), 0),
        ((100, 20, 2, 4000), 1),
        ((100, 20, 1, 4000), 0),
        ((50, 4000, 0, 0), 1),
        ((9, 4000, 0, 0), 0),
    ],
)
def test_one_who_hears_later_than_others(one: tuple[int, float, int, int], violations: int) -> None:
    """Always, or in more than one of a hundred; not below half a second, not by a single message of a hundred, and not
    with too few samples."""
    found = verdict(heard_by(one))
    assert found.violations == violations
    assert found.outcome is (Outcome.FAIL if violations else Outcome.PASS)
    if violations:
        assert found.findings[0].facts["client"] == 0


def test_where_all_are_slow_nobody_is_starved() -> None:
    """Two seconds are usual; five are no tenfold of that."""
    slow = [(100, 2000, 0, 0)] * 8
    assert verdict(heard_by((100, 5000, 0, 0), *slow[1:])).violations == 0
    assert verdict(heard_by((100, 30_000, 0, 0), *slow[1:])).violations == 1


def test_who_has_more_to_hear_is_not_compared() -> None:
    """Three times as many messages as usual are another load."""
    told = crowd()
    say(told, 0, 300)
    for client in range(8):
        hear(told, client, 300 if client == 0 else 100, 4000 if client == 0 else 20)
    found = verdict(told)
    assert (found.violations, found.examined) == (0, 7)


def test_one_who_is_answered_late_or_never() -> None:
    """Seven are answered after 5 ms; one after three seconds, or in one of twenty cases."""
    for ack_ms, first, what in ((3000, 1, "answered"), (None, 2, "unanswered")):
        told = crowd()
        for author in range(8):
            say(told, author, 20, ack_ms=5 if author else ack_ms)
        if first == 2:
            told.ok(0, 1, 1)
        found = verdict(told)
        assert (found.outcome, found.violations, found.findings[0].what) == (Outcome.FAIL, 1, what)
        assert found.facts["jain"] < 1.0 if what == "unanswered" else found.facts["jain"] == 1.0


def test_too_few_to_say_what_is_usual() -> None:
    """Four devices are no crowd; without a promise nothing is judged."""
    told = crowd(4)
    say(told, 0, 100)
    for client in range(4):
        hear(told, client, 100, 20 if client else 4000)
    assert (verdict(told).outcome, verdict(told).examined) == (Outcome.UNKNOWN, 0)
    assert not verdict(crowd(factor=None)).promised


def test_who_joined_later_was_not_kept_waiting() -> None:
    """What is heard on a connection that joined after the sending says nothing."""
    told = heard_by((0, 0, 0, 0))
    told.write(Kind.JOIN, client=0, conn=1, conv=0, seq=-1)
    told.rows[-1]["t"] = 500 * S
    hear(told, 0, 100, 600_000)
    assert verdict(told).violations == 0


def test_while_a_fault_was_on_some_are_worse_off() -> None:
    """Then nobody is blamed, and nobody is cleared."""
    told = heard_by((100, 4000, 0, 0))
    told.write(Kind.FAULT, author=FOREIGN, flags=int(Flag.OWN))
    assert (verdict(told).outcome, verdict(told).violations) == (Outcome.UNKNOWN, 0)
    fair = heard_by((100, 20, 0, 0))
    fair.write(Kind.FAULT, author=FOREIGN, flags=int(Flag.OWN))
    assert verdict(fair).outcome is Outcome.PASS


@pytest.mark.parametrize("seed", range(8))
def test_against_every_sample(seed: int) -> None:
    """With all waiting times written out the same devices stand out, whichever journal is read first."""
    rng = random.Random(seed)
    told = crowd(7)
    say(told, 0, 120)
    waits: dict[int, list[float]] = {}
    for client in range(7):
        slow = rng.random() < 0.3
        waits[client] = [
            rng.uniform(3000, 9000) if slow or rng.random() < 0.005 else rng.uniform(1, 90) for _ in range(120)
        ]
        for counter, ms in enumerate(waits[client], start=1):
            told.deliver(client, client + 1, 0, counter)
            told.rows[-1]["t"] = counter * S + int(ms * MS)
    run: Any = told.run()
    found = fold(run, checks=[FAIRNESS])["I26"]
    starved = set()
    for share in (0.5, 0.99):
        figures = {c: sorted(w)[int(np.ceil(share * len(w))) - 1] for c, w in waits.items()}
        usual = float(np.median(list(figures.values())))
        starved |= {c for c, ms in figures.items() if ms > 10 * 1.1 * usual and ms > 550}
    assert {f.facts["client"] for f in found.findings} == starved
    assert fold(run, random.Random(seed), checks=[FAIRNESS])["I26"].violations == len(starved)


def test_buckets_are_fine_enough() -> None:
    """A figure is at most an eighth above the value, and never below it."""
    for ns in [70_000, 1_000_000, 123_456_789, 5 * S, 100 * S]:
        counts = np.zeros(BUCKETS, np.uint32)
        counts[bucket_of(np.int64(ns))] = 3
        assert ns <= _quantile_ns(counts, 0.99) <= ns * 1.13


def test_jain() -> None:
    """All alike: 1; one of four has everything: a quarter."""
    assert (jain(np.ones(4)), jain(np.array([1.0, 0, 0, 0]))) == (1.0, 0.25)
