"""A conversation judged by receiver: the verdict of one judge, whatever happened in it."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from by_shards import AGAIN, TOGETHER, by_one, by_shards
from journaled import Journaled
from mutants import mutant
from rough import rate, rough
from seeds import blocks, rest
from simulated_clients import Info
from simulated_defects import DEFECTS
from simulator import SimulatedRun, simulate
from soup import soup

from benchmarks import judge as benchmark
from earwitness.checks.catalogue import ALL
from earwitness.checks.contract import Contract
from earwitness.checks.history.record import NOBODY, Kind, empty
from earwitness.checks.roster import Roster
from earwitness.checks.routing import LARGE, Router
from earwitness.checks.splitting import may_split
from earwitness.checks.verdict import Outcome
from earwitness.harness.record.history import open_history
from earwitness.harness.report import sharded
from earwitness.harness.report.sharded import Inline, Way, judge_sharded

IDS = [check.id for check in ALL]


def by_receiver(run: Any, folder: Path, seed: int) -> tuple[int, int]:
    """Compare one judge with several that share each conversation; return how many were put together, and judged again
    as a whole."""
    parts = 2 + seed % 3
    together, groups = by_shards(run, parts, folder, rng=random.Random(seed), large=1)
    different = [(one, other) for one, other in zip(by_one(run), together, strict=True) if one != other]
    assert different == [], seed
    return sum(group[0] == TOGETHER for group in groups), sum(group[0] == AGAIN for group in groups)


def without_agents(run: SimulatedRun) -> SimulatedRun:
    """The same run in which no agent answered: its answers are compared between receivers."""
    journals = [journal[journal["kind"] != Kind.RUN] for journal in run.journals]
    for journal in journals:
        journal["index"] = np.arange(1, len(journal) + 1)
    infos = [replace(info, records=len(journal)) for info, journal in zip(run.infos, journals, strict=True)]
    return replace(run, journals=journals, infos=infos)


@pytest.mark.parametrize("block", blocks(2))
def test_correct_runs(block: int, tmp_path: Path) -> None:
    """Nearly all conversations are put together from their parts."""
    found = [by_receiver(without_agents(simulate(seed)), tmp_path, seed) for seed in range(block * 5, block * 5 + 5)]
    assert sum(merged for merged, _ in found) > 5
    for seed in range(block * 5, block * 5 + 5):
        by_receiver(without_agents(simulate(seed, **rough(seed))), tmp_path, seed)


@pytest.mark.parametrize(
    ("defect", "agents"),
    [(defect, n % 2 == 0) for n, defect in enumerate(DEFECTS)]
    + [rest(defect, n % 2 == 1) for n, defect in enumerate(DEFECTS)],
)
def test_defects(defect: str, agents: bool, tmp_path: Path) -> None:
    """A conversation in which something is wrong is judged as a whole."""
    run = simulate(0, **rough(0, restarts=2), defects=(defect,), rate=rate(defect, 0))
    promises = replace(run.contract, sequence="contiguous", acknowledges=True)
    by_receiver(run if agents else replace(without_agents(run), contract=promises), tmp_path, 0)


@pytest.mark.parametrize("block", blocks(4, 1))
def test_wrong_histories(block: int, tmp_path: Path) -> None:
    """Changed records, and records that make no sense together: of these some are nothing but strange."""
    merged = again = 0
    for seed in range(block * 4, block * 4 + 4):
        run, _ = mutant(seed, changes=1 + seed % 3, torn=seed % 5 == 0)
        by_receiver(run, tmp_path, seed)
    for seed in range(block * 15, block * 15 + 15):
        bowl = soup(seed, 3 + seed % 25)
        bowl.contract = replace(bowl.contract, sequence="contiguous", acknowledges=True)
        one, other = by_receiver(bowl, tmp_path, seed)
        merged, again = merged + one, again + other
    assert merged > 2
    assert again > 2


@pytest.mark.parametrize("seqs", [(1, -1, 1, -1), (-1, -1, -1, -1)], ids=["one number", "two orders"])
def test_what_two_receivers_prove_together(seqs: tuple[int, ...], tmp_path: Path) -> None:
    """One number names two messages, or two messages come in two orders: each of the two parts alone is in order."""
    rows: list[dict[str, int]] = []
    for client in range(4):
        at = {"client": client, "conn": client + 1}
        rows.append(at | {"kind": Kind.CONNECT})
        rows += [at | {"kind": Kind.JOIN, "conv": 0, "seq": 0}] if client > 1 else []
    for author in (0, 1):
        said = {"client": author, "author": author, "conn": author + 1, "conv": 0, "counter": 1, "attempt": 1}
        rows.append(said | {"kind": Kind.INVOKE, "digest": 7})  # without an answer nobody is owed a delivery
    for (client, author), seq in zip(((2, 0), (2, 1), (3, 1), (3, 0)), seqs, strict=True):
        if seq >= 0 or seqs[0] < 0:
            heard = {"client": client, "conn": client + 1, "author": author, "conv": 0, "counter": 1, "attempt": 1}
            rows.append(heard | {"kind": Kind.DELIVER, "digest": 7, "seq": seq, "aux": author, "proc": 0})
    records = empty(len(rows))
    for at, row in enumerate(rows):
        for name, value in row.items():
            records[name][at] = value
    records["index"] = records["t"] = np.arange(1, len(rows) + 1)
    info = Info(name="one", records=len(rows), footer={"records": len(rows)}, torn=False, meta={"host": "here"})
    roster = Roster(user_of=(0, 1, 2, 3), conversations=((0, 1, 2, 3),))
    run = SimpleNamespace(roster=roster, contract=Contract(sequence="contiguous"), journals=[records], infos=[info])
    assert next(verdict for verdict in by_one(run) if verdict.id == "I2").violations == 1
    assert by_receiver(run, tmp_path, 0) == (0, 1)


@pytest.mark.parametrize("members", [25_000, rest(100_000)])
def test_very_many_members(members: int, tmp_path: Path) -> None:
    """All hear two messages; each part has a third of the receivers."""
    assert members > LARGE
    roster = Roster(user_of=tuple(range(members)), conversations=(tuple(range(members)), (1, 2)))
    rng = np.random.default_rng(1)
    rooms = replace(roster, conversations=roster.conversations[:1])
    records = np.concatenate(list(benchmark.blocks(rooms, 2 * (members + 3), rng)))
    info = Info(name="one", records=len(records), footer={"records": len(records)}, torn=False, meta={"host": "here"})
    contract = Contract(sequence="contiguous", idempotent=True, delivery_bound_s=3600.0)
    run = SimpleNamespace(roster=roster, contract=contract, journals=[records], infos=[info])
    together, groups = by_shards(run, 3, tmp_path, large=LARGE)
    assert groups[-1] == (TOGETHER, 3, 4, 5, 6)
    verdicts = by_one(run)
    assert together == verdicts
    heard = next(verdict for verdict in verdicts if verdict.id == "I5b")
    assert (heard.outcome, heard.examined) == (Outcome.PASS, 2 * members)


@pytest.mark.parametrize("defects", [(), ("Z1",)])
def test_of_a_run(defects: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the files of a run: parts that fit together, and parts that do not."""
    told = without_agents(simulate(4, defects=defects, rate=0.3))
    run = Journaled(tmp_path / "run", told)
    for number in run.left:
        run.write(number, len(told.journals[number]))
    run.close()
    asked: list[tuple[int, ...]] = []

    class Noting(Inline):
        def submit(self, task: Any, /, *args: Any, **kwargs: Any) -> Any:
            asked.append(args[1])
            return super().submit(task, *args, **kwargs)

    history = open_history(tmp_path / "run")
    one = judge_sharded(history, ALL, Way(1, Inline))
    monkeypatch.setattr(sharded, "router_of", partial(sharded.router_of, large=1))
    found = judge_sharded(history, ALL, Way(2, Noting))
    assert found == one
    rooms = len(told.roster.conversations)
    assert sum(len(shards) == 2 for shards in asked) == 2 * rooms
    assert any(len(shards) == 3 for shards in asked) == bool(defects)


