"""Sentences about a run for the terminal and `report.html`: what broke, how often, and how many users were affected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from earwitness.checks.catalogue import ALL
from earwitness.checks.engine.fold import Described

Row = Mapping[str, Any]
KNOWN: Final[Mapping[str, Described]] = {check.id: check for check in ALL if isinstance(check, Described)}
GENERAL: Final = "{violations} of {examined} {unit}"
"""Default sentence about the number of violations, for a check that has no sentence of its own."""
APART: Final = "{violations} violations in {examined} {unit}"
"""Default sentence for checks whose violations are not a part of the things examined.

These are users' own checks, and checks that may find several violations of one thing.
"""
PLANTED: Final = (
    "Planted on purpose, to see it detected; the number is the probability with which it acts at each opportunity. "
    "A defect is a mistake in the platform; a fault is an event of the run, such as a service that is killed."
)
"""Explanation of planted defects, shown below the names of the planted defects of a run."""


def broken_sentence(check: Row) -> str:
    """Return how often a failed check was violated, and how many users and rooms were hit, without a full stop.

    `check`: a row of verdict.json. Users and rooms are counted in the findings; the sentence says so if there are more
    violations than findings.
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
    """Return the plural noun for the things that the check `id` examines; "examined" for a user's own check."""
    known = KNOWN.get(id)
    return known.unit if known is not None else "examined"


def symptom_of(check: Row) -> str:
    """Return what users notice of a failed check, as a sentence without a full stop; "" for own checks."""
    known = KNOWN.get(check["id"])
    return known.symptom if known is not None else ""


def broken_first(checks: Sequence[Row]) -> list[Row]:
    """Return the promised checks that failed; each is followed by the checks that probably show the same defect."""
    failed = [check for check in checks if check["outcome"] == "FAIL" and check["promised"]]
    ids = {check["id"] for check in failed}
    leading = [check for check in failed if check.get("same_defect_as") not in ids]
    return [one for lead in leading for one in (lead, *(c for c in failed if c.get("same_defect_as") == lead["id"]))]


def same_defect(check: Row) -> str:
    """Return words such as "probably the same defect as I20"; "" if the check stands for a defect of its own."""
    other = check.get("same_defect_as")
    return f"probably the same defect as {other}" if other else ""


def counted_by(checks: Sequence[Row]) -> str:
    """Return a sentence on why several checks count one defect with different numbers; "" if no two share a defect."""
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
    """Return the end of a sentence: number of rooms and users of the check's violations; "" if they name none."""
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
