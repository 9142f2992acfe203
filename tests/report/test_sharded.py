"""Judging by shards of conversations: the verdict of one judge, whatever the number of shards."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from auth_soup import auth_soup
from by_shards import by_one, by_shards
from device_soup import device_soup
from mutants import mutant
from rough import rate, rough
from seeds import blocks, rest
from simulated_defects import DEFECTS
from simulator import simulate
from soup import soup

from earwitness.checks.catalogue import ALL
from earwitness.checks.merging import BY_CONVERSATION
from earwitness.checks.verdict import Verdict

SHARDS = (1, 2, 4, 8, 16)
SHOWN_WITH = {"Z7": 2, "Z9": 3, "Z4": 2, "Z16": 2, "Z27": 2, "Z32": 3, "Z71": 3}
"""Defect → seed of a run in which it does something; the others do with 0."""


def differences(
    run: Any, shards: int, folder: Path, seed: int = 0, **options: Any
) -> dict[str, tuple[Verdict, Verdict]]:
    """By check: the verdict of one judge and that of several, where they are not equal in all that is reported."""
    together, _ = by_shards(run, shards, folder, rng=random.Random(seed), **options)
    return {
        one.id: (one, other) for one, other in zip(by_one(run), together, strict=True) if one != other
    }  # fmt: skip


def test_every_check_by_conversation_exists() -> None:
    """A check that was renamed would silently be judged once, on records that lack its own."""
    assert {check.id for check in ALL} >= BY_CONVERSATION


@pytest.mark.parametrize("block", blocks(4, 1))
def test_correct_runs(block: int, tmp_path: Path) -> None:
    """Rough runs of a correct platform."""
    for seed in range(block * 10, block * 10 + 10):
        run = simulate(seed, **rough(seed))
        assert differences(run, SHARDS[seed % len(SHARDS)], tmp_path, seed) == {}, seed


@pytest.mark.parametrize(
    ("defect", "seed", "shards"),
    [(defect, SHOWN_WITH.get(defect, 0), SHARDS[1 + n % 4]) for n, defect in enumerate(DEFECTS)]
    + [rest(defect, *trial) for defect in DEFECTS for trial in enumerate(SHARDS[1:])],
)
def test_defects(defect: str, seed: int, shards: int, tmp_path: Path) -> None:
    """Examined, violations, findings and reasons are those of one judge, with violations of every kind."""
    run = simulate(seed, **rough(seed, restarts=2), defects=(defect,), rate=rate(defect, seed))
    assert differences(run, shards, tmp_path, seed) == {}
    if seed == SHOWN_WITH.get(defect, 0):
        assert any(verdict.violations for verdict in by_one(run)), "nothing was compared"


@pytest.mark.parametrize("block", blocks(5, 1))
def test_slightly_wrong_histories(block: int, tmp_path: Path) -> None:
    """With changed records and torn journals, read in small windows."""
    for seed in range(block * 16, block * 16 + 16):
        run, done = mutant(seed, changes=1 + seed % 3, torn=seed % 4 == 0)
        found = differences(run, SHARDS[seed % len(SHARDS)], tmp_path, seed, window=7)
        assert found == {}, (seed, done)


@pytest.mark.parametrize("block", blocks(6, 1))
def test_nonsense(block: int, tmp_path: Path) -> None:
    """Records that make no sense together."""
    for seed in range(block * 20, block * 20 + 20):
        bowl = soup(seed, 20 + seed % 120) if seed % 2 else device_soup(seed, 80)
        assert differences(bowl, 2 + seed % 5, tmp_path, seed, window=11) == {}, seed


@pytest.mark.parametrize("block", blocks(6, 1))
def test_tokens_and_connections(block: int, tmp_path: Path) -> None:
    """What is sent and heard on a connection after its token's end lies in other parts than the token."""
    found = 0
    for seed in range(block * 50, block * 50 + 50):
        bowl = auth_soup(seed, 60 + seed % 100)
        assert differences(bowl, 2 + seed % 3, tmp_path, seed, window=11) == {}, seed
        found += sum(verdict.violations for verdict in by_one(bowl) if verdict.id == "I34")
    assert found > 6


def test_judges_end_with_their_parent() -> None:
    """SIGKILL of the process that judges leaves none of its workers waiting."""
    code = (
        "import os, time\nfrom earwitness.harness.report.sharded import processes\n"
        "if __name__ == '__main__':\n"
        "    with processes(2) as pool:\n        print(pool.submit(os.getpid).result(), flush=True)\n"
        "        time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    worker.wait(20)
