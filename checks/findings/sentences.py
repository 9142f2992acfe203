"""Findings as sentences: the templates that the checks carry, filled with names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from earwitness.checks.catalogue import ALL
from earwitness.checks.findings.lines import Lookup, NameOf, Told, line
from earwitness.checks.findings.names import artefact, device, forgery, message, numbers, person, place, room, state
from earwitness.checks.history.record import FOREIGN, NOBODY, Kind
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict


@dataclass(frozen=True, slots=True)
class Telling:
    """Counterexample as text: one sentence, and one line for each record, with its time in ms after the earliest."""

    sentence: str
    lines: list[str]


SENTENCES: Mapping[tuple[str, str], str] = {
    (check.id, what): text for check in ALL for what, text in check.sentences.items()
}
"""Templates of all checks, by (id of the check, kind of finding).

The names that `_words` lists, and the finding's facts, may stand in braces.
"""


def sentence(finding: Finding, verdict: Verdict, roster: Roster, said: str | None = None) -> str:
    """Return the sentence of a finding, with names instead of numbers.

    A finding of a user's own check has its sentence already. Kinds without a template get a general sentence. `said`:
    the text of the finding's last record in place of a user; None if that record names a user of the run, or no user.
    """
    if finding.sentence:
        return finding.sentence
    template = SENTENCES.get((verdict.id, finding.what))
    if (verdict.id, finding.what) == ("I15", "identity") and said:
        template, said = _of_row(said, template)
    if template is None:
        told = ", ".join(f"{key} {value}" for key, value in finding.facts.items())
        return f"{verdict.name}: {finding.what}" + (f" ({told})" if told else "")
    return template.format_map(_Words({**_words(finding.facts, roster), "said": said}))


def _of_row(said: str, template: str | None) -> tuple[str | None, str]:
    """Return the template and its `said` for a finding about a database row that is missing or differs.

    `harness.run.collect` records such a row with a text in place of a user ("no row in …", "other COLUMNS in the …").
    The general sentence would say that the platform takes the user for another one. Other texts leave `template` and
    `said` unchanged.
    """
    if said.startswith("other "):
        return "{place} has another {said} of {who} than the auth database", said[6:].rpartition(" in the ")[0]
    if said.startswith("no row in "):
        return "{place} has no row of {who}", ""
    return template, said


def said_by(record: Any, journal: int, name_of: NameOf) -> str | None:
    """Return the text that a record states in place of a user; None if it states a user of the run, or no user."""
    named = record is not None and int(record["kind"]) in (Kind.DELIVER, Kind.REPLAY, Kind.STORED, Kind.IDENTITY)
    return name_of(journal, int(record["aux"])) if named and int(record["aux"]) >= FOREIGN else None


class _Words(dict[str, object]):
    """Mapping that returns a placeholder for a missing fact, because an incomplete finding must not end the report."""

    def __missing__(self, key: str) -> str:
        return f"(unknown {key})"


def _words(facts: Mapping[str, int], roster: Roster) -> dict[str, object]:
    stated, low, high = facts.get("stated", -1), facts.get("low", 0), facts.get("high", 0)
    author, counter = facts.get("author", -1), facts.get("counter", 0)
    return {
        **facts,
        "who": device(roster, facts["client"]) if facts.get("client", NOBODY) != NOBODY else "the final read",
        "message": message(roster, author, counter),
        "other": message(roster, facts.get("other_author", -1), facts.get("other_counter", 0)),
        "author": person(roster, author),
        "counter": counter,
        "where": room(roster, facts.get("conv", -1)),
        "stated": person(roster, stated) if stated >= 0 else "a user whom no login of this run explains",
        "place": place(facts.get("place", 0)),
        "person": person(roster, facts.get("client", -1)),
        "artefact": artefact(facts.get("artefact", 0)),
        "state": state(facts.get("state", 0)),
        "other_device": device(roster, stated),
        "online": "online" if facts.get("online") else "offline",
        "forgery": forgery(roster, facts.get("forgery", 0)),
        "range": numbers(low, high),
        "raw": f"author {facts.get('author')}, counter {facts.get('counter')}",
    }


def tell(
    finding: Finding, verdict: Verdict, roster: Roster, lookup: Lookup, tag: str = "",
    name_of: NameOf = lambda journal, number: None,
) -> Telling:  # fmt: skip
    """Return a finding as text: its sentence, and a line for each of its records.

    `lookup`: function (journal, index) -> record, None if it does not exist. `tag`: the run's tag, left out of
    conversation and user names to keep them short.
    """
    found = [(journal, index, lookup(journal, index)) for journal, index in finding.records]
    first = min((int(record["t"]) for _, _, record in found if record is not None), default=0)
    lines = []
    for journal, index, record in found:
        if record is None:
            lines.append(f"{journal}:{index}  (this record is not in the journal)")
        else:
            after_ms = (int(record["t"]) - first) / 1e6
            lines.append(
                f"{journal}:{index}  {after_ms:+.3f} ms  {line(Told(journal, index, record), roster, name_of)}"
            )
    said = said_by(found[-1][2], found[-1][0], name_of) if found else None
    words = sentence(finding, verdict, roster, said)
    if tag:
        words, lines = words.replace(tag, ""), [each.replace(tag, "") for each in lines]
    return Telling(words, lines)
