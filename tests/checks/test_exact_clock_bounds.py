"""I13, I26 and I43 exactly at the bound by which the clocks of two hosts may differ.

What the bound leaves open is UNKNOWN or not counted, and what the rest proves stays a violation.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from compare import fold
from host_clocks import bounded, judged
from literal import Told, figure
from oracle_history import History
from oracle_sessions import answered, revoked, timely
from seeds import blocks
from soup import Soup, soup

from earwitness.checks import Flag, Kind
from earwitness.checks.catalogue import ALL
from earwitness.checks.resources.fairness import FAIRNESS, MOMENT_NS
from earwitness.checks.verdict import Outcome, Verdict

ANN, BOB, BOB2 = range(3)
MS = 1_000_000
NS = 1e-6
"""A nanosecond in ms."""
S = 1000 * MS
PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN


def ns(ms: float) -> int:
    return round(ms * MS)


# -- I13: who lost a membership, as another host recorded -------------------------------------------------------------


def lost(history: Any, at_ms: float = 50) -> Any:
    """Ann's host, 1, had Bob removed."""
    return history.add(Kind.KICK, BOB, conv=0, t=ns(at_ms), journal=1)


@pytest.mark.parametrize(
    ("sent_ms", "bound_ms", "violations"),
    [
        (50, 0, 0),
        (50 + NS, 0, 1),
        (52, 2, 0),
        (52 + NS, 2, 1),
        (52 + NS, 2 + NS, 0),
        (49, 2, 0),
    ],
)
def test_sent_about_when_the_membership_was_lost(
    new_history: Callable[..., Any], sent_ms: float, bound_ms: float, violations: int
) -> None:
    """Only what was certainly sent afterwards is forbidden; what was not is not counted, and a second one is."""
    history = lost(new_history().join(BOB, t=MS)).send(ANN, 1, t=ns(sent_ms), journal=2).hear(BOB, ANN, 1, 1, t=S)
    found = judged(history, "I13", 0, bound_ms, 0)
    assert (found.violations, found.examined) == (violations, violations)
    assert found.outcome is (FAIL if violations else UNKNOWN)
    proven = judged(history.send(ANN, 2, t=ns(60), journal=2).hear(BOB, ANN, 2, 2, t=S), "I13", 0, bound_ms, 0)
    assert (proven.outcome, proven.violations) == (FAIL, violations + 1)


@pytest.mark.parametrize(
    ("joined_ms", "bound_ms", "violations"),
    [(50, 0, 1), (50 + NS, 0, 0), (48, 2, 1), (48 + NS, 2, 0), (51, 2, 0), (1, 2, 1)],
)
def test_joined_about_when_the_membership_was_lost(
    new_history: Callable[..., Any], joined_ms: float, bound_ms: float, violations: int
) -> None:
    """He may have joined again after the loss, and then hears what is above the head, also what is pushed."""
    history = lost(new_history(delivery_bound_s=0.1).join(BOB, t=ns(joined_ms)))
    for kind in (Kind.RUN, Kind.PRESENCE, Kind.SEEN):
        history.add(kind, BOB, conv=0, conn=BOB + 1, author=ANN, t=ns(300))
    assert judged(history, "I13", 0, bound_ms).violations == 3 * violations
    history.hear(BOB, ANN, 1, 1, t=S).send(ANN, 1, t=ns(60), journal=1)
    assert judged(history, "I13", 0, bound_ms).violations == 4 * violations


@pytest.mark.parametrize(
    ("sent_ms", "bound_ms", "violations"), [(70, 0, 0), (70 - NS, 0, 1), (68, 2, 0), (68 - NS, 2, 1)]
)
def test_sent_about_when_he_joined_again(
    new_history: Callable[..., Any], sent_ms: float, bound_ms: float, violations: int
) -> None:
    """Out from 50 ms, in again from 70 ms: only what was certainly sent before that is forbidden."""
    history = lost(new_history().join(BOB, t=MS)).join(BOB, head=5, t=ns(70), conn=9)
    history.send(ANN, 1, t=ns(sent_ms), journal=2).hear(BOB, ANN, 1, 5, t=S)
    assert judged(history, "I13", 0, bound_ms, 0).violations == violations


