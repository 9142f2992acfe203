"""H1–H5, H8: the record itself. They are never FAIL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from earwitness.checks import Batch, Flag, JournalInfo, Judge, Kind, Outcome

ANN, BOB, BOB2, EVE = range(4)


def judged(history: Any, infos: list[JournalInfo], **facts: Any) -> dict[str, Any]:
    judge = Judge(history.roster, history.contract)
    for journal, records in history.arrays().items():
        judge.step(Batch(journal, records))
    return {verdict.id: verdict for verdict in judge.finish(infos, facts)}


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("torn", {"torn": True, "footer": None}, "never closed"),
    ("records", {"footer": {"records": 1}}, "its footer says 1"),
    ("gaps", {"gaps": 2}, "2 breaks"),
    ("fewer", {"records": 99}, "were judged"),
    ("frames", {"footer": {"frames_in": 5, "recorded_frames_in": 4}}, "received 5 frames and recorded 4"),
]


@pytest.mark.parametrize(("name", "change", "words"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_record_complete(healthy_history: Callable[..., Any], name: str, change: dict[str, Any], words: str) -> None:
    """A journal that is not whole makes H1 UNKNOWN, in words."""
    history = healthy_history()
    (info,) = history.infos()
    assert judged(history, [info])["H1"].outcome is Outcome.PASS
    verdict = judged(history, [replace(info, **change)])["H1"]
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)
    assert words in verdict.why


def test_missing_and_broken_journals(healthy_history: Callable[..., Any]) -> None:
    """A journal that never came, one that was never declared, and a hole in the numbering are seen."""
    history = healthy_history()
    assert (
        "1 journals that were expected are missing"
        in judged(history, history.infos(), journals_expected=["a", "b"])["H1"].why
    )
    assert "never declared" in judged(history, [])["H1"].why
    records = history.arrays()[0]
    judge = Judge(history.roster, history.contract)
    judge.step(Batch(0, records[:5]))
    judge.step(Batch(0, records[6:]))
    assert "1 breaks" in judge.finish(history.infos())[0].why


def test_not_vacuous(new_history: Callable[..., Any], healthy_history: Callable[..., Any]) -> None:
    """Something was sent, delivered, acknowledged, and the planned faults happened meanwhile."""
    assert new_history().send(ANN, 1).hear(ANN, ANN, 1).judge()["H2"].why == "no message was acknowledged"
    without = new_history(acknowledges=False).send(ANN, 1).hear(ANN, ANN, 1)
    assert without.judge()["H2"].outcome is Outcome.PASS
    history = healthy_history()
    history.facts = {"planned_faults": ["kill"]}
    assert "1 faults were planned, 0 happened" in history.judge()["H2"].why
    history.told.insert(
        8, (0, {"kind": int(Kind.FAULT), "client": 0xFFFF_FFFF, "flags": int(Flag.OWN), "t": 8_500_000})
    )
    assert history.judge()["H2"].outcome is Outcome.PASS
    history.facts["faults_without_effect"] = ["kill:auth@1s: nothing of it was to be seen"]
    assert history.judge()["H2"].outcome is Outcome.UNKNOWN
    assert history.judge()["H2"].why == "kill:auth@1s: nothing of it was to be seen"
    late = healthy_history().add(Kind.FAULT, flags=int(Flag.OWN))
    assert late.judge()["H2"].outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("t", "inside"), [(4_000_000, False), (4_000_001, True), (28_999_999, True), (29_000_000, False)]
)
def test_a_fault_at_the_first_or_last_sending(healthy_history: Callable[..., Any], t: int, inside: bool) -> None:
    """Messages are sent from 4 to 29 ms; a fault at the very moment of either was not between them."""
    history = healthy_history().add(Kind.FAULT, flags=int(Flag.OWN), t=t)
    assert history.judge()["H2"].outcome is (Outcome.PASS if inside else Outcome.UNKNOWN)


def test_many_faults(healthy_history: Callable[..., Any]) -> None:
    """However many there are, each is counted."""
    history = healthy_history()
    for _ in range(100):
        history.add(Kind.FAULT, flags=int(Flag.OWN), t=9_000_000)
    assert history.judge()["H2"].facts["faults"] == 100


@pytest.mark.parametrize(("back_ns", "backward"), [(50_000_000, False), (50_000_001, True)])
def test_how_late_a_record_may_be_written(healthy_history: Callable[..., Any], back_ns: int, backward: bool) -> None:
    """Records of different connections may be 50 ms out of order, not more."""
    history = healthy_history()
    history.add(Kind.PROBE, t=history.told[-1][1]["t"] - back_ns)
    assert ("went backward" in history.judge()["H3"].why) == backward


def test_one_journal_needs_no_host(healthy_history: Callable[..., Any]) -> None:
    """One clock cannot differ from itself, whoever's it is."""
    history = healthy_history()
    (info,) = history.infos()
    assert judged(history, [replace(info, meta={})])["H3"].outcome is Outcome.PASS


