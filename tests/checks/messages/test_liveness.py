"""I25: acknowledged to heard within a bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from earwitness.checks import Batch, Flag, Kind, Outcome, Phase

ANN, BOB, BOB2, EVE = range(4)
MS = 1_000_000
ON = int(Flag.OWN)


def sent(history: Any, *hearings: tuple[int, int], joined: int = 1, acked: int = 20, **slots: int) -> Any:
    """Ann sends at 10 ms, acknowledged at `acked`; each (client, ms) of `hearings` hears it."""
    for client in dict.fromkeys(client for client, _ in hearings):
        history.join(client, t=joined * MS, **slots)
    history.send(ANN, 1, t=10 * MS)
    history.ack(ANN, 1, 1, t=acked * MS)
    for client, at in hearings:
        history.hear(client, ANN, 1, 1, t=at * MS, **slots)
    return history


@pytest.mark.parametrize(("at", "violations"), [(15, 0), (119, 0), (120, 0), (121, 1), (5000, 1)])
@pytest.mark.parametrize("journal", [0, 1])
def test_bound(new_history: Callable[..., Any], at: int, violations: int, journal: int) -> None:
    """A message acknowledged at 20 ms has until 120 ms, in whatever journal it is heard."""
    history = sent(new_history(delivery_bound_s=0.1), (BOB, at), journal=journal)
    verdict = history.judge()["I25"]
    assert (verdict.examined, verdict.violations) == (1, violations)
    assert verdict.outcome is (Outcome.FAIL if violations else Outcome.PASS)
    if at == 121:
        assert history.tell(verdict).sentence == (
            "#1 of ann was delivered in room-1 101 ms after it was acknowledged, later than promised"
        )


@pytest.mark.parametrize(("joined", "violations"), [(9, 1), (11, 0)])
def test_heard_before_its_sending_is_read(new_history: Callable[..., Any], joined: int, violations: int) -> None:
    """The listener's journal is read first; whether he was there at the sending is decided when that is known."""
    history = new_history(delivery_bound_s=0.1).join(BOB, t=joined * MS).hear(BOB, ANN, 1, 1, t=500 * MS)
    history.send(ANN, 1, t=10 * MS, journal=1).ack(ANN, 1, 1, t=20 * MS, journal=1)
    assert history.judge()["I25"].violations == violations


def test_a_late_joiner_does_not_hide_another(new_history: Callable[..., Any]) -> None:
    """The latest of all joined after the sending; an earlier one was late too."""
    history = new_history(delivery_bound_s=0.1).join(BOB, t=MS).send(ANN, 1, t=10 * MS).join(BOB2, t=11 * MS)
    history.ack(ANN, 1, 1, t=20 * MS).hear(BOB, ANN, 1, 1, t=300 * MS).hear(BOB2, ANN, 1, 1, t=400 * MS)
    assert history.judge()["I25"].violations == 1


@pytest.mark.parametrize("journal", [0, 1])
def test_a_late_joiner_alone_is_late(new_history: Callable[..., Any], journal: int) -> None:
    """One heard in time; another, who joined after the sending, owes nothing, whichever journal is read first."""
    history = new_history(delivery_bound_s=0.1).join(BOB, t=MS).send(ANN, 1, t=10 * MS, journal=journal)
    history.join(BOB2, t=11 * MS).ack(ANN, 1, 1, t=20 * MS, journal=journal)
    history.hear(BOB, ANN, 1, 1, t=30 * MS).hear(BOB2, ANN, 1, 1, t=400 * MS)
    verdict = history.judge()["I25"]
    assert (verdict.examined, verdict.violations) == (1, 0)


def test_one_of_many(new_history: Callable[..., Any]) -> None:
    """A message counts once, however many heard it late; the latest is shown."""
    verdict = sent(new_history(delivery_bound_s=0.1), (BOB, 150), (BOB2, 400)).judge()["I25"]
    assert (verdict.examined, verdict.violations) == (1, 1)
    assert verdict.findings[0].records[-1] == (0, 6)


def test_two_who_hear_it_last_at_the_same_time(new_history: Callable[..., Any]) -> None:
    """The later record is shown, also if the other is decided on later: it was read before the sending."""
    history = new_history(delivery_bound_s=0.1).join(BOB, t=MS).hear(BOB, ANN, 1, 1, t=400 * MS)
    history.join(BOB2, t=MS, journal=1).send(ANN, 1, t=10 * MS, journal=1).ack(ANN, 1, 1, t=20 * MS, journal=1)
    found = history.hear(BOB2, ANN, 1, 1, t=400 * MS, journal=1).judge()["I25"].findings[0]
    assert found.records[-1] == (1, 4)


