"""Second judging of a damaged run: intact blocks of records that follow a damaged block.

A journal is judged up to its first damaged block, because most checks need all earlier records. The violations of some
checks are proven by the few records that a finding shows (`checks.judge.certain_alone`). Those checks judge all intact
blocks once more. Each sequence of consecutive intact blocks counts as a journal whose beginning and end are missing. A
check fails if this second judging finds a violation; it never changes FAIL or UNKNOWN to PASS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from earwitness.checks.engine.fold import Check, JournalInfo
from earwitness.checks.judge import Judge, certain_alone
from earwitness.checks.own_fold import Own
from earwitness.checks.verdict import Finding, Outcome, Verdict
from earwitness.harness.record.history import History

WHY = "found also in intact blocks after a damaged one (H8)"


def with_blocks_behind(
    history: History, verdicts: Sequence[Verdict], facts: Mapping[str, Any], checks: Sequence[Check]
) -> list[Verdict]:
    """Return `verdicts`, each replaced by a FAIL if judging the intact blocks after a damaged one found a violation.

    `facts`: as `facts_of` returns them; `checks`: all checks of the run. The second judging is done only if there are
    such blocks, and only by the checks that have not failed already.
    """
    stretches = history.stretches
    passed = {verdict.id for verdict in verdicts if verdict.outcome is not Outcome.FAIL}
    alone = certain_alone(history.contract) | {check.id for check in checks if _alone(check)}
    checks = [check for check in checks if check.id in alone & passed]
    if not stretches or not checks:
        return list(verdicts)
    judge = Judge(history.roster, history.contract, checks)
    for batch in chain(history.batches(), history.beyond()):
        judge.step(batch)
    owners = [*range(len(history.journals)), *(owner for owner, _, _ in stretches)]
    infos = [*history.infos(), *(_part(history, owner, last - first + 1) for owner, first, last in stretches)]
    again = {verdict.id: _told(verdict, owners) for verdict in judge.finish(infos, facts)}
    failed = {id for id, verdict in again.items() if verdict.outcome is Outcome.FAIL}
    return [again[verdict.id] if verdict.id in failed else verdict for verdict in verdicts]


def _alone(check: Check) -> bool:
    """Return whether `check` is a user's own check (`Own`) whose findings are proven by the records that they show."""
    return isinstance(check, Own) and not check.definition.needs_all


def _part(history: History, owner: int, records: int) -> JournalInfo:
    """Return the JournalInfo of `records` consecutive intact blocks' records: a torn journal with one gap.

    `owner`: index of the journal in `history.journals` that contains these blocks.
    """
    return replace(history.journals[owner].info(), records=records, footer=None, torn=True, gaps=1, unsealed=0)


def _told(verdict: Verdict, owners: Sequence[int]) -> Verdict:
    """Return `verdict` with the journal numbers in its findings mapped by `owners`, and WHY added to its reason.

    `owners`: for each journal number of the second judging, the index of the journal that contains its records.
    """
    findings = tuple(_moved(finding, owners) for finding in verdict.findings)
    return replace(verdict, findings=findings, why=f"{verdict.why}; {WHY}" if verdict.why else WHY)


def _moved(finding: Finding, owners: Sequence[int]) -> Finding:
    return replace(finding, records=tuple((owners[journal], index) for journal, index in finding.records))