@pytest.mark.parametrize(
    ("pushed_ms", "fault_ms", "bound_ms", "violations"),
    [
        (150, None, 0, 0),
        (150 + NS, None, 0, 1),
        (152, None, 2, 0),
        (152 + NS, None, 2, 1),
        (300, 300, 0, 0),
        (300, 300 + NS, 0, 1),
        (300, 302, 2, 0),
        (300, 302 + NS, 2, 1),
    ],
)
def test_pushed_about_the_bound(
    new_history: Callable[..., Any], pushed_ms: float, fault_ms: float | None, bound_ms: float, violations: int
) -> None:
    """100 ms are promised; a fault that another host recorded may have been on."""
    history = lost(new_history(delivery_bound_s=0.1).join(BOB, t=MS))
    if fault_ms is not None:
        history.add(Kind.FAULT, flags=int(Flag.OWN), t=ns(fault_ms), journal=1)
    history.add(Kind.RUN, BOB, conv=0, conn=BOB + 1, author=ANN, t=ns(pushed_ms))
    assert judged(history, "I13", 0, bound_ms).violations == violations


def test_a_loss_on_a_clock_that_nobody_measured(new_history: Callable[..., Any]) -> None:
    """However late the message was sent."""
    history = lost(new_history().join(BOB, t=MS)).send(ANN, 1, t=900 * S, journal=1).hear(BOB, ANN, 1, 1, t=901 * S)
    assert judged(history, "I13", 0, 0).violations == 1
    found = judged(history, "I13", 0, None)
    assert (found.outcome, found.violations) == (UNKNOWN, 0)
    assert "clocks were not compared" in found.why


# -- I43: what excuses may stand in another host's journal -------------------------------------------------------------


def asked(history: Any, sent_ms: float = 10) -> Any:
    """Ann joins at 1 ms, sends at 10 ms, and is never answered; 100 ms are promised."""
    return history.join(ANN, t=MS).send(ANN, 1, t=ns(sent_ms))


@pytest.mark.parametrize(
    ("answered_ms", "bound_ms", "outcome"),
    [(110, 0, PASS), (110 + NS, 0, FAIL), (110, 20, PASS), (110 + NS, 20, FAIL), (110 + NS, None, FAIL)],
)
def test_one_host_measures_an_answer(
    new_history: Callable[..., Any], answered_ms: float, bound_ms: float | None, outcome: Outcome
) -> None:
    """Sending and answer are of one clock, so no bound matters; another host's records are there."""
    history = asked(new_history(answer_bound_s=0.1)).ack(ANN, 1, 1, t=ns(answered_ms)).drained(t=S)
    found = judged(history.join(BOB, journal=1).drained(t=S, journal=1), "I43", 0, bound_ms)
    assert (found.outcome, found.examined) == (outcome, 1)


@pytest.mark.parametrize(("end_ms", "outcome"), [(110, UNKNOWN), (110 + NS, FAIL)])
@pytest.mark.parametrize("bound_ms", [0, 5])
def test_the_end_of_the_own_host(
    new_history: Callable[..., Any], end_ms: float, bound_ms: float, outcome: Outcome
) -> None:
    """When the run was drained, and when a connection ended, stands in the journal of the sending."""
    drained = asked(new_history(answer_bound_s=0.1)).drained(t=ns(end_ms)).join(BOB, journal=1)
    found = judged(drained.drained(t=S, journal=1), "I43", 0, bound_ms)
    assert found.outcome is outcome
    cut = asked(new_history(answer_bound_s=0.1)).cut(ANN, t=ns(end_ms)).drained(t=S)
    found = judged(cut.join(BOB, journal=1).drained(t=S, journal=1), "I43", 0, bound_ms)
    assert (found.outcome is FAIL) == (outcome is FAIL)


