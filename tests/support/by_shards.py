"""A history in memory judged by shards, each step as `earwitness check --shards` takes it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from compare import batches

from earwitness.checks.catalogue import ALL
from earwitness.checks.engine.fold import Check, JournalInfo
from earwitness.checks.judge import Judge
from earwitness.checks.verdict import Verdict
from earwitness.harness.record.shards import ShardWriter, read_shards
from earwitness.harness.report.sharded import Splitter, Task, judge_part, put_together

NO_FACTS: Mapping[str, Any] = MappingProxyType({})


def by_one(run: Any, facts: Mapping[str, Any] = NO_FACTS, checks: Sequence[Check] = ALL) -> list[Verdict]:
    """The verdicts of one judge, which reads one journal after the other."""
    judge = Judge(run.roster, run.contract, checks)
    for batch in batches(run.journals, None):
        judge.step(batch)
    return judge.finish(infos_of(run), facts)


def infos_of(run: Any) -> tuple[JournalInfo, ...]:
    """What the judge is told of the journals."""
    return tuple(
        JournalInfo(name=i.name, records=i.records, footer=i.footer, torn=i.torn, meta=i.meta, gaps=i.gaps)
        for i in run.infos
    )


def by_shards(
    run: Any, shards: int, folder: Path, facts: Mapping[str, Any] = NO_FACTS, *, window: int = 1 << 16,
    rng: random.Random | None = None, checks: Sequence[Check] = ALL,
) -> tuple[list[Verdict], list[tuple[int, ...]]]:  # fmt: skip
    """The verdicts of several judges together, and which shards were judged together.

    `rng`: order in which they end, which must not matter; None: their own.
    """
    with ShardWriter(folder, shards) as writer:
        splitter = Splitter(run.roster, run.contract, checks, shards, writer)
        for batch in batches(run.journals, None):
            splitter.step(batch)
        splitter.finish()
    context = splitter.router.context(splitter.judge.world)
    ids = tuple(check.id for check in checks)
    task = Task(run.roster, run.contract, infos_of(run), facts, context, writer.layout, ids, splitter.opened())
    groups = splitter.router.groups()
    parts = [judge_part(task, read_shards(folder, writer.layout, group, window)) for group in groups]
    if rng is not None:
        rng.shuffle(parts)
    return put_together(task, checks, splitter.judge, parts)[0], groups
