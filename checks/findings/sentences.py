"""Sentences for each kind of finding of each check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from earwitness.checks.findings.lines import Lookup, NameOf, Told, line
from earwitness.checks.findings.names import artefact, device, forgery, message, numbers, person, place, room, state
from earwitness.checks.history.record import FOREIGN, NOBODY, Kind
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict


@dataclass(frozen=True, slots=True)
class Telling:
    """Counterexample as text: `sentence` says what happened, `lines` holds one record each, in ms after the first."""

    sentence: str
    lines: list[str]


SENTENCES: dict[tuple[str, str], str] = {
    ("I1", "heard"): "{who} heard {other} before {message} in {where}, although {author} sent #{counter} first on the"
    " same connection",
    ("I1", "numbered"): "{where} gave {message} the number {seq}, below number {other_seq} of {other}, although"
    " {author} sent #{counter} later on the same connection",
    ("I2", "number"): "number {seq} of {where} names two messages: {message} and {other}",
    ("I2", "cycle"): "members heard the messages of {where} in orders that contradict each other: some heard {message}"
    " before {other}, others after it",
    ("I3", "below-cause"): "{where} gave {message} the number {seq}, although its sender had heard number {other_seq}"
    " before sending it",
    ("I4", "open"): "{who} never heard {range} of {where} on this connection: {left} missing after a jump",
    ("I4", "reorder"): "{who} heard {range} of {where} only after later numbers",
    ("I5a", "lost"): "{message} was acknowledged, but the final state of {where} does not have it",
    ("I5b", "absent"): "{who} was subscribed to {where} from before {message} was sent until the end, and never heard"
    " it",
    ("I6", "repeated"): "{who} heard {message} in {where} again, after it had been delivered there already",
    (
        "I6",
        "repeated-later",
    ): "{who} heard {message} in {where} again on a later connection, after it had been delivered"
    " to this device already",
    ("I7", "numbers"): "{message} took effect twice in {where}: as number {seq} and as number {other_seq}",
    ("I7", "rows"): "{message} is stored {rows} times in {where}",
    ("I8", "foreign"): "{who} got a message in {where} that nobody had sent in this run",
    ("I8", "unknown"): "{who} got a message in {where} of an author or counter that cannot be: {raw}",
    ("I8", "nowhere"): "{who} got {message} in a conversation that this run does not have",
    ("I8", "unsent"): "{message} appeared in {where}, but nobody sent it",
    ("I8", "early"): "{message} was delivered in {where} {ms} ms before it was sent",
    ("I8", "elsewhere"): "{message} appeared in another conversation than {where}, where it was sent",
    ("I9", "heard"): "{message} was refused, and was heard in {where} all the same",
    ("I9", "stored"): "{message} was refused, and is stored in {where} all the same",
    ("I10", "corrupt"): "{who} got a message whose content does not fit its own checksum",
    ("I10", "corrupt-in-store"): "the final state of {where} has a message whose content does not fit its own checksum",
    ("I10", "changed"): "{message} was heard in {where} with another content than it was sent with",
    ("I10", "changed-in-store"): "{message} is stored in {where} with another content than it was sent with",
    ("I11", "again"): "{who} got a second answer to {message} in {where}, which had been answered already",
    ("I11", "surplus"): "{who} got one answer more to {message} than it was sent",
    ("I11", "others"): "{who} got an answer to {message}, which is not this device's",
    ("I11", "unasked"): "{who} got an answer to {message}, which nobody sent",
    (
        "I43",
        "unanswered",
    ): "{message}, sent in {where}, was never answered, although its connection stayed open for more than {low} ms",
    ("I43", "late"): "{message}, sent in {where}, was answered later than {low} ms after it was sent, although its"
    " connection stayed open",
    ("I45", "echo"): "{who} heard its own {message} in {where} on the connection that sent it",
    ("I46", "refused"): "{message}, {low} bytes long, was refused as too long in {where}; up to {high} are promised",
    ("I46", "accepted"): "{message}, {low} bytes long, was accepted in {where}; at most {high} are said to be",
    ("I12", "stranger"): "{who} heard {message} in {where} without being a member",
    ("I12", "stranger-run"): "{who} was sent an agent's answer in {where} without being a member",
    ("I12", "stranger-presence"): "{who} was shown who is online in {where} without being a member",
    ("I12", "presence-of-stranger"): "{who} was shown in {where} whether {stated} is online, who is no member of it",
    ("I12", "stranger-state"): "{who} was shown an edit, a read mark or the name of {where} without being a member",
    ("I12", "misrouted"): "{who} heard {message} of {where} under the name of another conversation",
    ("I13", "kicked"): "{who} had lost the membership of {where}, and then heard {message}, which was sent afterwards",
    ("I13", "told"): "{who} had lost the membership of {where}, and was then told of what goes on there",
    ("I14", "elsewhere"): "{who} got the answer to {message} in {where} on another connection than the one that sent"
    " it",
    ("I14", "account"): "{who} was sent what the account of {stated} shows",
    ("I14", "other-device"): "{who} got the answer to {message} in {where}, which another device had sent",
    ("I15", "sender"): "the platform named {stated} as the sender of {message} in {where}",
    ("I15", "identity"): "{place} took {who} for {stated}",
    ("I16", "behind"): "{who} read {where} up to number {seq} after number {other_seq}, an own message, had been"
    " acknowledged",
    ("I17", "behind"): "{who} read {where} up to number {seq} after having seen number {other_seq}",
    ("I17", "hole"): "{who} read {where} from number {low} on, and numbers were missing between the {rows} messages"
    " shown",
    ("I17", "repeated"): "{who} read {where} from number {low} on, and the {rows} messages shown are more than there"
    " are numbers",
    ("I17", "order"): "{who} read {where} from number {low} on, and the {rows} messages shown do not follow each other",
    ("I17", "digest"): "{who} read {where} from number {low} on, and the {rows} messages shown do not fit the digest"
    " that the platform gave of them",
    (
        "I44",
        "old",
    ): "{who} read {where} up to number {seq}; number {other_seq}, {message}, had been acknowledged before",
    ("I18", "same-version"): "{who} had an edit of {message} accepted as version {low}, which an edit of {other_device}"
    " had been before",
    (
        "I18",
        "overwrote",
    ): "{who} had an edit of version {low} of {message} accepted, although version {high} had replaced it",
    ("I18", "undone"): "{place} showed {who} an old text of {message}, after a later one had been accepted",
    (
        "I18",
        "back",
    ): "{place} showed {who} that {where} is read up to number {low}, after number {high} had been accepted"
    " from {stated}",
    ("I19", "forgotten"): "{who} had asked to go on in {where}, was not told that this cannot be, and heard nothing of"
    " {range}",
    ("I20", "skipped"): "{who} was told that nothing was missed in {where}, but heard number {seq} first: {range} did"
    " not come before it",
    ("I20", "repeated"): "{who} resumed {where} and heard number {seq} first, although the next one was number {low}",
    ("I21", "stale"): "{who} joined {where} at number {other_seq} and then heard number {seq} live",
    ("I22", "edit-missed"): "{who} was never shown an edit of {message} that {other_device} shows",
    ("I22", "mark-missed"): "{who} was never shown how far {where} is read; {other_device} shows it",
    ("I22", "edit-old"): "all devices of {person} show an old text of {message}, after a later one had been accepted",
    ("I22", "mark-old"): "all devices of {person} show {where} as read up to number {low}, after number {high} had been"
    " accepted from {other_device}",
    ("I22", "standing-old"): "{who} was shown an old {state} of {author} in {where}, longer after its change than"
    " promised",
    ("I22", "title-old"): "{who} was shown an old name of {where}, longer after its change than promised",
    ("I22", "edit-differs"): "{who} shows another text of {message} than {other_device}",
    ("I22", "mark-differs"): "{who} shows {where} as read up to number {low}, {other_device} up to number {high}",
    ("I24", "headless"): "{who} heard of an agent's run in {where} that never started",
    ("I24", "restarted"): "{who} heard an agent's run in {where} start twice",
    ("I24", "chunks"): "{who} heard a piece of an agent's answer in {where} that is not the next one",
    ("I24", "tools"): "{who} heard of a tool of an agent's run in {where} that was completed without being started, or"
    " never was completed",
    ("I24", "after-end"): "{who} heard of an agent's run in {where} after its end",
    ("I24", "endless"): "{who} never heard the end of an agent's run in {where}",
    ("I24", "cut-off"): "{who} was told that an agent's answer in {where} is complete, without its last pieces, which"
    " others received",
    ("I24", "hole"): "{who} reconnected during an agent's answer in {where}, was told that nothing was missed, and"
    " missed a part of it",
    ("I24", "differs"): "{who} received an agent's answer in {where} with another content than others",
    ("I24", "restated"): "{who} was told at the end of an agent's answer in {where} another answer than its pieces had"
    " made together",
    ("I24", "stored-otherwise"): "{who} heard an agent's answer in {where} that the final state does not have as it was"
    " heard",
    ("I25", "late"): "{message} was heard in {where} {low} ms after it was acknowledged, later than promised",
    (
        "I25",
        "missed",
    ): "{who} was connected to {where} until after the deadline of {message}, and it did not come on"
    " that connection in time",
    ("I47", "missed"): "{who} belonged to {where} from before {message} was sent until the end, and never got it:"
    " neither live, nor by a replay, nor by reading the history",
    ("I26", "hears"): "{who} heard messages up to {ms} ms after they were sent, where {usual_ms} ms are usual",
    ("I26", "answered"): "{who} was answered after up to {ms} ms, where {usual_ms} ms are usual",
    ("I26", "unanswered"): "{who} had {low} of {high} messages acknowledged, far fewer than others",
    ("I27", "ghost"): "{who} was shown {stated} as online in {where}, {late} ms after the last connection had ended",
    ("I27", "never"): "{who} was shown {stated} as online in {where}, who had not been connected yet",
    ("I27", "flap"): "{who} was shown {stated} as offline in {where}, who had been connected for {late} ms",
    ("I27", "repeated"): "{who} was told twice in a row that {stated} is {online} in {where}",
    ("I36", "more"): "{who} was granted {granted} requests and messages within {within_ms} ms; the budget allows"
    " {allowed}",
    ("I37", "less"): "{who} was refused for the budget with at least {left} left of it",
    ("I38", "missing"): "{who} was refused for the budget without being told when to come back",
    ("I38", "longer"): "{who} was refused and told to come back after {wait_ms} ms, longer than the budget can need",
    ("I38", "broken"): "{who} was refused, came back after the {wait_ms} ms that the refusal had named, and was refused"
    " again",
    ("I38", "overstated"): "{who} was told that {left} are left of the budget, more than can be",
    ("I38", "understated"): "{who} was told that {left} are left of the budget, less than must be",
    ("I39", "widened"): "{who} was granted {granted} requests and messages within {within_ms} ms by other addresses"
    " or tokens; the budget allows {allowed}",
    ("I39", "charged"): "{who} was refused with at least {left} left of the budget, while others had used up theirs",
    ("I28", "cut"): "{who} was cut off without a word (no close code) while a service was replaced",
    ("I28", "away"): "{who} was cut off while a service was replaced, and was not back in time ({low} ms; 0: never)",
    ("I28", "unserved"): "{who} waited {low} ms to be served while a service was replaced",
    ("I28", "errors"): "{low} of {high} answers were errors while services were replaced",
    ("I35", "rejected"): "{who} was refused ({high}) with a token that holds, and nothing was wrong",
    ("I35", "failing"): "{who} was answered {high}, and nothing was wrong (any more)",
    ("I35", "shut-out"): "{who} was answered {high} with a token that holds, only because auth was away",
    ("I35", "slow"): "{who} waited {low} ms to be told ({high}) that nobody can log in while auth is away",
    ("I35", "unclear"): "{who} was answered {high} to a login while auth was away, not 503 with Retry-After",
    ("I35", "believed"): "{who} was let in ({high}) with a forged token while auth was away",
    ("I35", "cut"): "the connection of {who} was closed ({high}) only because auth was away",
    ("I40", "called"): "a dependency was called although its breaker was open",
    ("I40", "probes"): "more calls went to a dependency at once than a half-open breaker may let through",
    ("I40", "stuck"): "a breaker went on refusing calls when it was time to try again",
    ("I40", "refused"): "a breaker refused a call although it was closed",
    ("I29", "late"): "{place} accepted {person}'s {artefact} {late} ms after its deadline",
    ("I30", "revoked"): "{place} accepted {person}'s {artefact} {late} ms after it had been revoked",
    ("I31", "accepted"): "{place} accepted a forged {artefact} of {person}: {forgery}",
    ("I32", "twice"): "{who} used one refresh token twice, and both times got new tokens",
    ("I32", "unpunished"): "{person}'s session goes on, although one of its refresh tokens had been used twice",
    ("I32", "changed"): "{person}'s refreshed token names somebody else, or other permissions, than the one before",
    ("I33", "twice"): "{who} used one {artefact} twice, and both times it was accepted",
    ("I33", "elsewhere"): "{person}'s browser finished a login that another browser had begun",
    ("I34", "outlived"): "{who} heard {message} in {where}, which was said {late} ms after the authority of the"
    " connection had ended",
    (
        "I34",
        "accepted",
    ): "{message}, which was sent in {where} {late} ms after the authority of its connection had ended, was accepted",
    ("I41", "missing"): "{person} has an account, but the main database does not know it",
    ("I41", "orphan"): "the main database has an account of {person} that the auth database does not know",
    ("I41", "differs"): "the two databases differ about {person} ({state})",
    ("I41", "stale"): "{place} showed an old {state} of {person}, {late} ms after it had been changed",
    ("I41", "untold"): "{person} changed the profile, and an open connection of theirs was not told within {late} ms",
    ("I41", "never-had"): "{who} was told that the own account shows what it never showed",
    ("I42", "accounts"): "{person} has {rows} accounts",
    ("I42", "names"): "{person} logged in twice and was two different people",
}
"""Templates by (check, kind of finding).

