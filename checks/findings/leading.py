"""Order of the broken checks in a report: the one that leads, and others that probably show the same defect.

One defect often breaks several promises: a resume that skips a message is a gap (I4), and a message that never came
(I5b, I47). The check with the most specific question says most about the cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from earwitness.checks.history.record import NOBODY
from earwitness.checks.verdict import Finding, Outcome, Verdict

ORDER: Final = (
    ("I19", "I20", "I4", "I5b", "I25", "I47"),
    ("I5a", "I16", "I17", "I44"),
    ("I18", "I22"),
)
"""Ids of checks that one defect can break together, each line from the most specific to the most general."""
SHARE: Final = 0.5
"""Smallest share of a check's findings that findings of another check must concern too to explain the first check."""

Key = tuple[str, int, int]


def explained(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Return id of a failed check → id of the more specific failed check that probably shows the same defect.

    At least the share SHARE of the findings of the first check must concern a device in a conversation, or a message,
    that findings of the other check concern too. Checks that are not promised explain nothing.
    """
    failed = {v.id: v for v in verdicts if v.outcome is Outcome.FAIL and v.findings}
    found: dict[str, str] = {}
    for line in ORDER:
        ids = [id for id in line if id in failed]
        for at, id in enumerate(ids):
            for other in ids[:at]:
                if other not in found and failed[other].promised and _covers(failed[other], failed[id]):
                    found[id] = other
                    break
    return found


def _covers(specific: Verdict, general: Verdict) -> bool:
    known = {key for finding in specific.findings for key in _keys(finding)}
    covered = sum(any(key in known for key in _keys(finding)) for finding in general.findings)
    return covered >= SHARE * len(general.findings)


def _keys(finding: Finding) -> Iterator[Key]:
    """Yield keys of what a finding is about: ("device", client, conversation) and ("message", author, counter)."""
    facts: Mapping[str, int] = finding.facts
    client, conv = facts.get("client", NOBODY), facts.get("conv", NOBODY)
    if client != NOBODY and conv != NOBODY:
        yield "device", client, conv
    if "author" in facts and facts.get("counter", 0) > 0:
        yield "message", facts["author"], facts["counter"]
