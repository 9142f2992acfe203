"""The three-valued verdict. FAIL outranks UNKNOWN outranks PASS; silence is UNKNOWN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Outcome(IntEnum):
    PASS = 0
    UNKNOWN = 1
    FAIL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One violation: the records that prove it, and facts about them for the witness's words.

    records  (journal number, record index from 1) in telling order, two to six where possible.
    facts    small numbers by name (client, conv, author, counter, seq, …); the witness turns them into words.
    what     short key of the kind of violation inside the check, e.g. "gap", "reorder", "open".
    """

    what: str
    records: tuple[tuple[int, int], ...] = ()
    facts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one check says.

    examined    opportunities for a violation that were looked at; 0 is UNKNOWN, never PASS.
    violations  how many were found; `findings` keeps at most the first few.
    promised    False: the contract does not promise it; violations are observations.
    why         one sentence where the outcome is UNKNOWN or needs explaining.
    """

    id: str
    name: str
    outcome: Outcome
    examined: int
    violations: int = 0
    findings: tuple[Finding, ...] = ()
    promised: bool = True
    why: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def conclude(
    id: str,
    name: str,
    *,
    examined: int,
    violations: int,
    findings: Iterable[Finding] = (),
    promised: bool = True,
    unknown: str = "",
    facts: Mapping[str, Any] | None = None,
) -> Verdict:
    """The rule of precedence in one place: a violation is FAIL whatever else is missing; then any reason
    for doubt (`unknown`), or nothing examined, is UNKNOWN; only then PASS."""
    if violations:
        outcome, why = Outcome.FAIL, unknown
    elif unknown:
        outcome, why = Outcome.UNKNOWN, unknown
    elif examined == 0:
        outcome, why = Outcome.UNKNOWN, "nothing was examined"
    else:
        outcome, why = Outcome.PASS, ""
    return Verdict(
        id=id,
        name=name,
        outcome=outcome,
        examined=examined,
        violations=violations,
        findings=tuple(findings),
        promised=promised,
        why=why,
        facts=dict(facts or {}),
    )


def upper_bound_95(examined: int) -> float | None:
    """95 % upper bound on the violation rate after `examined` opportunities without one (rule of three)."""
    return min(1.0, 3.0 / examined) if examined else None