def test_which_conversations_are_split() -> None:
    """Those with very many members, by checks that can be put together."""
    promises = Contract(sequence="contiguous")
    assert may_split(promises, IDS)
    assert not may_split(promises, [id for id in IDS if id != "I5b"])
    assert not may_split(replace(promises, sequence="increasing"), IDS)
    assert not may_split(replace(promises, acknowledges=False), IDS)
    roster = Roster(user_of=(0, 1, 1, 2), conversations=((0, 1), (0, 1, 2), (2,)))
    assert (
        Router(roster, 1, large=3).splits() == Router(roster, 2).splits() == Router(roster, 2, large=4).splits() == []
    )
    (split,) = Router(roster, 2, large=3).splits()
    assert split.shards == (2, 3, 4)


def test_what_goes_to_which_part() -> None:
    """What was said to all, what a device recorded to the part of its user, also if it is no member."""
    roster = Roster(user_of=(0, 1, 1, 2), conversations=((0, 1), (0, 1, 2)))
    rows = [(Kind.INVOKE, 0, 2), (Kind.DELIVER, 0, 3), (Kind.DELIVER, 1, 4), (Kind.JOIN, 2, 4), (Kind.DELIVER, 3, 3),
            (Kind.OK, 0, 2), (Kind.STORED, 1, 2), (Kind.DELIVER, NOBODY, 2)]  # fmt: skip
    records = empty(len(rows))
    records["kind"], records["client"] = [kind for kind, _, _ in rows], [client for _, client, _ in rows]
    records["conv"], records["counter"], records["attempt"], records["author"] = 1, 1, 1, 0
    router = Router(roster, 2, large=3)
    assert router.route(0, records).tolist() == [shard for _, _, shard in rows]
    assert [split.shards for split in router.splits()] == [(2, 3, 4)]
    assert router.groups() == [(0,), (1,)]
    answer = records[1:2].copy()
    answer["kind"] = Kind.RUN
    router.route(0, answer)
    assert router.splits() == []
    assert router.groups() == [(0,), (1,), (2, 3, 4)]
    router = Router(roster, 2, large=3)
    records["conv"][1] = 0
    router.route(0, records)
    assert router.splits() == []
    assert router.groups() == [(0,), (1, 2, 3, 4)]