def test_clock(healthy_history: Callable[..., Any]) -> None:
    """One host, or known offsets; and no clock that goes backward."""
    history = healthy_history()
    history.told = [(1 if row["client"] == BOB else 0, row) for _, row in history.told]
    one, two = history.infos()
    assert judged(history, [one, two])["H3"].outcome is Outcome.PASS
    away = replace(two, meta={"host": "b"})
    verdicts = judged(history, [one, away])
    assert (verdicts["H3"].outcome, verdicts["I5b"].outcome) == (Outcome.UNKNOWN, Outcome.UNKNOWN)
    compared = [replace(info, meta={**info.meta, "clock_offset_ms": 0.1}) for info in (one, away)]
    verdicts = judged(history, compared)
    assert verdicts["H3"].outcome is verdicts["I5b"].outcome is Outcome.PASS
    assert verdicts["H3"].facts["bound_ms"] == pytest.approx(0.2)
    history.told[-1][1]["t"] = -(10**9)
    assert "went backward 1 times" in history.judge()["H3"].why


def test_own_order(new_history: Callable[..., Any]) -> None:
    """Time that goes backward on a connection, or an answer before its sending, is the tester's own fault."""
    history = new_history().send(ANN, 1).ack(ANN, 1, 1)
    assert history.judge()["H5"].outcome is Outcome.PASS
    assert "no sending before" in new_history().ack(ANN, 1, 1).send(ANN, 1).judge()["H5"].why
    assert "went backward" in history.hear(ANN, ANN, 1, 1, t=5).judge()["H5"].why


def test_evidence_whole(healthy_history: Callable[..., Any]) -> None:
    """What is damaged is named, and so are records without a checksum; many faults are counted."""
    history = healthy_history()
    (info,) = history.infos()
    verdict = judged(history, [info])["H8"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, info.records)
    verdict = judged(history, [replace(info, damage=("load-0.ewj, block 3 is cut off",), unsealed=2)], damage=["x"])[
        "H8"
    ]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, info.records - 2)
    assert verdict.why == "load-0.ewj, block 3 is cut off; x; 2 records of journal j0 are not sealed"
    assert "; 2 faults more" in judged(history, [info], damage=[str(n) for n in range(10)])["H8"].why
    assert judged(history, [info], damage=list("abcdefgh"))["H8"].why == "a; b; c; d; e; f; g; h"


def test_nothing_fails_by_a_damaged_roster(new_history: Callable[..., Any]) -> None:
    """What a damaged roster makes of good records is no violation."""
    history = new_history(history=False).join(ANN).send(ANN, 1).ack(ANN, 1, 1).hear(ANN, ANN, 1, 1, digest=7)
    assert history.judge()["I10"].outcome is Outcome.FAIL
    history.facts["roster_damaged"] = True
    verdict = history.judge()["I10"]
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)
    assert verdict.why == "1 violations by a damaged roster (H8)"
