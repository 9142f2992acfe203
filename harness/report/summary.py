"""Plain sentences about a whole run that the terminal and `report.html` share: what broke, how often, who was hit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from earwitness.checks.catalogue import ALL
from earwitness.checks.engine.fold import Described

Row = Mapping[str, Any]
KNOWN: Final[Mapping[str, Described]] = {check.id: check for check in ALL if isinstance(check, Described)}
GENERAL: Final = "{violations} violations in {examined} examined"
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
    }
    try:
        words = (known.tally if known is not None and known.tally else GENERAL).format_map(fields)
    except KeyError:  # a verdict of an earlier version lacks a fact
        words = GENERAL.format_map(fields)
    if one:
        words = words.replace("1 violations", "1 violation")
    share = f" ({per_cent(check['violations'], check['examined'])})" if check["examined"] else ""
    return f"{words}{share}{_hit(check)}"


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
    witnesses = check["witnesses"]
    found = [
        f"{word} {number:,} {noun}{'' if number == 1 else 's'}"
        for word, noun, key in (("in", "room", "room"), ("for", "user", "user"))
        if (number := len({witness.get(key) for witness in witnesses} - {None}))
    ]
    if not found:
        return ""
    where = ", ".join(found)
    return f", {where}" if len(witnesses) >= check["violations"] else f"; the first {len(witnesses)} are {where}"
