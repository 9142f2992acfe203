"""Judging what grows: the last word is the one that is given afterwards."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from journaled import Journaled
from literal import Told
from rough import rough
from simulated_defects import DEFECTS
from simulator import simulate
from soup import Soup, soup

from earwitness.checks.engine.compiled import COMPILED
from earwitness.checks.engine.traffic import Traffic
from earwitness.checks.history.record import FOREIGN, RECORD_BYTES, Kind, Place
from earwitness.checks.judge import Batch, Judge
from earwitness.harness.client.tally import BUCKETS, Histogram, bucket_bounds, bucket_middle
from earwitness.harness.errors import RecordError
from earwitness.harness.platform.children import module_environment
from earwitness.harness.record.exporter import export
from earwitness.harness.record.reading import measure
from earwitness.harness.report.follow import Following
from earwitness.harness.report.judging import judge_run
from earwitness.harness.report.live import spread

DEADLINE_S = 60.0


def test_the_figures_of_a_histogram() -> None:
    """Median and 99th percentile are those of all samples written out, within the width of a bucket."""
    rng = random.Random(4)
    waits_ns = np.array(sorted(rng.lognormvariate(16, 1.5) for _ in range(997)))
    last_ns = [bucket_bounds(bucket)[1] for bucket in range(BUCKETS)]
    told = spread(np.bincount(np.searchsorted(last_ns, waits_ns), minlength=BUCKETS))
    assert (told["samples"], told["within"][-1]) == (997, 997)
    for name, nth in (("p50_ms", 498), ("p99_ms", 987)):
        assert told[name] == pytest.approx(waits_ns[nth - 1] / 1e6, rel=0.02)
    one = spread(np.bincount([70], minlength=BUCKETS))
    assert one["p50_ms"] == one["p99_ms"] == round(bucket_middle(70) / 1e6, 3)


def silent(line: str) -> None:
    """Nobody listens."""


def slices(run: Journaled, rng: random.Random) -> Iterator[None]:
    """Let the journals grow, now this one and now that."""
    while run.left:
        run.write(rng.choice(run.left), rng.choice((1, 20, 100)))
        yield


def without_witnesses(verdict: dict[str, Any]) -> dict[str, Any]:
    """Which of several equally good records a finding shows may depend on how the journals were interleaved."""
    for row in [*verdict["checks"], *verdict["harness"]]:
        del row["witnesses"]
    return verdict


@pytest.mark.parametrize("seed", range(12 if COMPILED else 2))
def test_followed_in_slices_or_read_as_a_whole(tmp_path: Path, seed: int) -> None:
    """Whatever was complete at whichever turn, the verdict is that of `earwitness check`, also of a run with a journal
    that was never closed."""
    rng = random.Random(seed)
    run = Journaled(tmp_path / "run", soup(seed, steps=150), judged_by=["I1", "I4"])
    following = Following(run.directory.path, silent, publish=False)
    for _ in slices(run, rng):
        if rng.random() < 0.5:
            following.turn()
    run.close(torn=[0] if seed % 4 == 0 else [])
    assert following.over()
    assert without_witnesses(following.finish()) == without_witnesses(judge_run(run.directory.path))


@pytest.mark.parametrize("defect", ["", *(DEFECTS if COMPILED else ())])
def test_nothing_told_is_taken_back(tmp_path: Path, defect: str) -> None:
    """A violation in a verdict so far is one in the verdict; so in a healthy run, however rough, there never is one."""
    for seed in range(2 if defect else 20 if COMPILED else 1):
        history = simulate(seed, **rough(seed), defects=(defect,) if defect else (), rate=0.05)
        run = Journaled(tmp_path / f"run-{seed}", history, judged_by=[])
        following = Following(run.directory.path, silent, publish=False)
        broken: set[str] = set()
        for _ in slices(run, random.Random(seed)):
            told = following.turn() or {"checks": []}
            broken |= {row["id"] for row in told["checks"] if row["violations"] and row["promised"]}
        run.close()
        assert broken <= {row["id"] for row in following.finish()["checks"] if row["violations"]}, seed
        assert defect or not broken, seed


def test_who_turns_out_to_be_a_user_was_no_stranger(tmp_path: Path) -> None:
    """An account that is stated after the records that name it: the verdict so far is wrong, the verdict is not."""
    told = Told()
    for place in (Place.AUTH, Place.BACKEND):
        told.write(Kind.IDENTITY, client=0, counter=int(place), aux=FOREIGN)  # the first name of the journal
    run = Journaled(tmp_path / "run", told.run(), judged_by=[])
    run.journal(0).intern("an account")
    run.write(0, len(told.rows))
    lines: list[str] = []
    following = Following(run.directory.path, lines.append, publish=False)
    document = following.turn()
    assert document is not None
    assert "I15" in {finding["check"] for finding in document["findings"]}
    run.journal(0).identity(0, "an account")
    run.close()
    assert following.over()
    verdict = following.finish()
    assert any("judged again" in line for line in lines)
    assert without_witnesses(verdict) == without_witnesses(judge_run(run.directory.path))
    assert next(check for check in verdict["checks"] if check["id"] == "I15")["outcome"] == "PASS"


def test_one_account_of_two_users(tmp_path: Path) -> None:
    """Both are told one account, each in a process of its own: whose it is does not depend on who comes first."""
    journals = []
    for client in (0, 1):
        told = Told()
        told.write(Kind.IDENTITY, client=client, counter=int(Place.AUTH), aux=FOREIGN)
        journals.append(told.run())
    one = journals[0]
    infos = [replace(one.infos[0], name=f"load-{number}") for number in range(2)]
    both = Soup(one.roster, one.contract, [bowl.journals[0] for bowl in journals], infos)
    run = Journaled(tmp_path / "run", both, judged_by=[])
    following = Following(run.directory.path, silent, publish=False)
    run.journal(0)
    for number in (1, 0):
        run.journal(number).identity(number, "an account")
        run.journal(number).intern("an account")
        run.write(number, 1)
        following.turn()
    run.close()
    verdict = following.finish()
    assert without_witnesses(verdict) == without_witnesses(judge_run(run.directory.path))
    assert next(check for check in verdict["checks"] if check["id"] == "I15")["violations"] == 1


def chat(**promises: Any) -> Told:
    """One says something to another."""
    told = Told(**promises)
    for client in (0, 1):
        told.join(client, client + 1)
    for counter in range(1, 6):
        told.invoke(0, 1, counter)
        told.ok(0, 1, counter, seq=counter)
    return told


def test_a_journal_that_is_shorter_than_its_footer_says(tmp_path: Path) -> None:
    """The last look is the first that sees the footer; what is missing then is missing."""
    run = Journaled(tmp_path / "run", chat().run(), judged_by=[])
    run.write(0, 6)
    following = Following(run.directory.path, silent, publish=False)
    following.turn()
    run.write(0, 100)
    run.close()
    data = run.journal(0).path
    os.truncate(data, data.stat().st_size - 2 * RECORD_BYTES)
    verdict = following.finish()
    assert without_witnesses(verdict) == without_witnesses(judge_run(run.directory.path))
    assert "breaks in its numbering" in verdict["harness"][0]["why"]


def test_a_journal_that_is_damaged_in_its_midst(tmp_path: Path) -> None:
    """What our disk lost is not held against the platform: the journal ends before it, and nothing is called good."""
    told = chat(sequence="contiguous")
    for counter in range(1, 6):
        told.deliver(1, 2, 0, counter, seq=counter)
    told.drained()
    run = Journaled(tmp_path / "run", told.run(), judged_by=["I4"])
    run.write(0, 100)
    run.close()
    lost = run.written[0] - 4  # of the third delivery
    with run.journal(0).path.open("r+b") as data:
        data.seek(lost * RECORD_BYTES)
        data.write(bytes(RECORD_BYTES))
    verdict = judge_run(run.directory.path)
    assert verdict["outcome"] == "UNKNOWN"
    assert [check["id"] for check in verdict["checks"] if check["violations"]] == []
    assert verdict["records"] == 0
    assert "told.ewj, block 1 " in next(check["why"] for check in verdict["harness"] if check["id"] == "H8")
    with pytest.raises(RecordError, match=r"is damaged, it cannot be exported; `earwitness check` reads what it can"):
        export(run.directory.path, tmp_path / "h.jsonl")
    assert not (tmp_path / "h.jsonl").exists()


def test_a_journal_that_is_closed_while_it_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads its footer reads its last records too."""
    run = Journaled(tmp_path / "run", chat().run(), judged_by=[])
    run.write(0, 6)
    following = Following(run.directory.path, silent, publish=False)
    following.turn()

    def measured(*counted: Any) -> None:
        measure(*counted)
        run.write(0, 100)
        run.close()

    monkeypatch.setattr("earwitness.harness.record.history.measure", measured)
    verdict = following.finish()
    assert without_witnesses(verdict) == without_witnesses(judge_run(run.directory.path))
    assert verdict["records"] == len(chat().rows)