In braces may stand the names that `_words` lists, and the finding's facts.
"""


def sentence(finding: Finding, verdict: Verdict, roster: Roster, said: str | None = None) -> str:
    """Return one sentence with names instead of numbers; a finding of a user's own check has one already.

    Kinds of findings that have no template get a general sentence. `said`: the text that
    the finding's last record states in place of a user, if that text names no user of the run.
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
    The platform does not take the user for a stranger in that case. Other texts leave `template` and `said` unchanged.
    """
    if said.startswith("other "):
        return "{place} has another {said} of {who} than the auth database", said[6:].rpartition(" in the ")[0]
    if said.startswith("no row in "):
        return "{place} has no row of {who}", ""
    return template, said


def said_by(record: Any, journal: int, name_of: NameOf) -> str | None:
    """Return the text that a record states in place of a user; None if it states a user of the run or none."""
    named = record is not None and int(record["kind"]) in (Kind.DELIVER, Kind.REPLAY, Kind.STORED, Kind.IDENTITY)
    return name_of(journal, int(record["aux"])) if named and int(record["aux"]) >= FOREIGN else None


class _Words(dict[str, object]):
    """Mapping in which a fact that a check forgot becomes a placeholder, because it must not cost the verdict."""

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
        "stated": person(roster, stated) if stated >= 0 else "somebody whom no login of this run explains",
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
    """Return a finding as text.

    `tag`: the run's tag, left out of conversation and user names to keep them short.
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