@pytest.mark.parametrize(
    ("lost_ms", "bound_ms", "violations"),
    [
        (110, 0, 0),
        (110 + NS, 0, 1),
        (112, 2, 0),
        (112 + NS, 2, 1),
        (112 + NS, 2 + NS, 0),
        (1, 0, 1),  # lost when she joined: the JOIN stands
        (1 + NS, 0, 0),
        (1 - 0.5, 0.5, 1),  # certainly before she joined
        (1 - 0.5 + NS, 0.5, 0),  # perhaps after it
    ],
)
def test_a_loss_that_another_host_recorded(
    new_history: Callable[..., Any], lost_ms: float, bound_ms: float, violations: int
) -> None:
    """The sender may have lost the membership before the answer was due; another message proves the violation."""
    history = asked(new_history(answer_bound_s=0.1)).add(Kind.KICK, ANN, conv=0, t=ns(lost_ms), journal=1)
    history.drained(t=9 * S).drained(t=9 * S, journal=1)
    assert judged(history, "I43", 0, bound_ms).violations == violations
    proven = judged(history.join(BOB).send(BOB, 1, t=ns(400)).drained(t=9 * S), "I43", 0, bound_ms)
    assert (proven.outcome, proven.violations) == (FAIL, violations + 1)


@pytest.mark.parametrize(
    ("on_ms", "off_ms", "bound_ms", "violations"),
    [
        (110, None, 0, 0),
        (110 + NS, None, 0, 1),
        (112, None, 2, 0),
        (112 + NS, None, 2, 1),
        (1, 10, 0, 0),
        (1, 10 - NS, 0, 1),
        (1, 8, 2, 0),
        (1, 8 - NS, 2, 1),
    ],
)
def test_a_fault_that_another_host_recorded(
    new_history: Callable[..., Any], on_ms: float, off_ms: float | None, bound_ms: float, violations: int
) -> None:
    """It may have been on between the sending and the deadline."""
    history = asked(new_history(answer_bound_s=0.1)).drained(t=9 * S)
    history.add(Kind.FAULT, flags=int(Flag.OWN), t=ns(on_ms), journal=1)
    if off_ms is not None:
        history.add(Kind.FAULT, t=ns(off_ms), journal=1)
    assert judged(history.drained(t=9 * S, journal=1), "I43", 0, bound_ms).violations == violations


@pytest.mark.parametrize("kind", [Kind.KICK, Kind.FAULT])
def test_what_excuses_on_a_clock_that_nobody_measured(new_history: Callable[..., Any], kind: Kind) -> None:
    """It may have been at any time; without it nothing depends on another clock."""
    history = asked(new_history(answer_bound_s=0.1)).drained(t=9 * S).join(BOB, journal=1).drained(t=9 * S, journal=1)
    assert judged(history, "I43", 0, None).outcome is FAIL
    client = ANN if kind is Kind.KICK else 0xFFFF_FFFF
    found = judged(history.add(kind, client, conv=0, flags=int(Flag.OWN), t=8 * S, journal=1), "I43", 0, None)
    assert (found.outcome, found.violations) == (UNKNOWN, 0)
    assert "clocks were not compared" in found.why


def test_an_end_on_a_clock_that_nobody_measured(new_history: Callable[..., Any]) -> None:
    """A journal without phases of its own (an import) takes those of others, if their times can be compared."""
    history = asked(new_history(answer_bound_s=0.1)).join(BOB, journal=1).drained(t=9 * S, journal=1)
    assert [judged(history, "I43", 0, bound).violations for bound in (0, None)] == [1, 0]


# -- I5b and I47: who has perhaps lost the membership is owed nothing --------------------------------------------------