def test_who_owes_nothing(new_history: Callable[..., Any]) -> None:
    """The author's own device, who joined after the sending, who never joined, a second delivery, never heard."""
    for history in (
        sent(new_history(delivery_bound_s=0.1), (ANN, 500)),
        sent(new_history(delivery_bound_s=0.1), (BOB, 500), joined=11),
        new_history(delivery_bound_s=0.1).send(ANN, 1).ack(ANN, 1, 1).hear(BOB, ANN, 1, 1, t=900 * MS),
        new_history(delivery_bound_s=0.1).join(BOB).send(ANN, 1).ack(ANN, 1, 1),
        new_history(delivery_bound_s=0.1).join(BOB).send(ANN, 1).hear(BOB, ANN, 1, 1, t=900 * MS),
    ):
        verdict = history.judge()["I25"]
        assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0)
    assert sent(new_history(delivery_bound_s=0.1), (BOB, 30), (BOB, 500)).judge()["I25"].violations == 0
    left = new_history(delivery_bound_s=0.1).join(BOB).leave(BOB).send(ANN, 1).ack(ANN, 1, 1).join(BOB, head=1)
    assert left.hear(BOB, ANN, 1, 1, t=900 * MS).judge()["I25"].examined == 0


def test_a_resumed_subscription_goes_on(new_history: Callable[..., Any]) -> None:
    """JOIN with CONTINUED on the same connection does not begin the duty anew."""
    history = new_history(delivery_bound_s=0.1).join(BOB, t=MS).send(ANN, 1, t=10 * MS).ack(ANN, 1, 1, t=20 * MS)
    history.join(BOB, t=30 * MS, flags=int(Flag.CONTINUED)).hear(BOB, ANN, 1, 1, t=500 * MS)
    assert history.judge()["I25"].violations == 1


@pytest.mark.parametrize(
    ("faults", "violations"),
    [
        ([(15, ON)], 0),
        ([(50, ON)], 0),
        ([(120, ON)], 0),
        ([(121, ON)], 1),
        ([(2, ON), (5, 0)], 1),
        ([(2, ON), (10, 0)], 0),
        ([(2, ON), (200, 0)], 0),
        ([(2, ON)], 0),
        ([(50, 0)], 0),
        ([(9, 0)], 1),
    ],
)
def test_faults(new_history: Callable[..., Any], faults: list[tuple[int, int]], violations: int) -> None:
    """A fault that is on, or switched, between sending (10 ms) and bound (120 ms) voids the message."""
    history = sent(new_history(delivery_bound_s=0.1), (BOB, 900))
    for at, flags in faults:
        history.add(Kind.FAULT, author=1 << 31, flags=flags, t=at * MS, journal=1)
    verdict = history.judge()["I25"]
    assert (verdict.examined, verdict.violations) == (violations, violations)


@pytest.mark.parametrize(("at_ns", "violations"), [(120 * MS, 0), (120 * MS + 1, 1)])
@pytest.mark.parametrize("what", ["fault", "drain"])
def test_the_last_moment_of_the_bound(new_history: Callable[..., Any], what: str, at_ns: int, violations: int) -> None:
    """What happens at it voids the message, what happens a nanosecond later does not."""
    history = sent(new_history(delivery_bound_s=0.1), (BOB, 900))
    if what == "fault":
        history.add(Kind.FAULT, author=1 << 31, flags=ON, t=at_ns, journal=1)
    else:
        history.add(Kind.PHASE, counter=int(Phase.DRAIN), t=at_ns, journal=1)
    assert history.judge()["I25"].violations == violations


@pytest.mark.parametrize(("before_ns", "late"), [(0, 0), (1, 1)])
@pytest.mark.parametrize("first_read", ["sending", "hearing"])
def test_joined_at_the_moment_of_the_sending(
    new_history: Callable[..., Any], before_ns: int, late: int, first_read: str
) -> None:
    """Then nothing is owed; a nanosecond before, it is. Another one heard it in time, or did not hear it."""
    for others in ((BOB2,), ()):
        history = new_history(delivery_bound_s=0.1)
        journals = (0, 1) if first_read == "sending" else (1, 0)
        for client in others:
            history.join(client, t=MS, journal=journals[1])
        history.send(ANN, 1, t=10 * MS, journal=journals[0]).ack(ANN, 1, 1, t=20 * MS, journal=journals[0])
        history.join(BOB, t=10 * MS - before_ns, journal=journals[1])
        for client in others:
            history.hear(client, ANN, 1, 1, t=30 * MS, journal=journals[1])
        history.hear(BOB, ANN, 1, 1, t=300 * MS, journal=journals[1])
        history.told.sort(key=lambda told: told[0])
        verdict = history.judge()["I25"]
        assert (verdict.examined, verdict.violations) == (max(late, len(others)), late)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("other_ms", "shown"), [(400, (1, 2)), (110, (0, 4))])
