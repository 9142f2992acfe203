"""Three-valued verdicts: FAIL outranks UNKNOWN, UNKNOWN outranks PASS, and no evidence is UNKNOWN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

OWN = "U"
"""First letter of the ids of users' own checks; those of the tester's health have "H", the others "I"."""


class Outcome(IntEnum):
    """Outcome of a check or a run; a higher value outranks a lower one."""

    PASS = 0
    UNKNOWN = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class Doubt:
    """Reason for UNKNOWN that counts something, so that the reasons of several parts of a history can be added.

    text       sentence with the count as `{n}`, and `{first}` for the name of the first thing counted
    count      how many; 0: there is no such reason
    otherwise  reason that holds if the count is 0; "" for none
    first      (rank, name) of the first thing counted, None if it has no name; the lowest rank of several parts is kept
    """

    text: str
    count: int
    otherwise: Doubt | str = ""
    first: tuple[int, str] | None = None

    def __str__(self) -> str:
        """Return the sentence, "" if there is no such reason."""
        if not self.count:
            return str(self.otherwise)
        return self.text.format(n=self.count, first=self.first[1] if self.first else "")

    def __add__(self, other: Doubt) -> Doubt:
        """Return the reason for two parts of a history together: their counts are added.

        Raises ValueError if the texts differ.
        """
        if self.text != other.text:
            raise ValueError(f"{self.text!r} and {other.text!r} are different reasons")
        otherwise = self.otherwise
        if isinstance(otherwise, Doubt) and isinstance(other.otherwise, Doubt):
            otherwise = otherwise + other.otherwise
        first = min((one.first for one in (self, other) if one.first and one.count), default=None)
        return Doubt(self.text, self.count + other.count, otherwise, first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One violation: the records that prove it, and facts about them for the counterexample's text.

    records  (journal number, record index from 1) in the order of the text, two to six where possible.
    facts    small numbers by name (client, conv, author, counter, seq, …), which `checks.findings` turns into text.
    what     short key of the kind of violation inside the check, e.g. "gap", "reorder", "open".
    sentence  the text of a user's own check; for the others `checks.findings.sentences` has a template.
    at       sort key of the finding among those of its check, also over several parts of a history.
    """

    what: str
    records: tuple[tuple[int, int], ...] = ()
    facts: Mapping[str, int] = field(default_factory=dict)
    sentence: str = ""
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Result of one check.

    examined    opportunities for a violation that were examined; 0 is UNKNOWN, never PASS.
    violations  how many were found; `findings` holds at most the first few.
    promised    False: the contract does not promise it, so violations are observations.
    why         one sentence where the outcome is UNKNOWN or needs an explanation.
    facts       further figures of the check by name, for reports
    doubts      the reasons that `why` joins; empty if the check raised an exception
    devices     clients that violations concern, if the check counts them (`facts["devices"]`)
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
    doubts: tuple[Doubt, ...] = field(default=(), compare=False)
    devices: frozenset[int] = field(default=frozenset(), compare=False)

    @property
    def own(self) -> bool:
        """Return whether it is the verdict of a user's own check."""
        return self.id.startswith(OWN)


def conclude(
    id: str,
    name: str,
    *,
    examined: int,
    violations: int,
    findings: Iterable[Finding] = (),
    promised: bool = True,
    unknown: str | Doubt | Sequence[Doubt] = "",
    facts: Mapping[str, Any] | None = None,
    devices: Iterable[int] = (),
) -> Verdict:
    """Return the verdict of a check from its counts.

    FAIL if there is a violation, whatever else is missing; else UNKNOWN if there is a reason for doubt (`unknown`: one,
    several or "") or nothing was examined; else PASS. Reasons that are a `Doubt` can be added over parts of a history.
    """
    doubts = _doubts(unknown)
    unknown = "; ".join(filter(None, map(str, doubts)))
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
        doubts=doubts,
        devices=frozenset(devices),
    )


def _doubts(unknown: str | Doubt | Sequence[Doubt]) -> tuple[Doubt, ...]:
    if isinstance(unknown, Doubt):
        return (unknown,)
    # A sentence without a count is the same in all parts of a history.
    return (Doubt("", 0, unknown),) if isinstance(unknown, str) else tuple(unknown)


def upper_bound_95(examined: int) -> float | None:
    """Return the 95 % upper bound on the violation rate after `examined` opportunities without a violation.

    It is 3 / `examined` (the rule of three), but at most 1. None if nothing was examined.
    """
    return min(1.0, 3.0 / examined) if examined else None
