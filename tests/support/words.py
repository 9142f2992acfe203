"""Check of the texts of findings in all tests: each finding must have a sentence, and each fact in it must be known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from earwitness.checks.catalogue import ALL
from earwitness.checks.findings.lines import Told
from earwitness.checks.findings.scene import scene
from earwitness.checks.findings.sentences import SENTENCES, tell
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Verdict

OURS = frozenset(check.id for check in ALL)
OF_MANY = {("I26", "unanswered"), ("I28", "errors")}
"""(Check, kind of finding) of proportions, which no few records prove: such a finding may have no records."""


def assert_told(verdicts: Iterable[Verdict], roster: Roster, lookup: Callable[[int, int], Any]) -> None:
    """Assert that each finding has a sentence with all its facts, and at most six records; the error names the kind.

    `lookup(journal, index)`: returns a record.
    """
    for verdict in verdicts:
        for finding in verdict.findings if verdict.id in OURS else ():
            assert (verdict.id, finding.what) in SENTENCES, f"{verdict.id} {finding.what!r} has no sentence"
            telling = tell(finding, verdict, roster, lookup)
            assert "(unknown" not in telling.sentence, telling.sentence
            assert ((verdict.id, finding.what) not in OF_MANY) <= len(finding.records) <= 6, finding
            proof = [Told(*place, lookup(*place)) for place in finding.records]
            assert len(scene(verdict.id, finding, proof, (), roster).steps) >= len(set(finding.records))
