"""HM1–HM7: defects of the tester itself. Each is noticed by an H-check, which then says UNKNOWN: no run is called good
that the tester could not witness.

HM1  the recorder drops one record in ten thousand          H1
HM2  the receiver hands each frame to a task of its own     H5
HM3  the clock is stepped                                   H3, H5
HM4  a fault that was planned is never injected             H2
HM5  nothing is sent                                        H2
HM6  the roster is read from the server                     H6
HM7  a load process crashes, and its tail is missing        H1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from earwitness.checks import Batch, Judge, Kind, Outcome
from earwitness.checks.roster import Origin

ANN, BOB = 0, 1
TEN_THOUSAND = 840
"""So many rounds of the healthy history are ten thousand records."""
HOUR_NS = 3_600 * 10**9


@pytest.fixture
def verdicts_of() -> Callable[..., dict[str, Any]]:
    """`verdicts_of(history, records, infos, **facts)` of one journal; what is not given is the history's."""

    def judged(history: Any, records: Any = None, infos: Any = None, **facts: Any) -> dict[str, Any]:
        roster = history.roster
        infos = [replace(info, meta={**info.meta, "roster": roster.digest()}) for info in infos or history.infos()]
        judge = Judge(roster, history.contract)
        judge.step(Batch(0, history.arrays()[0] if records is None else records))
        good = {"roster_origin": Origin.PLAN, "roster_planned": roster}
        return {verdict.id: verdict for verdict in judge.finish(infos, {**good, **facts})}

    return judged


def unknown(verdicts: dict[str, Any]) -> set[str]:
    """H-checks that say UNKNOWN."""
    return {id for id, v in verdicts.items() if id.startswith("H") and v.outcome is Outcome.UNKNOWN}


def test_a_good_tester(healthy_history: Callable[..., Any], verdicts_of: Any) -> None:
    """Without a defect no H-check says UNKNOWN: what follows is due to the defects."""
    assert unknown(verdicts_of(healthy_history())) == set()


def test_hm1_a_record_is_dropped(healthy_history: Callable[..., Any], verdicts_of: Any) -> None:
    """One of ten thousand, anywhere: its number is missing."""
    history = healthy_history(messages=TEN_THOUSAND)
    records, infos = history.arrays()[0], history.infos()
    assert len(records) > 10_000
    for seed in range(5):
        lost = Random(seed).randrange(len(records) - 1)
        verdicts = verdicts_of(history, np.delete(records, lost), infos)
        assert "H1" in unknown(verdicts), lost
        assert "1 breaks" in verdicts["H1"].why


def test_hm1_a_frame_is_dropped_before_it_has_a_number(healthy_history: Callable[..., Any], verdicts_of: Any) -> None:
    """The transport counted it, the recorder did not."""
    history = healthy_history()
    (info,) = history.infos()
    footer = {**info.footer, "frames_in": 10_000, "recorded_frames_in": 9_999}
    assert unknown(verdicts_of(history, infos=[replace(info, footer=footer)])) == {"H1"}


def test_hm2_frames_overtake_each_other(healthy_history: Callable[..., Any], verdicts_of: Any) -> None:
    """Two frames of a connection are written down the other way round: their times go backward."""
    records = healthy_history().arrays()[0]
    first, second = np.flatnonzero((records["kind"] == Kind.DELIVER) & (records["client"] == BOB))[:2]
    indices = records["index"].copy()
    records[[first, second]] = records[[second, first]]
    records["index"] = indices
    verdicts = verdicts_of(healthy_history(), records)
    assert "H5" in unknown(verdicts)
    assert "went backward" in verdicts["H5"].why


def test_hm3_the_clock_is_stepped(healthy_history: Callable[..., Any], verdicts_of: Any) -> None:
    """Backward: seen by H3 in the journal. (Records carry the monotonic clock, which the wall clock's steps do not
    move; forward no clock can be told from a pause.)"""
    records = healthy_history().arrays()[0]
    records["t"][len(records) // 2 :] -= HOUR_NS
    assert {"H3", "H5"} & unknown(verdicts_of(healthy_history(), records)) == {"H3", "H5"}


def test_hm4_a_fault_is_never_injected(healthy_history: Callable[..., Any], verdicts_of: Any) -> None:
    """Planned and not on record, or on record and without any effect."""
    history = healthy_history()
    assert unknown(verdicts_of(history, planned_faults=["kill"])) == {"H2"}
    assert unknown(verdicts_of(history, faults_without_effect=["kill:auth@1s: nothing was to be seen"])) == {"H2"}


def test_hm5_nothing_is_sent(new_history: Callable[..., Any], verdicts_of: Any) -> None:
    """Silence is no pass: neither of the record, nor of any check."""
    history = new_history().join(ANN).join(BOB).drained().read()
    verdicts = verdicts_of(history)
    assert "H2" in unknown(verdicts)
    assert not [id for id in ("I1", "I5a", "I5b", "I6", "I8", "I12") if verdicts[id].outcome is Outcome.PASS]


@pytest.mark.parametrize("origin", [Origin.JOINED, Origin.LATE])
def test_hm6_the_roster_is_the_servers(healthy_history: Callable[..., Any], verdicts_of: Any, origin: str) -> None:
    """Whom the server let in, or what was said of it afterwards, is not what the tester had planned."""
    assert unknown(verdicts_of(healthy_history(), roster_origin=origin)) == {"H6"}


@pytest.mark.parametrize("kept", [1, 10, 40])
def test_hm7_a_tail_is_missing(healthy_history: Callable[..., Any], verdicts_of: Any, kept: int) -> None:
    """However much of it there is: the journal has no footer."""
    history = healthy_history()
    records = history.arrays()[0][:kept]
    (info,) = history.infos()
    torn = replace(info, records=kept, footer=None, torn=True)
    verdicts = verdicts_of(history, records, [torn])
    assert "H1" in unknown(verdicts)
    assert "never closed" in verdicts["H1"].why