def test_the_latest_hearing_is_shown(
    new_history: Callable[..., Any], order: tuple[int, int], other_ms: int, shown: tuple[int, int]
) -> None:
    """Of two at one moment the one in the later journal, whichever is read first."""
    history = sent(new_history(delivery_bound_s=0.1), (BOB, 400)).join(BOB2, t=MS, journal=1)
    arrays = history.hear(BOB2, ANN, 1, 1, t=other_ms * MS, journal=1).arrays()
    verdict = history.judge([Batch(journal, arrays[journal]) for journal in order])["I25"]
    assert [finding.records[-1] for finding in verdict.findings] == [shown]


def test_going_on_after_leaving_is_joining(new_history: Callable[..., Any]) -> None:
    """What was sent meanwhile is not owed."""
    history = new_history(delivery_bound_s=0.1).join(BOB, t=MS).leave(BOB).send(ANN, 1, t=10 * MS)
    history.ack(ANN, 1, 1, t=20 * MS).join(BOB, head=1, t=30 * MS, flags=int(Flag.CONTINUED))
    assert history.hear(BOB, ANN, 1, 1, t=900 * MS).judge()["I25"].examined == 0


def test_as_much_lag_as_is_allowed(new_history: Callable[..., Any]) -> None:
    """A p99 of exactly the bound is not beyond it."""
    history = sent(new_history(delivery_bound_s=0.1), (BOB, 900))
    history.facts["lag_bound_ms"] = 1.0
    assert history.judge()["I25"].violations == 1


@pytest.mark.parametrize(("drain", "violations"), [(100, 0), (120, 0), (121, 1)])
def test_drain(new_history: Callable[..., Any], drain: int, violations: int) -> None:
    """A bound that the end of the run cut off is none; one that had passed before stays."""
    history = sent(new_history(delivery_bound_s=0.1), (BOB, 900))
    history.add(Kind.PHASE, counter=int(Phase.DRAIN), t=drain * MS, journal=1)
    assert history.judge()["I25"].violations == violations


def test_times_that_are_not_to_be_trusted(new_history: Callable[..., Any]) -> None:
    """A lagging loop, or clocks of several hosts, make it UNKNOWN and say so."""
    history = sent(new_history(delivery_bound_s=0.1), (BOB, 900))
    history.facts["lag_bound_ms"] = 0.5
    verdict = history.judge()["I25"]
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)
    assert "1 messages seem late" in verdict.why


def test_first_acknowledgement_and_first_sending_count(new_history: Callable[..., Any]) -> None:
    """A retry does not extend the bound."""
    history = sent(new_history(delivery_bound_s=0.1), (BOB, 150)).send(ANN, 1, attempt=2, t=90 * MS)
    assert history.ack(ANN, 1, 1, attempt=2, t=100 * MS).judge()["I25"].violations == 1


def test_no_bound(new_history: Callable[..., Any]) -> None:
    """Without a bound nothing is promised."""
    verdict = sent(new_history(), (BOB, 900)).judge()["I25"]
    assert (verdict.outcome, verdict.promised, verdict.examined) == (Outcome.UNKNOWN, False, 0)


@pytest.mark.parametrize(("held_ms", "outcome"), [(29.0, Outcome.FAIL), (30.0, Outcome.UNKNOWN)])
def test_read_late_by_the_tester(new_history: Callable[..., Any], held_ms: float, outcome: Outcome) -> None:
    """A delivery 130 ms after the acknowledgement, where 100 ms are promised: 30 ms may be the tester's own."""
    history = sent(new_history(delivery_bound_s=0.1), (BOB, 150))
    infos = history.infos
    history.infos = lambda: [replace(info, footer={**info.footer, "held_up_ms": held_ms}) for info in infos()]
    verdict = history.judge()["I25"]
    assert verdict.outcome is outcome
    if outcome is Outcome.UNKNOWN:
        assert verdict.why.endswith("had more to read than it had read for 0.03 s in all; 1 messages seem late")
