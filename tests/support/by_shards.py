"""Judging of a history in memory by shards, with the same steps as `earwitness check --shards`."""

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
from earwitness.checks.routing import Router
from earwitness.checks.verdict import Verdict
from earwitness.harness.record.shards import ShardWriter, read_shards
from earwitness.harness.report.sharded import Part, Splitter, Task, judge_part, part_of, put_together, router_of

TOGETHER, AGAIN = -2, -1
NO_FACTS: Mapping[str, Any] = MappingProxyType({})


def by_one(run: Any, facts: Mapping[str, Any] = NO_FACTS, checks: Sequence[Check] = ALL) -> list[Verdict]:
    """Return the verdicts of a single judge, which reads one journal after the other."""
    judge = Judge(run.roster, run.contract, checks)
    for batch in batches(run.journals, None):
        judge.step(batch)
    return judge.finish(infos_of(run), facts)


def infos_of(run: Any) -> tuple[JournalInfo, ...]:
    """Return the JournalInfo of each journal of a history."""
    return tuple(
        JournalInfo(name=i.name, records=i.records, footer=i.footer, torn=i.torn, meta=i.meta, gaps=i.gaps)
        for i in run.infos
    )


def by_shards(
    run: Any, shards: int, folder: Path, facts: Mapping[str, Any] = NO_FACTS, *, window: int = 1 << 16,
    rng: random.Random | None = None, checks: Sequence[Check] = ALL, large: int | None = None,
) -> tuple[list[Verdict], list[tuple[int, ...]]]:  # fmt: skip
    """Return (the merged verdicts of several judges, the groups of shards that were judged together).

    `rng`: draws the order in which the judges end, which must not matter; None: the order of the shards. `large`:
    conversations with that many members are judged by receiver where the contract allows it. The group of such a
    conversation begins with TOGETHER, or with AGAIN if its parts could not be joined.
    """
    router = Router(run.roster, shards) if large is None else router_of(run.roster, run.contract, checks, shards, large)
    with ShardWriter(folder, router.shards) as writer:
        splitter = Splitter(run.roster, run.contract, checks, router, writer)
        for batch in batches(run.journals, None):
            splitter.step(batch)
        splitter.finish()
    context = router.context(splitter.judge.world)
    ids = tuple(check.id for check in checks)
    task = Task(run.roster, run.contract, infos_of(run), facts, context, writer.layout, ids, splitter.opened())
    groups = router.groups()

    def judged(shards: tuple[int, ...], *, split: bool = False) -> Part:
        return judge_part(task, read_shards(folder, writer.layout, shards, window), split=split)

    parts = [judged(group) for group in groups]
    for split in router.splits():
        said, *some = (judged((split.said, *part), split=True) for part in ((), *((part,) for part in split.parts)))
        found = part_of(said, some)
        parts.append(found or judged(split.shards))
        groups.append((TOGETHER if found else AGAIN, *split.shards))
    if rng is not None:
        rng.shuffle(parts)
    return put_together(task, checks, splitter.judge, parts)[0], groups
