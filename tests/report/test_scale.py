"""A small sample of `make campaign scale`: shards made, judged and deleted one by one, as one judge sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scale

from earwitness.checks.catalogue import ALL
from earwitness.checks.history.record import RECORD
from earwitness.checks.judge import Batch, Judge
from earwitness.checks.merging import BY_CONVERSATION
from earwitness.harness.record.shards import file_of


def test_what_was_planted_is_found_shard_by_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many violations as were planted, and verdict by verdict what one judge says of all records in their order."""
    monkeypatch.setattr(scale, "PLANTED_IN", 2)
    pattern = scale.pattern_of(tmp_path, 20_000, 4, seed=3)
    total = scale.judged(pattern, workers=1)
    assert (total.shards, total.planted, total.wrong()) == (4, 10, [])
    assert total.records == sum(len(pattern.head) + len(pattern.phases) for _ in range(3)) + pattern.records
    parts = [scale.common_of(pattern)]
    for shard in range(4):
        scale.make(pattern, shard, tmp_path)
        parts.append(np.fromfile(file_of(tmp_path, shard), RECORD))
    records = np.concatenate(parts)
    records = records[np.argsort(records["index"], kind="stable")]
    assert (records["index"] == np.arange(1, pattern.records + 1)).all()
    task = scale.task_of(pattern)
    judge = Judge(pattern.roster, scale.CONTRACT, [check for check in ALL if check.id in BY_CONVERSATION])
    judge.step(Batch(0, records))
    assert judge.conclude(task.journals, task.facts) == total.verdicts
    assert not list(tmp_path.glob("earwitness-scale-*")), "a shard was left behind"


def test_a_campaign_that_finds_too_little_says_so(tmp_path: Path) -> None:
    """What was not planted counts as wrong, and so does a loss that was not found."""
    pattern = scale.pattern_of(tmp_path, 20_000, 1, seed=3)
    total = scale.judged(pattern, workers=1)
    assert (total.planted, total.wrong()) == (0, [])
    total.planted = 1
    assert [sentence.partition(":")[0] for sentence in total.wrong()] == ["I4", "I5b", "I6", "I47"]
