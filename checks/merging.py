"""Merging of verdicts about parts of a history into those that one judge of the whole history would return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

from earwitness.checks.engine.fold import FINDINGS
from earwitness.checks.verdict import Verdict, conclude

BY_CONVERSATION = frozenset(
    (
        *("I1", "I2", "I3", "I4", "I5a", "I5b", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I13", "I14", "I15"),
        *("I16", "I17", "I19", "I20", "I21", "I24", "I25", "I43", "I44", "I45", "I46", "I47"),
    )
)
"""Ids of the checks that judge each conversation by itself, so that their counts may be added over several parts.

The few facts about other conversations that they use are in `checks.engine.world.Context`. All other checks compare
users, tokens, times or processes over the whole run, and are judged once (`harness.report.sharded`).
"""


def merge(parts: Sequence[Sequence[Verdict]]) -> list[Verdict]:
    """Return the verdicts about all parts of a history together, in the order of the checks.

    parts  the verdicts of the same checks about each part. Each conversation belongs to one part, and every part was
           judged with the same journals, facts and `Context`

    `examined` and `violations` are added. Of the findings of a check the first FINDINGS by `Finding.at` are kept, and
    its reasons for UNKNOWN are added (`Doubt`). If a check raised an exception in one part, its verdict of that part is
    returned. Raises ValueError if the parts have different checks.
    """
    return [_merged(verdicts) for verdicts in zip(*parts, strict=True)]


def _merged(verdicts: Sequence[Verdict]) -> Verdict:
    one = verdicts[0]
    if any(verdict.id != one.id for verdict in verdicts):
        raise ValueError(f"{one.id} is merged with another check")
    for verdict in verdicts:
        if not verdict.doubts:  # it raised: `conclude` made no verdict
            return verdict
    devices = frozenset[int]().union(*(verdict.devices for verdict in verdicts))
    findings = sorted((found for verdict in verdicts for found in verdict.findings), key=lambda found: found.at)
    return conclude(
        one.id,
        one.name,
        examined=sum(verdict.examined for verdict in verdicts),
        violations=sum(verdict.violations for verdict in verdicts),
        findings=findings[:FINDINGS],
        promised=one.promised,
        unknown=[reduce(add, doubts) for doubts in zip(*(verdict.doubts for verdict in verdicts), strict=True)],
        facts=_facts(verdicts, devices),
        devices=devices,
    )


def _facts(verdicts: Sequence[Verdict], devices: frozenset[int]) -> dict[str, Any]:
    """Return the sums of the facts, which are counts. `devices` is the number of different devices in all parts."""
    found: dict[str, Any] = {}
    for verdict in verdicts:
        for name, value in verdict.facts.items():
            found[name] = found.get(name, 0) + value
    return {**found, "devices": len(devices)} if "devices" in found else found


def replaced(verdicts: Sequence[Verdict], others: Sequence[Verdict]) -> list[Verdict]:
    """Return `verdicts`, each replaced by the verdict of `others` about the same check, if there is one."""
    by_id = {verdict.id: verdict for verdict in others}
    return [replace(by_id.get(verdict.id, verdict)) for verdict in verdicts]