def belonging(history: Any, lost_ms: float, sent_ms: int) -> Any:
    """Bob joins at 50 ms; what Ann says does not come to him. Her host recorded that he lost the membership."""
    history.join(BOB, t=50 * MS).drained(t=S).add(Kind.KICK, BOB, conv=0, t=ns(lost_ms), journal=1)
    history.join(ANN, journal=1).send(ANN, 1, t=sent_ms * MS, journal=1).ack(ANN, 1, 1, t=301 * MS, journal=1)
    return history.hear(ANN, ANN, 1, 1, t=302 * MS, journal=1).drained(t=S, journal=1)


PROMISES = {"misses_nothing": True, "history": False, "resume": False}
LOSSES = [(49, 0, 1), (51, 0, 0), (48 - NS, 2, 1), (48 + NS, 2, 0), (51, 2, 0)]


@pytest.mark.parametrize("id", ["I5b", "I47"])
@pytest.mark.parametrize(("lost_ms", "bound_ms", "violations"), LOSSES)
def test_belonging_after_a_loss(
    new_history: Callable[..., Any], id: str, lost_ms: float, bound_ms: float, violations: int
) -> None:
    """A device that may have joined before the loss is owed nothing."""
    history = belonging(new_history(**PROMISES), lost_ms, 300)
    assert judged(history, id, 0, bound_ms).violations == violations


@pytest.mark.parametrize(("lost_ms", "bound_ms", "violations"), LOSSES)
def test_belonging_between_a_loss_and_another_joining(
    new_history: Callable[..., Any], lost_ms: float, bound_ms: float, violations: int
) -> None:
    """I47: joined again at 400 ms, he belongs to the end, but perhaps did not at 300 ms."""
    history = belonging(new_history(**PROMISES).join(BOB, head=1, t=400 * MS, conn=9), lost_ms, 300)
    assert judged(history, "I47", 0, bound_ms).violations == violations


# -- I26: waits between hosts -----------------------------------------------------------------------------------------


def hosts(users: int = 8) -> tuple[Told, Told]:
    """Journals of two hosts: device 0 speaks on the first, all hear on the second."""
    made = [Told(users, sequence="none", fairness_factor=10.0) for _ in range(2)]
    for client in range(users):
        made[1].join(client, client + 1, -1)
    return made[0], made[1]


def say(told: Told, author: int, count: int, ack_ns: int = 5 * MS, acks: int = 1_000) -> None:
    for counter in range(1, count + 1):
        told.invoke(author, author + 1, counter)
        told.rows[-1]["t"] = counter * S
        if counter <= acks:
            told.ok(author, author + 1, counter)
            told.rows[-1]["t"] = counter * S + ack_ns


def hear(told: Told, client: int, count: int, wait_ns: int, joined_ns: int | None = None) -> None:
    """`joined_ns`: he joins that long before each sending."""
    for counter in range(1, count + 1):
        if joined_ns is not None:
            told.write(Kind.JOIN, client=client, conn=client + 1, conv=0, seq=-1)
            told.rows[-1]["t"] = counter * S - joined_ns
        told.deliver(client, client + 1, 0, counter)
        told.rows[-1]["t"] = counter * S + wait_ns


def fairness(told: tuple[Told, Told], bound_ns: int | None) -> Verdict:
    one, other = (part.run() for part in told)
    both: Any = Soup(one.roster, one.contract, [*one.journals, *other.journals], [*one.infos, *other.infos])
    both = bounded(both, [0, bound_ns or 0])
    if bound_ns is None:
        del both.infos[1].meta["clock_bound_ns"]
    return fold(both, checks=[FAIRNESS])["I26"]


