"""Wrong records of a counterexample, each with a few words that say why, such as "too late".

The other records of a counterexample only show what happened around them. A message that was lost has no wrong record,
because a delivery that never happened has no record; see `scene.NEVER`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from earwitness.checks.findings.lines import NameOf, Told
from earwitness.checks.findings.names import numbers, person, room
from earwitness.checks.findings.sentences import said_by
from earwitness.checks.history.record import FOREIGN, NONE, Kind
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding

Places = tuple[tuple[int, str], ...]
_STRANGER: Places = ((-1, "is no member of {where}"),)
_NOT_SENT: Places = ((-1, "nobody sent it"),)

WRONG: Mapping[tuple[str, str], Places] = {
    ("I1", "heard"): ((-2, "too early"), (-1, "too late")),
    ("I1", "numbered"): ((-2, ""), (-1, "below number {other_seq}")),
    ("I2", "number"): ((-2, "number {seq}"), (-1, "number {seq} too")),
    ("I2", "cycle"): ((-2, ""), (-1, "the other way round")),
    ("I3", "below-cause"): ((-1, "not above {other_seq}"),),
    ("I4", "open"): ((1, "skips {range}"),),
    ("I4", "reorder"): ((1, "skips {range}"), (-1, "too late")),
    ("I6", "repeated"): ((-1, "again"),),
    ("I6", "repeated-later"): ((-1, "again"),),
    ("I8", "foreign"): _NOT_SENT,
    ("I8", "unknown"): _NOT_SENT,
    ("I8", "nowhere"): ((-1, "in no room of this run"),),
    ("I8", "unsent"): _NOT_SENT,
    ("I8", "early"): ((0, "before it was sent"),),
    ("I8", "elsewhere"): ((-1, "was sent in {where}"),),
    ("I10", "corrupt"): ((-1, "is corrupt"),),
    ("I10", "corrupt-in-store"): ((-1, "is corrupt"),),
    ("I10", "changed"): ((-1, "is not as sent"),),
    ("I10", "changed-in-store"): ((-1, "is not as sent"),),
    ("I11", "again"): ((-1, "a second answer"),),
    ("I11", "unasked"): _NOT_SENT,
    ("I12", "stranger"): _STRANGER,
    ("I12", "stranger-run"): _STRANGER,
    ("I12", "stranger-presence"): _STRANGER,
    ("I12", "presence-of-stranger"): ((-1, "{stated} is no member"),),
    ("I12", "stranger-state"): _STRANGER,
    ("I12", "misrouted"): ((-1, "not of this room"),),
    ("I13", "told"): ((-1, "is no member any more"),),
    ("I15", "sender"): ((-1, "says: from {stated}"),),
    ("I15", "identity"): ((-1, ""),),
    ("I20", "skipped"): ((-1, "skips {range}"),),
    ("I21", "stale"): ((-1, "was stated as past"),),
    ("I25", "late"): ((-1, "too late"),),
}
"""(id of the check, kind of finding) → (index in `Finding.records`, words) of each wrong record.

`where`, `stated`, `range` and the finding's facts may stand in braces. A kind that is not listed has no record that is
wrong by itself, or any of several records may be the wrong one.
"""


def wrong_records(
    check: str, finding: Finding, told: Sequence[Told], roster: Roster, name_of: NameOf
) -> dict[tuple[int, int], str]:
    """Return (journal, index) → why the record is wrong, in words, for each wrong record of a finding.

    The words are "" where the record shows the reason itself. `check`: id; `told`: the records of the counterexample.
    WRONG does not list two kinds of wrong records; they are searched in `told`:

    - a final read that returned fewer rows than the highest number it showed (I5a)
    - the same message, shown with a wrong sender to other devices (I15)
    """
    by_place = {(one.journal, one.index): one for one in told}
    found: dict[tuple[int, int], str] = {}
    for place, words in WRONG.get((check, finding.what), ()):
        if -len(finding.records) <= place < len(finding.records):
            at = finding.records[place]
            found[at] = words.format_map(_Fields(_fields(finding, by_place.get(at), roster, name_of)))
    for at, one in by_place.items():
        rows, last = int(one.record["counter"]), int(one.record["seq"])
        if (check, finding.what) == ("I5a", "lost") and one.kind is Kind.READ_END and last != NONE and rows < last:
            found[at] = f"{last - rows:,} fewer rows than numbers"
        if (check, finding.what) == ("I15", "sender") and at not in found and _names_another(one, roster):
            stated = int(one.record["aux"])
            shown = person(roster, stated) if stated < FOREIGN else name_of(one.journal, stated) or "a stranger"
            found[at] = f"says: from {shown}"
    return found


def _names_another(told: Told, roster: Roster) -> bool:
    """Return whether a delivered or stored message states another user than its author."""
    author, stated = int(told.record["author"]), int(told.record["aux"])
    if told.kind not in (Kind.DELIVER, Kind.REPLAY, Kind.STORED) or stated < 0 or author >= len(roster.user_of):
        return False
    return stated >= len(roster.user_of) or roster.user_of[stated] != roster.user_of[author]


class _Fields(dict[str, object]):
    """Mapping that returns "?" for a missing fact, because an incomplete finding must not end the report."""

    def __missing__(self, key: str) -> str:
        return "?"


def _fields(finding: Finding, told: Told | None, roster: Roster, name_of: NameOf) -> dict[str, object]:
    facts = finding.facts
    said = said_by(told.record, told.journal, name_of) if told is not None else None
    stated = facts.get("stated", -1)
    return {
        **facts,
        "where": room(roster, facts.get("conv", -1)),
        "stated": person(roster, stated) if stated >= 0 else said or "a stranger",
        "range": numbers(facts.get("low", 0), facts.get("high", 0)),
    }
