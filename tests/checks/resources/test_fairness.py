"""I26: nobody is starved."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from compare import fold
from host_clocks import bounded
from literal import Told, figure

from earwitness.checks.engine.tables import MESSAGE
from earwitness.checks.history.record import FOREIGN, Flag, Kind
from earwitness.checks.resources.fairness import (
    AHEAD_MOST,
    BUCKETS,
    FAIRNESS,
    LATE_MOST,
    MOMENT_NS,
    Waits,
    _quantile_ns,
    bucket_of,
    jain,
    waited,
)
from earwitness.checks.verdict import Outcome, Verdict

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


@pytest.mark.parametrize(("before_ns", "violations"), [(0, 0), (1, 1)])
def test_who_joined_at_the_moment_of_sending_was_not_kept_waiting(before_ns: int, violations: int) -> None:
    """Also where the journal with the sending is read last; a nanosecond earlier he was."""
    told, last = crowd(), crowd()
    for counter in range(1, 101):
        told.write(Kind.JOIN, client=0, conn=1, conv=0, seq=-1)
        told.rows[-1]["t"] = counter * S - before_ns
        told.deliver(0, 1, 0, counter)
        told.rows[-1]["t"] = counter * S + 4000 * MS
    for client in range(1, 8):
        hear(told, client, 100, 20)
    say(last, 0, 100)
    first, second = told.run(), last.run()
    both = replace(first, journals=[*first.journals, *second.journals], infos=[*first.infos, *second.infos])
    assert fold(both, checks=[FAIRNESS])["I26"].violations == violations


def test_while_a_fault_was_on_some_are_worse_off() -> None:
    """Then nobody is blamed, and nobody is cleared."""
    told = heard_by((100, 4000, 0, 0))
    told.write(Kind.FAULT, author=FOREIGN, flags=int(Flag.OWN))
    assert (verdict(told).outcome, verdict(told).violations) == (Outcome.UNKNOWN, 0)
    fair = heard_by((100, 20, 0, 0))
    fair.write(Kind.FAULT, author=FOREIGN, flags=int(Flag.OWN))
    assert verdict(fair).outcome is Outcome.PASS


@pytest.mark.parametrize("seed", range(36))
def test_against_every_sample(seed: int) -> None:
    """With all waiting times written out the same devices stand out, whichever journal is read first.

    In every second one the whole platform stands still for some messages, each of which is a moment of its own. In two
    of three the author's journal is another host's, whose clock is known to a bound.
    """
    rng = random.Random(seed)
    told, speech, count = crowd(7), Told(7), 150
    clocks = rng.randrange(MOMENT_NS) if seed % 3 else 0
    say(speech, 0, count)
    still = {n for n in range(count) if seed % 2 and rng.random() < rng.choice((0.05, 0.5))}
    waits: dict[int, list[float]] = {}
    for client in range(7):
        slow, long = rng.random() < 0.3, rng.uniform(600, 6000)
        waits[client] = [
            rng.uniform(long, 1.5 * long)
            if slow or rng.random() < (0.6 if n in still else 0.005)
            else rng.uniform(1, 90)
            for n in range(count)
        ]
        for counter, ms in enumerate(waits[client], start=1):
            told.deliver(client, client + 1, 0, counter)
            told.rows[-1]["t"] = counter * S + int(ms * MS)
    parts: Any = [part.run() for part in (told, speech)]
    journals, infos = [*parts[0].journals, *parts[1].journals], [*parts[0].infos, *parts[1].infos]
    run = bounded(replace(parts[0], journals=journals, infos=infos), [0, clocks])
    found = fold(run, checks=[FAIRNESS])["I26"]
    stalled = {n for n in range(count) if 3 * sum(waits[client][n] > 500 for client in waits) >= 7}
    kept = [n for n in range(count) if n not in stalled or 2 * len(stalled) > count]
    starved = set()
    for share, least in ((0.5, 10), (0.99, 100)):
        those = {c: sorted(w[n] for n in kept)[int(np.ceil(share * len(kept))) - 1] for c, w in waits.items()}
        surely = {c: figure(int(ms * MS)) - clocks for c, ms in those.items()}
        usual = float(np.median([figure(int(ms * MS)) for ms in those.values()])) + clocks
        starved |= {c for c, ns in surely.items() if len(kept) >= least and ns > 10 * usual and ns > 500 * MS}
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


# -- exactly at a limit -----------------------------------------------------------------------------------------------


def test_five_are_a_crowd() -> None:
    """One of five hears late, or is hardly ever answered."""
    told = crowd(5)
    say(told, 0, 10)
    for client in range(5):
        hear(told, client, 10, 20 if client else 4000)
    assert verdict(told).violations == 1
    told = crowd(5)
    for author in range(5):
        say(told, author, 20, ack_ms=5 if author else None)
    assert [finding.what for finding in verdict(told).findings] == ["unanswered"]


def test_an_answer_to_a_later_attempt_is_an_answer() -> None:
    """Sent again after a cut, and then acknowledged: nobody was left without. Twice of one message is once."""
    for again, violations in ((range(1, 21), 0), (range(1, 3), 0), ((1,) * 20, 1)):
        told = crowd()
        for author in range(8):
            say(told, author, 20, ack_ms=5 if author else None)
        for counter in again:
            told.invoke(0, 1, counter, attempt=2)
            told.ok(0, 1, counter, attempt=2)
        assert verdict(told).violations == violations


def test_a_tenth_of_the_answers_is_enough() -> None:
    """Two of twenty, where all others have all and the factor is ten."""
    told = crowd()
    for author in range(8):
        say(told, author, 20, ack_ms=5 if author else None)
    told.ok(0, 1, 1)
    told.ok(0, 1, 2)
    assert verdict(told).violations == 0


@pytest.mark.parametrize(("ms", "violations"), [(2000, 0), (2300, 1)])
def test_as_many_times_as_the_factor(ms: int, violations: int) -> None:
    """Twice as long as usual is allowed where the factor is two."""
    told = crowd(factor=2.0)
    say(told, 0, 20)
    for client in range(8):
        hear(told, client, 20, 1000 if client else ms)
    assert verdict(told).violations == violations


def test_twice_as_much_to_hear_is_an_equal_load() -> None:
    """Exactly twice as much as the one in the middle has: two messages at a time, of which the others hear one."""
    told = crowd()
    say(told, 0, 200)
    for client in range(8):
        hear(told, client, 200, 20 if client else 4000)
    told.rows = [row for row in told.rows if row["kind"] != Kind.DELIVER or not row["client"] or row["counter"] % 2]
    for row in told.rows[8:]:
        row["t"] -= (row["counter"] // 2) * S - (row["counter"] % 2 == 0) * MS
    assert verdict(told).violations == 1


@pytest.mark.parametrize(("before_ns", "compared"), [(0, 7), (1, 8)])
@pytest.mark.parametrize("heard_first", [False, True])
def test_joined_at_the_moment_of_the_sending(before_ns: int, compared: int, heard_first: bool) -> None:
    """Of ten messages the first was sent then: nine are too few to compare. A nanosecond before it is ten."""
    told = crowd()
    told.rows[1]["t"] = S - before_ns
    if not heard_first:
        say(told, 0, 10)
    for client in range(8):
        hear(told, client, 10, 20)
    if heard_first:
        say(told, 0, 10)
    assert verdict(told).examined == compared


@pytest.mark.parametrize(("kind", "flags", "compared"), [(Kind.LEAVE, 0, 7), (Kind.JOIN, Flag.CONTINUED, 8)])
def test_who_left_and_who_went_on(kind: Kind, flags: int, compared: int) -> None:
    """After LEAVE nothing that comes is a waiting time; a subscription that goes on is the same one."""
    told = heard_by((0, 0, 0, 0))
    told.write(kind, client=0, conn=1, conv=0, seq=-1, flags=int(flags))
    told.rows[-1]["t"] = 500 * S
    hear(told, 0, 100, 600_000)
    assert verdict(told).examined == compared


def test_a_subscription_that_only_goes_on_is_one() -> None:
    """Its beginning is not on record, or was on another connection."""
    told = crowd()
    told.rows[1]["flags"] = int(Flag.CONTINUED)
    say(told, 0, 10)
    for client in range(8):
        hear(told, client, 10, 20)
    assert verdict(told).examined == 8


def test_who_is_not_in_the_roster_is_not_compared() -> None:
    """The first client after all that there are sends, and is answered."""
    told = heard_by()
    told.about(Kind.INVOKE, 8, 9, 0, 101)
    told.about(Kind.OK, 8, 9, 0, 101)
    assert (verdict(told).outcome, verdict(told).examined) == (Outcome.PASS, 8)


def late(*rows: tuple[int, int, int, int]) -> Waits:
    """Waits of two devices: (client, ns, message, record)."""
    waits = Waits(2)
    for client, ns, mid, rec in rows:
        counts, kept_rows, kept, of = waits.columns(1, 8)
        waited(counts, kept_rows, kept, of, *map(np.int64, (client, mid, ns, AHEAD_MOST, rec)))
    return waits


def test_the_longest_wait_is_shown() -> None:
    """The longest wait is shown, of equal ones the first record in any order. Waits below FLOOR_S are not shown."""
    rows = [(0, 900 * MS, 1, 7), (0, 900 * MS, 2, 5), (0, 600 * MS, 3, 3), (1, 500 * MS, 4, 1)]
    messages = np.zeros(8, MESSAGE)
    messages["invoke_rec"] = np.arange(8) + 100
    for order in (rows, rows[::-1]):
        sketch = late(*order).sketch(messages)
        assert sketch.longest(0) == (102, 5)
        assert sketch.longest(1) is None
        parts = [late(row).sketch(messages) for row in order]
        assert parts[0].merged(parts[1]).merged(parts[2]).merged(parts[3]).longest(0) == (102, 5)


STALLS = [
    pytest.param(4, 3, 0, id="half of the devices for a moment"),
    pytest.param(3, 3, 0, id="every third wait"),
    pytest.param(2, 3, 2, id="fewer than every third"),
    pytest.param(8, 60, 0, id="all, at most moments"),
    pytest.param(3, 51, 3, id="a third, at more than half of the moments"),
    pytest.param(3, 50, 0, id="a third, at half of the moments"),
]


@pytest.mark.parametrize(("devices", "moments", "violations"), STALLS)
def test_a_platform_that_stands_still_starves_nobody(devices: int, moments: int, violations: int) -> None:
    """Nine devices hear a message each second; some of them late, at the last moments."""
    told = crowd(9)
    say(told, 0, 100)
    for client in range(9):
        hear(told, client, 100, 20, late=moments if client < devices else 0, late_ms=3000)
    assert verdict(told).violations == violations


def test_one_who_is_starved_beside_a_standstill() -> None:
    """What the other moments prove stays a violation, and its counterexample is of another moment."""
    told = crowd(9)
    say(told, 0, 200)
    for client in range(9):
        hear(told, client, 200, 20, late=4, late_ms=9000)
    for row in told.rows:
        if row["kind"] == Kind.DELIVER and row["client"] == 8 and row["counter"] in (10, 20, 30):
            row["t"] = row["counter"] * S + 3000 * MS
    found = verdict(told)
    assert [finding.facts["client"] for finding in found.findings] == [8]
    (_, sent), (_, end) = found.findings[0].records
    rows = told.run().journals[0]
    times = {int(row["index"]): int(row["t"]) for row in rows}
    assert (times[end] - times[sent]) == 3000 * MS


@pytest.mark.parametrize(("apart_ns", "violations"), [((1 << 28) - 1, 0), (1 << 28, 1)])
def test_a_moment_is_a_quarter_of_a_second(apart_ns: int, violations: int) -> None:
    """Messages are compared with those that were sent in the same moment."""
    told = crowd(9)
    say(told, 0, 200)
    for client in range(9):
        hear(told, client, 200, 20)
    base = 4 << 28
    for row in told.rows:
        pair, second = divmod(row["counter"] - 1, 2)
        if row["kind"] in (Kind.INVOKE, Kind.DELIVER) and row["counter"]:
            sent = base + pair * (1 << 32) + second * apart_ns
            starved = row["client"] == 8 and pair in (10, 11, 12)
            slow = starved or (row["client"] < 8 and pair in (10, 11, 12) and not second)
            row["t"] = sent + (0 if row["kind"] == Kind.INVOKE else 3000 * MS if slow else 20 * MS)
    assert verdict(told).violations == violations


def test_too_many_long_waits_to_tell() -> None:
    """A table that is full says so, and holds no more."""
    waits = late((0, 900 * MS, 1, 7))
    assert not waits.sketch(np.zeros(8, MESSAGE)).full
    waits._late = np.zeros(LATE_MOST, waits._late.dtype)
    waits._kept[0] = LATE_MOST
    assert waits.sketch(np.zeros(8, MESSAGE)).full
    assert len(waits.columns(10, 8)[1]) <= LATE_MOST
    behind = np.zeros(3, waits._late.dtype)
    kept = np.zeros(1, np.int64)
    for _ in range(3):
        waited(waits.counts, behind[:2], kept, waits._of, 0, 1, 900 * MS, 1, 7)
    assert (kept[0], behind["rec"].tolist()) == (2, [7, 7, 0]), "nothing is written behind the table"


def test_the_last_bucket_holds_all_longer_waits() -> None:
    """Also those of centuries."""
    assert bucket_of(np.int64(1 << 62)) == BUCKETS - 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"torn": True, "footer": None}, "a load process ended early, or its record is missing"),
        ({"footer": {"lag_ms": {"p99": 1.0, "max": 501.0}}}, "a load process stalled for 0.5 s"),
    ],
    ids=["torn", "stood still"],
)
def test_what_the_tester_did_starves_nobody(change: dict[str, Any], why: str) -> None:
    """One received everything four seconds late; where our own process failed, that is not the platform's fault."""
    run = heard_by((100, 4000, 0, 0)).run()
    assert fold(run, checks=[FAIRNESS])["I26"].outcome is Outcome.FAIL
    run.infos[0] = replace(run.infos[0], **change)
    found = fold(run, checks=[FAIRNESS])["I26"]
    assert (found.outcome, found.violations) == (Outcome.UNKNOWN, 0)
    assert found.why.startswith(why)


def test_who_stood_still_for_as_long_as_nobody_notices() -> None:
    """A load process that stood still for exactly half a second excuses nothing."""
    run = heard_by((100, 4000, 0, 0)).run()
    run.infos[0] = replace(run.infos[0], footer={"lag_ms": {"p99": 1.0, "max": 500.0}})
    assert fold(run, checks=[FAIRNESS])["I26"].outcome is Outcome.FAIL
