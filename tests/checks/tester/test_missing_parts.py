"""What is missing makes no FAIL, and what the rest proves stays one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from auth_soup import auth_soup
from device_soup import device_soup
from parts import all_parts, nameless, whole, without
from rough import rough
from simulator import simulate
from soup_faults import soup_of_faults

from earwitness.checks.engine.fold import JournalInfo
from earwitness.checks.history.record import Flag, Kind
from earwitness.checks.judge import Batch, judge
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Outcome, Verdict

ANN, BOB, BOB2 = range(3)
ROOM = 0
SOUPS: dict[str, Callable[[int], Any]] = {
    "auth": lambda seed: auth_soup(seed, 30 + seed % 160),
    "devices": lambda seed: device_soup(seed, 20 + seed % 70),
    "faults": lambda seed: soup_of_faults(seed, 20 + seed % 80),
}


@pytest.mark.parametrize("block", range(4))
def test_healthy_runs_never_fail(block: int) -> None:
    """Without a journal, without the end of one, without names: no promise is broken."""
    for seed in range(block * 8, block * 8 + 8):
        run = simulate(seed, **rough(seed, journals=3 + seed % 2))
        before = whole(run).failed()
        for rest in all_parts(run, seed):
            assert rest.failed() <= before, (seed, rest.lost)


@pytest.mark.parametrize("plane", SOUPS)
def test_nothing_fails_that_did_not_before(plane: str) -> None:
    """On nonsense too, what fails without a part fails with it."""
    for seed in range(25):
        run = SOUPS[plane](seed)
        before = whole(run).failed()
        for rest in all_parts(run, seed):
            assert rest.failed() <= before, (seed, rest.lost)


PROVEN = {"Z3": "I2", "Z8": "I6", "Z12": "I10", "Z14": "I12"}


@pytest.mark.parametrize(("defect", "check"), PROVEN.items())
def test_what_the_rest_proves_stays(defect: str, check: str) -> None:
    """Of runs with a defect most still fail without any one of the load's journals."""
    kept = failed = 0
    for seed in range(12):
        run = simulate(seed, **rough(seed, journals=4, sequence="contiguous"), defects=(defect,), rate=0.5)
        if check not in whole(run).failed():
            continue
        for number in range(3):
            failed += 1
            kept += check in without(run, number).failed()
    assert failed >= 9
    assert kept >= 0.8 * failed


def talk(history: Any, wrong: Callable[[Any], object] = lambda history: None) -> Any:
    """Ann's journal 0, Bob's two tabs in journals 1 and 2; `wrong` adds what is wrong in journal 1."""
    for client in (ANN, BOB, BOB2):
        history.join(client, journal=client)
    for n in (1, 2):
        history.send(BOB, n, journal=BOB).ack(BOB, n, n, journal=BOB)
        for client in (ANN, BOB, BOB2):
            history.hear(client, BOB, n, n, aux=BOB, journal=client)
    wrong(history)
    for journal in (0, 1, 2):
        history.drained(journal=journal)
    return history


LITERAL: dict[str, Callable[[Any], object]] = {
    "I2": lambda h: h.send(BOB, 3, journal=1).ack(BOB, 3, 2, journal=1).hear(BOB, BOB, 3, 2, aux=BOB, journal=1),
    "I6": lambda h: h.hear(BOB, BOB, 2, 2, aux=BOB, journal=1),
    "I10": lambda h: h.send(BOB, 3, journal=1).hear(BOB, BOB, 3, 3, aux=BOB, journal=1, digest=7),
    "I12": lambda h: h.hear(BOB, BOB, 2, 2, aux=BOB, journal=1, flags=int(Flag.MISROUTED)),
    "I15": lambda h: h.send(BOB, 3, journal=1).hear(BOB, BOB, 3, 3, aux=ANN, journal=1),
}


def rest_of(history: Any, missing: int, **facts: Any) -> dict[str, Verdict]:
    """The verdicts without one journal, which `run.json` still names."""
    arrays, infos = history.arrays(), history.infos()
    numbers = [n for n in sorted(arrays) if n != missing]
    batches = [Batch(new, arrays[old]) for new, old in enumerate(numbers)]
    left = [infos[n] for n in numbers]
    facts = {"journals_expected": len(infos), **facts}
    return {v.id: v for v in judge(history.roster, history.contract, batches, left, facts)}


@pytest.mark.parametrize("check", LITERAL)
@pytest.mark.parametrize("missing", [0, 2])
def test_one_journal_missing(new_history: Any, check: str, missing: int) -> None:
    """Proven by the others: FAIL. Without what is wrong: no FAIL."""
    assert rest_of(talk(new_history(history=False), LITERAL[check]), missing)[check].outcome is Outcome.FAIL
    healthy = rest_of(talk(new_history(history=False)), missing)
    assert {id for id, verdict in healthy.items() if verdict.outcome is Outcome.FAIL} == set()


