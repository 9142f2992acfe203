"""Journals of several hosts, whose clocks were measured to a bound: no check fails on less than that bound."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from auth_soup import auth_soup
from compare import fold
from device_soup import device_soup
from host_clocks import judged, of_hosts
from rough import rough
from seeds import blocks
from simulator import simulate
from soup import soup
from soup_faults import soup_of_faults

from earwitness.checks import Flag, Kind, Place
from earwitness.checks.history.record import Artefact, FaultKind, Way
from earwitness.checks.verdict import Outcome

MS = 1_000_000
ANN, BOB = 0, 1
SOUPS: dict[str, Callable[[int], Any]] = {
    "messages": lambda seed: soup(seed, 30 + seed % 50),
    "auth": lambda seed: auth_soup(seed, 30 + seed % 90),
    "devices": lambda seed: device_soup(seed, 20 + seed % 60),
    "faults": lambda seed: soup_of_faults(seed, 8 + seed % 60),
}


def failed(run: Any) -> dict[str, int]:
    return {id: v.violations for id, v in fold(run).items() if v.outcome is Outcome.FAIL}


@pytest.mark.parametrize("block", blocks(4))
def test_correct_runs(block: int) -> None:
    """However rough, and whatever the hosts' clocks: nothing that is promised fails."""
    rng = random.Random(block)
    for seed in range(block * 12, block * 12 + 12):
        _, shifted = of_hosts(simulate(seed, **rough(seed)), rng, rng.choice((1, 3 * MS, 40 * MS)))
        verdicts = fold(shifted)
        assert [id for id, v in verdicts.items() if v.outcome is Outcome.FAIL and v.promised] == [], seed


@pytest.mark.parametrize("block", blocks(4, 1))
@pytest.mark.parametrize("kind", SOUPS)
def test_what_fails_fails_on_one_clock_too(kind: str, block: int) -> None:
    """On nonsense: a violation that the hosts' clocks alone made is never reported."""
    rng, met = random.Random(block), Counter[str]()
    for seed in range(block * 20, block * 20 + 20):
        one, shifted = of_hosts(SOUPS[kind](seed), rng, rng.choice((1, 1000, MS, 50 * MS, 1000 * MS)))
        there = failed(shifted)
        met.update(there)
        assert there.keys() <= failed(one).keys(), (kind, seed)
    assert met, "no soup had a violation"


@pytest.mark.parametrize(
    ("at", "joined", "bounds_ms", "outcome"),
    [
        (123, 1, (0, 2), Outcome.FAIL),  # due at 120 ms, and clocks may differ by 2
        (123, 1, (0, 4), Outcome.PASS),
        (123, 1, (0, 2.9), Outcome.FAIL),
        (123, 1, (1.5, 1.6), Outcome.PASS),  # two hosts away from the master's: their bounds add up
        (123, 1, (1.5, 1.4), Outcome.FAIL),
        (300, 8, (0, 1.9), Outcome.FAIL),  # she sent at 10 ms, and he had surely joined
        (300, 8, (0, 2.1), Outcome.PASS),
        (300, 1, (0, None), Outcome.UNKNOWN),
    ],
)
def test_a_bound_of_time(
    new_history: Callable[..., Any], at: int, joined: int, bounds_ms: tuple[float | None, ...], outcome: Outcome
) -> None:
    """I25, 100 ms: acknowledged on one host at 20 ms, heard on another."""
    history = new_history(delivery_bound_s=0.1).send(ANN, 1, t=10 * MS).ack(ANN, 1, 1, t=20 * MS)
    history.join(BOB, t=joined * MS, journal=1).hear(BOB, ANN, 1, 1, t=at * MS, journal=1)
    verdict = judged(history, "I25", *bounds_ms)
    assert (verdict.outcome is Outcome.FAIL) == (outcome is Outcome.FAIL), verdict
    if outcome is Outcome.UNKNOWN:
        assert verdict.outcome is Outcome.UNKNOWN
        assert "clocks were not compared" in verdict.why


@pytest.mark.parametrize(
    ("sent_ms", "bound_ms", "found"),
    [
        (34_000 + 2, 1, ["rejected"]),  # auth was away until 30 s, and may need 4 s to recover
        (34_000 + 2, 3, []),
        (10_000 - 102, 1, ["rejected"]),  # answered 2 ms before it was away
        (10_000 - 102, 3, []),
        (10_000 + 2, 1, ["shut-out"]),  # 2 ms after
        (10_000 + 2, 3, []),
        (25_000 - 2, 1.9, ["shut-out"]),  # sessions live 15 s, and it began up to 1.9 ms earlier
        (25_000 - 2, 2.1, []),
    ],
)
def test_an_outage_that_another_host_recorded(
    new_history: Callable[..., Any], sent_ms: int, bound_ms: float, found: list[str]
) -> None:
    """I35: where the outage excuses, it may have been on; where a finding needs it, it certainly was."""
    promised = {"outage_answer_s": 1.0, "outage_session_s": 15.0, "recovery_s": 4.0, "token_leeway_s": 1.0}
    history = new_history(**promised)
    history.add(Kind.TOKEN, ANN, attempt=int(Artefact.ACCESS), counter=1, seq=100_000 * MS, t=1000 * MS)
    for at, flags in ((10_000, int(Flag.OWN)), (30_000, 0)):
        slots = {"counter": int(FaultKind.KILL), "attempt": int(Place.AUTH), "author": 1 << 31}
        history.add(Kind.FAULT, journal=1, flags=flags, t=at * MS, **slots)
    request = {"author": ANN, "counter": 1, "proc": int(Way.HEADER), "size": 401, "attempt": int(Place.BACKEND)}
    history.add(Kind.REQUEST, ANN, flags=int(Flag.REFUSED), t=(sent_ms + 100) * MS, seq=sent_ms * MS, **request)
    assert [finding.what for finding in judged(history, "I35", bound_ms, 0).findings] == found
