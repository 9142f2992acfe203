"""Outcome of a run, derived from the verdicts of its checks."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from earwitness.checks.verdict import Outcome, Verdict


def outcome_of_run(verdicts: Sequence[Verdict], judged_by: Collection[str] | None) -> tuple[Outcome, str]:
    """Return the outcome of the run and one sentence that explains it.

    These verdicts count: all H-checks, the user's own checks, the checks that the story names in `judged_by` (by id or
    name), and any FAIL of any other promised check.

    - A FAIL of what was never promised is an observation, even if the story names the check: one story serves platforms
      with and without sequence numbers.
    - A FAIL that counts outranks every reason for UNKNOWN.
    - A check of `judged_by` that does not exist or was not exercised makes the outcome UNKNOWN.
    - Without any H-check the outcome is UNKNOWN.
    - If the platform promises none of the checks that the story names, the outcome is UNKNOWN.
    - `judged_by` None (an imported history): all promised checks that examined something count.
    """
    known = {verdict.id for verdict in verdicts} | {verdict.name for verdict in verdicts}
    failed = [v for v in verdicts if v.promised and v.outcome is Outcome.FAIL]
    if failed:
        return Outcome.FAIL, _sentence("broken", failed)
    reasons = [f"there is no check {key}" for key in judged_by or () if key not in known]
    if not any(v.id.startswith("H") for v in verdicts):
        reasons.append("no check of the record itself was made")
    asked = [verdict for verdict in verdicts if counts(verdict, judged_by)]
    reasons += [reason for verdict in asked if (reason := _doubt(verdict))]
    if reasons:
        return Outcome.UNKNOWN, "; ".join(reasons)
    held = [verdict for verdict in asked if not verdict.id.startswith("H")]
    if not held:
        return Outcome.UNKNOWN, "the platform promises none of the checks that the story is judged by"
    return Outcome.PASS, _sentence("held", held)


def counts(verdict: Verdict, judged_by: Collection[str] | None) -> bool:
    """Return whether the outcome of the run depends on this verdict even if it is not a FAIL.

    `judged_by`: checks that the story names, None for an imported history.
    """
    named = exercised(verdict) if judged_by is None else verdict.id in judged_by or verdict.name in judged_by
    return verdict.id.startswith("H") or verdict.own or (named and verdict.promised)


def exercised(verdict: Verdict) -> bool:
    """Return whether the check examined anything. If not, reports show "not exercised" and the check does not count."""
    return verdict.examined > 0 or verdict.violations > 0


def _doubt(verdict: Verdict) -> str:
    if verdict.outcome is Outcome.UNKNOWN:
        return f"{verdict.id} {verdict.name}: {verdict.why}"
    return "" if exercised(verdict) else f"{verdict.id} {verdict.name}: it was not exercised"


def _sentence(what: str, verdicts: Sequence[Verdict]) -> str:
    return f"{what}: " + ", ".join(f"{v.id} {v.name}" for v in verdicts)
