"""Plain sentences about a whole run that the terminal and `report.html` share: what broke, how often, who was hit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from earwitness.checks.catalogue import ALL
from earwitness.checks.engine.fold import Described

Row = Mapping[str, Any]
KNOWN: Final[Mapping[str, Described]] = {check.id: check for check in ALL if isinstance(check, Described)}
GENERAL: Final = "{violations} of {examined} {unit}"
"""Sentence about all violations of a check that has none of its own."""
APART: Final = "{violations} violations in {examined} {unit}"
"""The same where violations are not among what is examined: own checks, and several violations of one thing."""
PLANTED: Final = (
    "Planted on purpose, to see it detected; the number is the probability with which it acts at each opportunity. "
    "A defect is a mistake in the platform; a fault is an event of the run, such as a service that is killed."
)
"""Explanation of planted defects, below the names of those of a run."""


def broken_sentence(check: Row) -> str:
    """Return how often a failed check was violated, at what rate, and who was hit, as one sentence without its stop.

    `check`: a row of verdict.json. Users and rooms are those of its counterexamples, of which a verdict keeps the first
    few; the sentence says so where there are more violations.
    """
    known = KNOWN.get(check["id"])
    counts, one = check.get("facts") or {}, check["violations"] == 1
    verbs = {"are": "is", "have": "has", "were": "was", "name": "names"} if one else {}
    fields = {
        **{verb: verb for verb in ("are", "have", "were", "name")},
        **verbs,
        **{name: f"{count:,}" for name, count in counts.items() if isinstance(count, int)},
        "violations": f"{check['violations']:,}",
        "examined": f"{check['examined']:,}",
        "unit": check.get("unit") or unit_of(check["id"]),
    }
    among = known is not None and check["violations"] <= check["examined"]
    general = GENERAL if among else APART.replace("violations in", "violation in") if one else APART
    try:
        words = (known.tally if known is not None and known.tally else general).format_map(fields)
    except KeyError:  # a verdict of an earlier version lacks a fact
        words = general.format_map(fields)
    share = f" ({per_cent(check['violations'], check['examined'])})" if check["examined"] else ""
    return f"{words}{share}{_hit(check)}"


def unit_of(id: str) -> str:
    """Return what the check `id` counts as examined, in the plural; "examined" for a user's own check."""
    known = KNOWN.get(id)
    return known.unit if known is not None else "examined"


def symptom_of(check: Row) -> str:
    """Return what users notice of a failed check, as a plain sentence without its stop; "" for own checks."""
    known = KNOWN.get(check["id"])
    return known.symptom if known is not None else ""


def broken_first(checks: Sequence[Row]) -> list[Row]:
    """Return the checks that count and failed: each defect's leading one, followed by those of the same defect."""
    failed = [check for check in checks if check["outcome"] == "FAIL" and check["promised"]]
    ids = {check["id"] for check in failed}
    leading = [check for check in failed if check.get("same_defect_as") not in ids]
    return [one for lead in leading for one in (lead, *(c for c in failed if c.get("same_defect_as") == lead["id"]))]


def same_defect(check: Row) -> str:
    """Return "probably the same defect as I20", "" for a check that leads."""
    other = check.get("same_defect_as")
    return f"probably the same defect as {other}" if other else ""


def counted_by(checks: Sequence[Row]) -> str:
    """Return why several checks count one defect with different numbers, as a sentence; "" if they do not."""
    failed = broken_first(checks)
    there = {check["id"] for check in failed}
    others = [check for check in failed if check.get("same_defect_as") in there]
    if not others:
        return ""
    ids = {check["id"] for check in others} | {check["same_defect_as"] for check in others}
    told = [f"{check['id']} {unit_of(check['id'])}" for check in failed if check["id"] in ids]
    return f"One violation counts in several checks, and each counts in its own unit: {', '.join(told)}."


def per_cent(part: int, whole: int) -> str:
    """Return `part` of `whole` in per cent, with three significant digits and never rounded down to 0.

    "" if `whole` is 0.
    """
    if not whole:
        return ""
    share = 100 * part / whole
    return "less than 0.0001 %" if 0 < share < 0.0001 else f"{share:.3g} %"


def _hit(check: Row) -> str:
    """Return the part of a sentence about the rooms and users of the counterexamples, "" if they name none."""
    witnesses, extent = check["witnesses"], check.get("extent")
    counts = [len({witness.get(key) for witness in witnesses} - {None}) for key in ("room", "user")]
    of = len(witnesses)
    if extent:
        counts, of = [extent["rooms"], extent["users"]], extent["of"]
    found = [
        f"{word} {number:,} {noun}{'' if number == 1 else 's'}"
        for word, noun, number in zip(("in", "for"), ("room", "user"), counts, strict=True)
        if number
    ]
    if not found:
        return ""
    where = ", ".join(found)
    return f", {where}" if of >= check["violations"] else f"; the first {of:,} are {where}"