@pytest.mark.parametrize(
    ("wait_ns", "usual_ns", "over_ns"),
    [
        (4000 * MS, 20 * MS, 250 * MS),  # 4.3 s (buckets) against 10 × 20.97 ms
        (530 * MS, MS, 30 * MS),  # half a second is nearer than the tenfold
        (900 * MS, 60 * MS, 0),
    ],
)
def test_a_wait_between_hosts(wait_ns: int, usual_ns: int, over_ns: int) -> None:
    """At the last bound that leaves it proven it is a violation; a nanosecond more and it is none."""
    told = hosts()
    say(told[0], 0, 100)
    for client in range(8):
        hear(told[1], client, 100, usual_ns if client else wait_ns)
    shown, usual = figure(wait_ns), figure(usual_ns)
    most = min((shown - 10 * usual - 1) // 11, shown - 500 * MS - 1)  # above tenfold, and above half a second
    assert most >= over_ns
    most = min(most, MOMENT_NS)
    assert [fairness(told, bound).violations for bound in (0, most)] == [1, 1]
    found = fairness(told, most + 1)
    assert (found.violations, found.outcome) == (0, UNKNOWN if most == MOMENT_NS else PASS)


@pytest.mark.parametrize(
    ("joined_ns", "bound_ns", "violations"),
    [(0, 0, 0), (1, 0, 1), (2 * MS, 2 * MS, 0), (2 * MS + 1, 2 * MS, 1), (5 * S, 2 * MS, 1)],
)
@pytest.mark.parametrize("sender_first", [True, False])
def test_joined_about_the_sending(joined_ns: int, bound_ns: int, violations: int, sender_first: bool) -> None:
    """A device that may not have joined yet does not count as waiting, whichever journal is read first."""
    told = hosts()
    say(told[0], 0, 100)
    for client in range(8):
        hear(told[1], client, 100, 20 * MS if client else 4 * S, None if client else joined_ns)
    assert fairness(told if sender_first else (told[1], told[0]), bound_ns).violations == violations


@pytest.mark.parametrize(("acks", "ack_ns", "what"), [(1_000, 3 * S, "answered"), (1, 5 * MS, "unanswered")])
@pytest.mark.parametrize("bound_ns", [0, 200 * MS, MOMENT_NS, MOMENT_NS + 1, None])
def test_answers_are_of_one_clock(acks: int, ack_ns: int, what: str, bound_ns: int | None) -> None:
    """An answer stands in the journal of its sending. Only the moments of a stall are compared between hosts."""
    told = hosts()
    for author in range(8):
        say(told[0], author, 20, *(() if author else (ack_ns, acks)))
    found = fairness(told, bound_ns)
    if what == "answered" and (bound_ns is None or bound_ns > MOMENT_NS):
        assert (found.outcome, found.violations) == (UNKNOWN, 0)
        assert "clocks" in found.why
    else:
        assert (found.outcome, [one.what for one in found.findings]) == (FAIL, [what])


# -- against the oracle -----------------------------------------------------------------------------------------------

ORACLE = {"I13": revoked, "I25": timely, "I43": answered}
CHECKS = [check for check in ALL if check.id in ORACLE]


@pytest.mark.parametrize("block", blocks(4))
def test_the_fold_and_the_oracle_agree(block: int) -> None:
    """On nonsense of several hosts, with any bound: the same checks fail, and enough do."""
    met: Counter[tuple[str, int, bool]] = Counter()
    for seed in range(block * 100, block * 100 + 100):
        rng = random.Random(seed)
        bowl: Any = soup(seed, 20 + seed % 120)
        bounds = [rng.choice((0, 1, 4, 30)) for _ in bowl.journals]
        bowl = bounded(bowl, bounds)
        clocks = sum(sorted(bounds)[-2:]) if len(bounds) > 1 else 0
        history = History(bowl.roster, bowl.contract, bowl.journals, bowl.infos, clocks)
        for id, verdict in fold(bowl, rng, checks=CHECKS).items():
            said = ORACLE[id](history)
            assert (verdict.outcome is FAIL) == (said.outcome == "FAIL"), (seed, id, clocks, verdict, said)
            assert id != "I13" or verdict.violations == said.violations, (seed, clocks)
            met[id, min(clocks, 2), verdict.outcome is FAIL] += 1
    assert all(met[id, clocks, failed] for id in ("I13", "I43") for clocks in (0, 2) for failed in (True, False)), met