def test_a_name_that_no_login_explains(new_history: Any) -> None:
    """A stranger as sender: FAIL in a whole record; without a journal only if the true sender's id is on record."""
    history = talk(
        new_history(history=False), lambda h: h.send(BOB, 3, journal=1).hear(BOB, BOB, 3, 3, aux=-2, journal=1)
    )
    assert history.judge()["I15"].outcome is Outcome.FAIL
    rest = rest_of(history, 0)["I15"]
    assert rest.outcome is Outcome.UNKNOWN
    assert "1 statements name an id that no login on record explains" in rest.why
    assert rest_of(history, 0, identities=[(BOB, "b")])["I15"].outcome is Outcome.FAIL
    assert rest_of(history, 0, identities=[(ANN, "a")])["I15"].outcome is Outcome.UNKNOWN
    assert rest_of(history, 0, identities=[(BOB, "b"), (BOB, "bob@x")])["I15"].outcome is Outcome.UNKNOWN


def test_side_files_that_end_early() -> None:
    """Nobody knows the names: neither I15 nor I42 fails, and a wrong person of the run stays one."""
    run = simulate(3, **rough(3, journals=3))
    for client in range(len(run.roster.user_of)):
        assert nameless(run, 0, client).failed() <= whole(run).failed()


def test_a_hole_that_an_own_message_may_explain(new_history: Any) -> None:
    """Without echo a hole may be an own message, whose further number only the missing journal knows."""
    history = new_history(history=False, echo=False).join(ANN).join(BOB, journal=1)
    history.send(ANN, 1).ack(ANN, 1, 2).hear(BOB, ANN, 1, 2, journal=1).hear(BOB, ANN, 1, 3, journal=1)
    history.hear(ANN, BOB, 1, 1).hear(ANN, BOB, 2, 4)
    assert history.judge()["I4"].outcome is Outcome.PASS
    rest = rest_of(history, 1)["I4"]
    assert (rest.outcome, rest.why) == (Outcome.UNKNOWN, "1 holes may be own messages whose numbers are not on record")
    history.hear(ANN, BOB, 3, 7)
    assert rest_of(history, 1)["I4"].outcome is Outcome.FAIL


def test_refusals_may_be_charged_elsewhere(new_history: Any) -> None:
    """A budget that looks unspent may have been spent in the missing journal."""
    history = new_history(history=False, rate_per_s=1.0, rate_burst=5.0)
    history.join(ANN).send(ANN, 1, t=10_000_000_000).ack(ANN, 1, t=10_001_000_000)
    history.send(ANN, 2, t=40_000_000_000)
    history._message(Kind.FAIL, ANN, ANN, 2, ROOM, aux=429, t=40_001_000_000)
    history.join(BOB, journal=1)
    assert history.judge()["I37"].outcome is Outcome.FAIL
    rest = rest_of(history, 1)["I37"]
    assert (rest.outcome, rest.violations) == (Outcome.UNKNOWN, 0)
    assert "what 1 refusals were charged for" in rest.why


def test_lateness_that_a_lost_fault_may_explain(new_history: Any) -> None:
    """I25 needs the faults: planned ones that are not on record excuse; where none was planned nothing does."""
    history = new_history(history=False, delivery_bound_s=0.5)
    history.join(ANN).join(BOB, journal=1).send(ANN, 1, t=10_000_000_000).ack(ANN, 1, t=10_001_000_000)
    history.hear(BOB, ANN, 1, aux=ANN, journal=1, t=20_000_000_000)
    history.add(Kind.PROBE, journal=2)
    assert history.judge()["I25"].outcome is Outcome.FAIL
    assert rest_of(history, 2)["I25"].outcome is Outcome.UNKNOWN
    assert rest_of(history, 2, planned_faults=["kill backend"])["I25"].outcome is Outcome.UNKNOWN
    assert rest_of(history, 2, planned_faults=[])["I25"].outcome is Outcome.FAIL


def test_a_roster_that_has_lost_a_member(new_history: Any) -> None:
    """By another roster than that of the recording a member looks like a stranger: no FAIL of I12."""
    history = talk(new_history(history=False))
    said = {"roster": history.roster.digest(), "host": "a"}
    less = Roster(user_of=history.roster.user_of, conversations=((0,), *history.roster.conversations[1:]))
    for meta, outcome in ((said, Outcome.UNKNOWN), ({"host": "a"}, Outcome.FAIL)):
        infos = [JournalInfo(name=i.name, records=i.records, footer=i.footer, torn=False, meta=meta)
                 for i in history.infos()]  # fmt: skip
        batches = [Batch(journal, records) for journal, records in history.arrays().items()]
        verdicts = {v.id: v for v in judge(less, history.contract, batches, infos)}
        assert verdicts["I12"].outcome is outcome