def test_the_last_step_folds_only_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all journals are closed, what was judged before is not judged again."""
    run = Journaled(tmp_path / "run", soup(5, steps=200), judged_by=[])
    following = Following(run.directory.path, silent, publish=False)
    for number in run.left:
        run.write(number, 10**6)
    following.turn()
    folded: list[int] = []
    step = following.live.judge.step
    monkeypatch.setattr(following.live.judge, "step", lambda batch: (folded.append(len(batch.records)), step(batch)))
    run.close()
    assert following.finish()["records"] > 100
    assert folded == []


def test_a_run_whose_process_has_died(tmp_path: Path) -> None:
    """Whoever follows a run that nobody leads any more gets the verdict of what there is: its record is incomplete."""
    run = Journaled(tmp_path / "run", chat().run(), judged_by=["I6"])
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    run.directory.update(process=dead.pid, process_started=time.time())
    run.write(0, 10**6)
    following = Following(run.directory.path, silent, publish=False)
    assert following.over()
    verdict = following.finish()
    assert verdict["outcome"] == "UNKNOWN"
    assert "never closed" in verdict["why"]


def test_delays_fall_into_the_tally_s_buckets() -> None:
    """The compiled loop and the load's own histogram count a latency in the same bucket."""
    times = [0, 1, 63, 64, 16_383, 16_384, 100_000, 123_456_789, 10**10, 10**12]
    told = Told(sequence="none", rooms=((0, 1),))
    told.join(1, 2)
    for n, ns in enumerate(times, 1):
        told.invoke(0, 1, n)
        told.deliver(1, 2, 0, n)
        told.rows[-1]["t"] = told.rows[-2]["t"] + ns
    run = told.run()
    traffic, histogram = Traffic(run.roster, BUCKETS), Histogram()
    Judge(run.roster, run.contract, (), [traffic]).step(Batch(0, run.journals[0]))
    for ns in times:
        histogram.add(ns)
    expected = np.zeros(BUCKETS, np.int64)
    for bucket, count in histogram.drain().buckets.items():
        expected[bucket] = count
    assert traffic.sizes.tolist() == [2]
    assert traffic.delays[0].tolist() == expected.tolist()


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_a_warm_judge_compiles_nothing_any_more() -> None:
    """After the warm-up every compiled loop is loaded, except those that few runs need."""
    code = """
import pkgutil, importlib
from earwitness import checks
from earwitness.harness.report.warm import warm_up
from numba.core.registry import CPUDispatcher
warm_up(print)
modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(checks.__path__, "earwitness.checks.")]
modules += [importlib.import_module(f"earwitness.harness.report.{m}") for m in ("histograms", "recorded")]
loops = {v for m in modules for v in vars(m).values() if isinstance(v, CPUDispatcher)}
print(*sorted(v.__name__ for v in loops if not v.signatures and not v.targetoptions.get("forceinline")))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=module_environment(), check=True
    )
    assert set(done.stdout.splitlines()[-1].split()) <= {"rehash", "refill", "refilled", "route_step", "take_back"}
