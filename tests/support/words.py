"""Rendering of every finding that any test makes: each must have a sentence, and none of its facts may be missing."""

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
"""Proportions: all records together prove them, none alone."""


def assert_told(verdicts: Iterable[Verdict], roster: Roster, lookup: Callable[[int, int], Any]) -> None:
    """AssertionError names the kind of finding without words of its own, or whose words lack a fact."""
    for verdict in verdicts:
        for finding in verdict.findings if verdict.id in OURS else ():
            assert (verdict.id, finding.what) in SENTENCES, f"{verdict.id} {finding.what!r} has no sentence"
            telling = tell(finding, verdict, roster, lookup)
            assert "(unknown" not in telling.sentence, telling.sentence
            assert ((verdict.id, finding.what) not in OF_MANY) <= len(finding.records) <= 6, finding
            proof = [Told(*place, lookup(*place)) for place in finding.records]
            assert len(scene(verdict.id, finding, proof, (), roster).steps) >= len(set(finding.records))
