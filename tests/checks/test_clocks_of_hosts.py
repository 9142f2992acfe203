"""Journals of several hosts, whose clocks were measured to a bound: no check fails on less than that bound."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from auth_soup import auth_soup
from compare import fold
from device_soup import device_soup
from rough import rough
from seeds import blocks
from simulator import simulate
from soup import soup
from soup_faults import soup_of_faults

from earwitness.checks.verdict import Outcome
from earwitness.harness.record.clocks import ClockMap

MS = 1_000_000
LATER_NS = 10_000 * MS
"""Soups begin near 0; no clock shows less than the time since its host has started."""
SOUPS: dict[str, Callable[[int], Any]] = {
    "messages": lambda seed: soup(seed, 30 + seed % 50),
    "auth": lambda seed: auth_soup(seed, 30 + seed % 90),
    "devices": lambda seed: device_soup(seed, 20 + seed % 60),
    "faults": lambda seed: soup_of_faults(seed, 8 + seed % 60),
}


def of_hosts(run: Any, rng: random.Random, bound_ns: int) -> tuple[Any, Any]:
    """The run as it was on one clock, and as hosts recorded it whose clocks were wrong by up to `bound_ns` each."""
    one = [journal.copy() for journal in run.journals]
    for journal in one:
        ClockMap(offset_ns=LATER_NS).apply(journal)
    wrong = [rng.randint(-bound_ns, bound_ns) for _ in one]
    shifted = [journal.copy() for journal in one]
    for journal, ns in zip(shifted, wrong, strict=True):
        ClockMap(offset_ns=ns).apply(journal)
    infos = [
        replace(info, meta={**info.meta, "clock": f"host {number}", "clock_bound_ns": bound_ns})
        for number, info in enumerate(run.infos)
    ]
    return replace(run, journals=one), replace(run, journals=shifted, infos=infos)


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


@pytest.mark.parametrize("block", blocks(4))
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
