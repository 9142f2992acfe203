"""The witness: a finding in plain words, with the records that prove it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from checks.record import FOREIGN, NONE, Flag, Kind
from checks.roster import Roster
from checks.telling import SENTENCES, line_of, words_of
from checks.verdict import Finding, Verdict

Lookup: TypeAlias = Callable[[int, int], Any]
"""(journal number, record index from 1) → the record (a RECORD scalar or a mapping), or None if it is not there."""


@dataclass(frozen=True, slots=True)
class Telling:
    """`sentence`: what happened. `lines`: one record a line, times in milliseconds after the first."""

    sentence: str
    lines: list[str]


def device(roster: Roster, client: int) -> str:
    """The user's name, and which of their devices if they have several."""
    if not 0 <= client < len(roster.user_of):
        return "somebody unknown"
    user = roster.user_of[client]
    own = [c for c in range(len(roster.user_of)) if roster.user_of[c] == user]
    name = roster.user_name(user)
    return name if len(own) == 1 else f"{name} on tab {own.index(client) + 1}"


def _user(roster: Roster, client: int) -> str:
    return roster.user_name(roster.user_of[client]) if 0 <= client < len(roster.user_of) else "somebody unknown"


def _message(roster: Roster, facts: Mapping[str, int], prefix: str = "") -> str:
    author, counter = facts.get(f"{prefix}author", -1), facts.get(f"{prefix}counter", 0)
    if author < 0:
        return "a message"
    return f"#{counter} of {_user(roster, author)}"


_SENTENCES: dict[tuple[str, str], str] = {
    ("I1", "heard"): "{who} heard {other} before {message} in {where}, although {author} sent #{counter} first on the"
    " same connection",
    ("I1", "numbered"): "{where} gave {message} the number {seq}, below {other_seq} of {other}, although {author} sent"
    " #{counter} later on the same connection",
    ("I2", "number"): "number {seq} of {where} names two messages: {message} and {other}",
    ("I2", "cycle"): "members heard the messages of {where} in orders that contradict each other: some heard {message}"
    " before {other}, others after it",
    ("I3", "below-cause"): "{where} gave {message} the number {seq}, although its sender had heard number {other_seq}"
    " before sending it",
    ("I4", "open"): "{who} never heard {range} of {where} on this connection: {left} missing after a jump",
    ("I4", "reorder"): "{who} heard {range} of {where} only after later numbers",
    ("I5a", "lost"): "{message} was acknowledged, but the final state of {where} does not have it",
    (
        "I5b",
        "absent",
    ): "{who} was subscribed to {where} from before {message} was sent until the end, and never heard it",
    ("I6", "repeated"): "{who} heard {message} in {where} again, after it had been delivered there already",
    ("I7", "numbers"): "{message} took effect twice in {where}: as number {seq} and as number {other_seq}",
    ("I7", "rows"): "{message} is stored {rows} times in {where}",
    ("I8", "foreign"): "{who} got a message in {where} that does not belong to this run",
    ("I8", "unknown"): "{who} got a message in {where} of an author or counter that cannot be: {raw}",
    ("I8", "unsent"): "{message} appeared in {where}, but nobody sent it",
    ("I8", "elsewhere"): "{message} appeared in another conversation than {where}, where it was sent",
    ("I9", "heard"): "{message} was refused, and was heard in {where} all the same",
    ("I9", "stored"): "{message} was refused, and is stored in {where} all the same",
    ("I10", "corrupt"): "{who} got a message whose content does not fit its own checksum",
    ("I10", "changed"): "{message} was heard in {where} with another content than it was sent with",
    ("I11", "again"): "{who} got a second answer to {message} in {where}, which had been answered already",
    ("I11", "surplus"): "{who} got one answer more to {message} than it was sent",
    ("I11", "others"): "{who} got an answer to {message}, which is not this device's",
    ("I11", "unasked"): "{who} got an answer to {message}, which nobody sent",
    ("I12", "stranger"): "{who} heard {message} in {where} without being a member",
    ("I12", "misrouted"): "{who} heard {message} of {where} under the name of another conversation",
    ("I13", "kicked"): "{who} had lost the membership of {where}, and then heard {message}, which was sent afterwards",
    ("I14", "elsewhere"): "{who} got the answer to {message} in {where} on another connection than the one that sent"
    " it",
    ("I14", "other-device"): "{who} got the answer to {message} in {where}, which another device had sent",
    ("I15", "sender"): "the platform named {stated} as the sender of {message} in {where}",
    ("I15", "identity"): "the platform took {who} for {stated}",
    ("I16", "behind"): "{who} read {where} up to number {seq} after number {other_seq}, an own message, had been"
    " acknowledged",
    ("I17", "behind"): "{who} read {where} up to number {seq} after having seen number {other_seq}",
    ("I20", "skipped"): "{who} was told that nothing was missed in {where}, but heard number {seq} first: {range} did"
    " not come before it",
    ("I20", "repeated"): "{who} resumed {where} and heard number {seq} first, although the next one was number {low}",
    ("I24", "headless"): "{who} heard of an agent's run in {where} that never started",
    ("I24", "restarted"): "{who} heard an agent's run in {where} start twice",
    ("I24", "chunks"): "{who} heard a piece of an agent's answer in {where} that is not the next one",
    ("I24", "tools"): "{who} heard of a tool of an agent's run in {where} that was completed without being started, or"
    " never was completed",
    ("I24", "after-end"): "{who} heard of an agent's run in {where} after its end",
    ("I24", "endless"): "{who} never heard the end of an agent's run in {where}",
    ("I25", "late"): "{message} was heard in {where} {low} ms after it was acknowledged, later than promised",
    ("I26", "hears"): "{who} heard messages up to {ms} ms after they were sent, where {usual_ms} ms are usual",
    ("I26", "answered"): "{who} was answered after up to {ms} ms, where {usual_ms} ms are usual",
    ("I26", "unanswered"): "{who} had {low} of {high} messages acknowledged, far fewer than others",
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
    ("I28", "unserved"): "{who} waited {low} ms for success while a service was replaced",
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
    ("I21", "stale"): "{who} joined {where} at number {other_seq} and then heard number {seq} live",
}


