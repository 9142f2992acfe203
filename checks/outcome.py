"""The outcome of a run from its verdicts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from checks.verdict import Outcome, Verdict


def outcome_of_run(verdicts: Sequence[Verdict], judged_by: Collection[str]) -> tuple[Outcome, str]:
    """(outcome, one sentence why).

    All H-checks count, the checks that the story names in `judged_by` (by id or name), and any FAIL of any other
    promised check. A FAIL of what was never promised is an observation, also if the story names the check: one story
    serves platforms with and without sequence numbers. A check of `judged_by` that does not exist or was not
    exercised makes the outcome UNKNOWN, and so does a story of whose checks the platform promises none."""
    known = {verdict.id: verdict for verdict in verdicts} | {verdict.name: verdict for verdict in verdicts}
    named = {known[key].id for key in judged_by if key in known}
    failed = [v for v in verdicts if v.promised and v.outcome is Outcome.FAIL]
    if failed:
        return Outcome.FAIL, _sentence("broken", failed)
    reasons = [f"there is no check {key}" for key in judged_by if key not in known]
    if not any(v.id.startswith("H") for v in verdicts):
        reasons.append("no check of the record itself was made")
    for verdict in verdicts:
        if verdict.id.startswith("H") or (verdict.id in named and verdict.promised):
            reason = _doubt(verdict)
            reasons += [reason] if reason else []
    if reasons:
        return Outcome.UNKNOWN, "; ".join(reasons)
    held = [v for v in verdicts if v.id in named and v.promised]
    if not held:
        return Outcome.UNKNOWN, "the platform promises nothing of what the story is judged by"
    return Outcome.PASS, _sentence("held", held)


def exercised(verdict: Verdict) -> bool:
    """False: nothing was examined; such a check shows "not exercised" and does not count."""
    return verdict.examined > 0 or verdict.violations > 0


def _doubt(verdict: Verdict) -> str:
    if verdict.outcome is Outcome.UNKNOWN:
        return f"{verdict.id} {verdict.name}: {verdict.why}"
    return "" if exercised(verdict) else f"{verdict.id} {verdict.name}: it was not exercised"


def _sentence(what: str, verdicts: Sequence[Verdict]) -> str:
    return f"{what}: " + ", ".join(f"{v.id} {v.name}" for v in verdicts)
