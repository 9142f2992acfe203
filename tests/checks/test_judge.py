"""The judge as a whole: healthy histories, interleavings, size, crashes, plain Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earwitness.checks import ALL, Batch, Contract, Judge, Kind, Outcome, View, World
from earwitness.checks.verdict import Verdict

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PROMISES = [
    {},
    {"sequence": "increasing"},
    {"sequence": "none"},
    {"at_most_once": "device", "resume": True},
    {"idempotent": False},
    {"history": False},
    {"delivery_bound_s": 0.004},
]
NOT_EXERCISED = {
    "H6",
    "I3",
    "I5a",
    "I9",
    "I13",
    "I16",
    "I17",
    "I18",
    "I19",
    "I20",
    "I22",
    "I24",
    "I27",
    "I29",
    "I31",
    "I33",
    "I42",
}
"""Checks for which the healthy history holds nothing, whatever the contract promises."""


def summary(verdicts: dict[str, Verdict]) -> dict[str, tuple[Outcome, int, int]]:
    return {key: (v.outcome, v.examined, v.violations) for key, v in verdicts.items()}


def split(history: Any, order: list[int], size: int) -> list[Batch]:
    """Batches of `size` records, the next one always from the journal that `order` names (or any that is left)."""
    arrays = history.arrays()
    waiting = {j: [records[k : k + size] for k in range(0, len(records), size)] for j, records in arrays.items()}
    batches = []
    for choice in order + list(range(10)) * sum(map(len, waiting.values())):
        left = [j for j, parts in waiting.items() if parts]
        if not left:
            break
        journal = left[choice % len(left)]
        batches.append(Batch(journal, waiting[journal].pop(0)))
    return batches


def test_ids_and_names_are_unique() -> None:
    """Every check has its own id and name."""
    assert len({check.id for check in ALL}) == len({check.name for check in ALL}) == len(ALL)


@pytest.mark.parametrize("promises", PROMISES)
def test_healthy_history_passes(healthy_history: Callable[..., Any], promises: dict[str, Any]) -> None:
    """A healthy history breaks nothing, whatever the contract promises."""
    contract = Contract(**{"sequence": "contiguous", "idempotent": True, **promises})
    verdicts = healthy_history(contract).judge()
    for verdict in verdicts.values():
        assert not verdict.violations, verdict
        if verdict.promised and verdict.id not in NOT_EXERCISED:
            assert verdict.outcome is Outcome.PASS, verdict


def test_nothing_is_never_a_pass(new_history: Callable[..., Any]) -> None:
    """Without records every verdict is UNKNOWN and says why."""
    for verdict in new_history().judge().values():
        assert verdict.outcome is Outcome.UNKNOWN
        assert verdict.why


def broken_history(history: Any, moves: list[tuple[int, int]]) -> Any:
    """The healthy history with clients spread over journals and some records dropped, repeated or moved."""
    for what, where in moves:
        k = where % len(history.told)
        if what == 0:
            history.told.pop(k)
        elif what == 1:
            history.told.insert(k, history.told[k])
        else:
            history.told.insert((k + what) % len(history.told), history.told.pop(k))
    history.told = [(row["client"] % 3 if row["client"] < 4 else 0, row) for _, row in history.told]
    return history


@SETTINGS
@given(
    promises=st.sampled_from(PROMISES),
    moves=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 60)), max_size=6),
    order=st.lists(st.integers(0, 5), max_size=40),
    size=st.integers(1, 20),
)
def test_interleaving_of_batches_does_not_matter(
    healthy_history: Callable[..., Any],
    promises: dict[str, Any],
    moves: list[tuple[int, int]],
    order: list[int],
    size: int,
) -> None:
    """Outcomes and counts are the same however batches of different journals interleave."""
    contract = Contract(**{"sequence": "contiguous", "idempotent": True, **promises})
    history = broken_history(healthy_history(contract), moves)
    assert summary(history.judge(split(history, order, size))) == summary(history.judge())


@SETTINGS
@given(where=st.integers(0, 17), later=st.integers(0, 20), device=st.booleans())
def test_one_repeated_delivery_is_caught(
    healthy_history: Callable[..., Any], where: int, later: int, device: bool
) -> None:
    """Repeating any delivery anywhere later is exactly one duplication and breaks no order."""
    scope = "device" if device else "connection"
    history = healthy_history(Contract(sequence="contiguous", idempotent=True, at_most_once=scope))
    heard = [k for k, (_, row) in enumerate(history.told) if row["kind"] == Kind.DELIVER]
    chosen = heard[where]
    history.told.insert(min(chosen + 1 + later, len(history.told)), history.told[chosen])
    verdicts = history.judge()
    assert (verdicts["I6"].outcome, verdicts["I6"].violations) == (Outcome.FAIL, 1)
    for other in ("I1", "I2", "I4", "I5b", "I7"):
        assert verdicts[other].outcome is Outcome.PASS, other


def test_peek_knows_violations_and_keeps_absences_pending(healthy_history: Callable[..., Any]) -> None:
    """While the run goes on a duplication is certain, a loss is not."""
    history = healthy_history()
    history.told.append(next(item for item in history.told if item[1]["kind"] == Kind.DELIVER))
    judge = Judge(history.roster, history.contract)
    judge.step(Batch(0, history.arrays()[0]))
    verdicts = {verdict.id: verdict for verdict in judge.peek()}
    assert verdicts["I6"].outcome is Outcome.FAIL
    assert verdicts["I5b"].outcome is verdicts["I5a"].outcome is verdicts["H1"].outcome is Outcome.UNKNOWN
    assert summary({v.id: v for v in judge.finish(history.infos())}) == summary(history.judge())


class Crashing:
    id, name, title = "X1", "crashing", "Does a crash stop the others?"

    def promised(self, contract: Contract) -> bool:
        return True

    def start(self, roster: Any, contract: Contract) -> Crashing:
        return self

    def step(self, view: View) -> None:
        raise ZeroDivisionError("no luck")

    def peek(self, world: World) -> Verdict:
        raise NotImplementedError

    finish = peek


def test_a_crashed_check_is_unknown_and_the_others_go_on(healthy_history: Callable[..., Any]) -> None:
    """A check that raises says so in its verdict; the others are as without it."""
    history = healthy_history()
    judge = Judge(history.roster, history.contract, [Crashing(), *ALL])
    judge.step(Batch(0, history.arrays()[0]))
    crashed, *others = judge.finish(history.infos())
    assert crashed.outcome is Outcome.UNKNOWN
    assert "no luck" in crashed.why
    assert summary({v.id: v for v in others}) == summary(history.judge())


def test_absurd_numbers_cost_nothing(healthy_history: Callable[..., Any]) -> None:
    """Stray authors, counters and conversations are violations of I8, not of memory."""
    history = healthy_history()
    history.hear(ANN, ANN, 0xFFFF_FFFF, digest=1).hear(ANN, 0x7FFF_FFFF, 1, proc=1).hear(ANN, ANN, 0)
    assert history.judge()["I8"].violations == 3


def test_many_authors_connections_and_pages(new_history: Callable[..., Any]) -> None:
    """Tables grow while stepping: high counters, connection numbers, thousands of messages, tiny batches."""
    history = new_history()
    history.join(ANN).join(BOB, conn=5000)
    for n in range(1, 1500):
        counter = n if n < 1000 else n * 500
        history.send(ANN, counter).hear(BOB, ANN, counter, n, conn=5000)
    verdicts = history.judge(split(history, [], 701))
    assert verdicts["I1"].examined == 1498 + 1498
    for key in ("I1", "I2", "I4", "I6", "I8"):
        assert verdicts[key].outcome is Outcome.PASS, verdicts[key]


def test_big_rooms_are_not_quadratic(new_history: Callable[..., Any]) -> None:
    """A room of 10,000 members costs memory by its members, not by their square."""
    from earwitness.checks import Roster

    members = 10_000
    history = new_history()
    history.roster = Roster(user_of=tuple(range(members)), conversations=(tuple(range(members)),))
    history.send(0, 1).hear(1, 0, 1, 1)
    judge = Judge(history.roster, history.contract)
    judge.step(Batch(0, history.arrays()[0]))
    assert sum(array.nbytes for array in judge._world.tables) < 20_000_000


def test_plain_python_agrees(healthy_history: Callable[..., Any]) -> None:
    """With NUMBA_DISABLE_JIT=1 the same functions run as plain Python, without a warning, to the same verdict."""
    script = (
        "import sys, pickle\nfrom earwitness.checks.judge import Batch, judge\n"
        "history = pickle.load(sys.stdin.buffer)\n"
        "verdicts = judge(history[0], history[1], [Batch(*b) for b in history[2]], history[3])\n"
        "print({v.id: (v.outcome.name, v.examined, v.violations) for v in verdicts})\n"
    )
    import pickle

    for moves in ([], [(0, 20), (1, 30), (3, 25)]):
        history = broken_history(healthy_history(), moves)
        whole = history.roster, history.contract, list(history.arrays().items()), history.infos()
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script],
            input=pickle.dumps(whole),
            capture_output=True,
            env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        expected = {v.id: (v.outcome.name, v.examined, v.violations) for v in history.judge().values()}
        assert done.stdout.decode().strip() == str(expected)


ANN = 0
BOB = 1