def sentence(finding: Finding, verdict: Verdict, roster: Roster) -> str:
    """One sentence with names instead of numbers; kinds of findings of users' own checks get a general one."""
    facts = finding.facts
    template = _SENTENCES.get((verdict.id, finding.what)) or SENTENCES.get((verdict.id, finding.what))
    if template is None:
        told = ", ".join(f"{key} {value}" for key, value in facts.items())
        return f"{verdict.name}: {finding.what}" + (f" ({told})" if told else "")
    stated, low, high = facts.get("stated", -1), facts.get("low", 0), facts.get("high", 0)
    words = {
        **facts,
        **words_of(facts, roster),
        "who": device(roster, facts["client"]) if "client" in facts else "the final read",
        "message": _message(roster, facts),
        "other": _message(roster, facts, "other_"),
        "author": _user(roster, facts.get("author", -1)),
        "counter": facts.get("counter", 0),
        "where": _where(roster, facts.get("conv", -1)),
        "stated": _user(roster, stated) if stated >= 0 else "a stranger",
        "range": f"#{low}" if low == high else f"#{low} to #{high}",
        "raw": f"author {facts.get('author')}, counter {facts.get('counter')}",
    }
    return template.format(**words)


def _where(roster: Roster, conv: int) -> str:
    return roster.conversation_name(conv) if 0 <= conv < len(roster.conversations) else "an unknown conversation"


def tell(finding: Finding, verdict: Verdict, roster: Roster, lookup: Lookup, tag: str = "") -> Telling:
    """A finding in words. `tag`: the run's tag, left out of conversation and user names to keep them short."""
    found = [(journal, index, lookup(journal, index)) for journal, index in finding.records]
    first = min((int(record["t"]) for _, _, record in found if record is not None), default=0)
    lines = []
    for journal, index, record in found:
        if record is None:
            lines.append(f"{journal}:{index}  (this record is not in the journal)")
        else:
            lines.append(f"{journal}:{index}  {(int(record['t']) - first) / 1e6:+.3f} ms  {_line(record, roster)}")
    words = sentence(finding, verdict, roster)
    if tag:
        words, lines = words.replace(tag, ""), [line.replace(tag, "") for line in lines]
    return Telling(words, lines)


_VERBS = {
    Kind.INVOKE: "sends",
    Kind.OK: "is told that it is accepted:",
    Kind.FAIL: "is refused",
    Kind.INFO: "never learns about",
    Kind.DELIVER: "hears",
    Kind.REPLAY: "is replayed",
    Kind.STORED: "the final state has",
    Kind.JOIN: "joins",
    Kind.LEAVE: "leaves",
    Kind.READ: "reads the history",
    Kind.DISCONNECT: "is disconnected",
    Kind.CONNECT: "is connected",
    Kind.KICK: "loses the membership",
    Kind.RUN: "hears of an agent's run",
    Kind.REQUEST: "asks",
}
_OF_MESSAGES = (Kind.INVOKE, Kind.OK, Kind.FAIL, Kind.INFO, Kind.DELIVER, Kind.REPLAY, Kind.STORED)


def _line(record: Any, roster: Roster) -> str:
    kind, client, seq = Kind(int(record["kind"])), int(record["client"]), int(record["seq"])
    words = [device(roster, client), f"(connection {int(record['conn'])})"] if client < FOREIGN else []
    if said := line_of(record, kind):
        return " ".join([*words[:1], said])
    words.append(_VERBS.get(kind, kind.name.lower()))
    if kind in _OF_MESSAGES:
        author, counter = int(record["author"]), int(record["counter"])
        words.append(_message(roster, {"author": author, "counter": counter}))
        if int(record["attempt"]) > 1:
            words.append(f"(attempt {int(record['attempt'])})")
    if int(record["conv"]) < FOREIGN:
        words.append(f"in {_where(roster, int(record['conv']))}")
    if kind == Kind.REQUEST:
        words.append(f"and is answered {int(record['size'])}" if record["size"] else "and gets no answer")
    elif seq != NONE:
        words.append(f"as number {seq}" if kind in _OF_MESSAGES else f"at {seq}")
    flags = Flag(int(record["flags"]))
    if flags:
        words.append(f"[{str(flags.name).lower()}]" if flags.name else f"[{int(flags)}]")
    return " ".join(words)
