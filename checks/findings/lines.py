"""Texts of a single record: a whole line, or the short label of a step in a swim-lane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from earwitness.checks.findings.names import (
    EVENTS,
    PHASES,
    artefact,
    device,
    forgery,
    message,
    person,
    place,
    room,
    state,
)
from earwitness.checks.history.record import CONTROL, FOREIGN, NOBODY, NONE, SPOOFED, Flag, Kind, State, Way
from earwitness.checks.roster import Roster

Lookup: TypeAlias = Callable[[int, int], Any]
"""Function from (journal number, record index from 1) to the record (a RECORD scalar or a mapping), or None."""

NameOf: TypeAlias = Callable[[int, int], str | None]
"""Function from (journal number, interned id) to the text, or None if it is not known."""

MESSAGE_KINDS = frozenset((Kind.INVOKE, Kind.OK, Kind.FAIL, Kind.INFO, Kind.DELIVER, Kind.REPLAY, Kind.STORED))


@dataclass(frozen=True, slots=True)
class Told:
    """Record together with its position: journal number, and index from 1 in the journal."""

    journal: int
    index: int
    record: Any

    @property
    def kind(self) -> Kind:
        """Return the kind of the record. Raises ValueError for a number that is no kind."""
        return Kind(int(self.record["kind"]))


class Direction(Enum):
    """Direction of a step in a swim-lane: between a device and the platform, or an event at one of the two."""

    OUT = "from the device to the platform"
    IN = "from the platform to the device"
    HERE = "at the device"
    THERE = "at the platform"


@dataclass(frozen=True, slots=True)
class Manner:
    """Text templates for records of one kind.

    `phrase` follows the device's name in a line of text; `label` is shown in the device's lane. Names stand in braces.
    """

    direction: Direction
    phrase: str
    label: str


OUT, IN, HERE, THERE = Direction

MANNERS: dict[Kind, Manner] = {
    Kind.INVOKE: Manner(OUT, "sends {message}{again} in {where}", "sends #{counter}{again}"),
    Kind.OK: Manner(IN, "receives that {message}{again} is accepted{as_number}", "accepted {own}{as_n}"),
    Kind.FAIL: Manner(IN, "receives that {message}{again} is refused{code}", "refused {own}{code}"),
    Kind.INFO: Manner(HERE, "gets no answer to {message}{again}", "no answer to {own}"),
    Kind.DELIVER: Manner(IN, "receives {message}{again} in {where}{as_number}", "{numbered}{message}"),
    Kind.REPLAY: Manner(IN, "is replayed {message}{again} in {where}{as_number}", "replayed {numbered}{message}"),
    Kind.CONNECT: Manner(HERE, "connects{to_replica}", "connects{to_replica}"),
    Kind.DISCONNECT: Manner(
        HERE, "{ends} the connection, code {counter}{reason}", "{ends} connection {conn}, code {counter}"
    ),
    Kind.JOIN: Manner(IN, "joins {where}{at_number}{resuming}", "joins{at_number}{resuming}"),
    Kind.LEAVE: Manner(HERE, "leaves {where}", "leaves {where}"),
    Kind.IDENTITY: Manner(IN, "is named {stated} by {place}", "{place}: “{stated}”"),
    Kind.STORED: Manner(THERE, "the final state of {where} has {message}{again}{as_number}", "has {numbered}{message}"),
    Kind.READ_END: Manner(THERE, "the final read of {where} is complete, {counter} rows{up_to}", "final read{up_to}"),
    Kind.PROBE: Manner(OUT, "asks whether the platform responds: {counter} after {spent_ms} ms", "probe: {counter}"),
    Kind.FAULT: Manner(THERE, "the fault {name} is switched {on_off}", "fault {name} {on_off}"),
    Kind.PHASE: Manner(THERE, "{phase}", "{phase}"),
    Kind.LOGIN: Manner(OUT, "logs in: {counter} after {spent_ms} ms", "logs in: {counter}"),
    Kind.REQUEST: Manner(
        OUT, "asks {place}{presenting}{way}{asked}: {outcome}{status}", "{outcome}{status}: {place}{showing}"
    ),
    Kind.REVOKE: Manner(
        OUT, "asks {place} to revoke {artefact_of}: {outcome}{status}", "{outcome}: revokes {artefact_of}"
    ),
    Kind.TOKEN: Manner(IN, "{gets} {artefact} {counter}{made_from}", "{gets} {artefact} {counter}{how}"),
    Kind.WRITE: Manner(OUT, "changes the {whose}{value} at {place}: {outcome}", "sets {state}{value}: {outcome}"),
    Kind.SEEN: Manner(IN, "is shown the {whose}{value} by {place}", "is shown {state}{value}"),
    Kind.PRESENCE: Manner(IN, "is shown that {author} is {online}", "{author} is {online}"),
    Kind.CALL: Manner(THERE, "a service calls {name}: {outcome}{status}{breaker}", "calls {name}: {outcome}{breaker}"),
    Kind.RUN: Manner(IN, "receives of the agent's run {name} in {where}: {event}", "agent: {event}"),
    Kind.READ: Manner(IN, "reads the history of {where}{up_to}", "reads history{up_to}"),
    Kind.KICK: Manner(IN, "loses the membership of {where}", "loses membership"),
}
"""Templates by kind; `_fields` lists the names that may stand in braces."""

MARKS: dict[int, str] = {
    int(Flag.CORRUPT): "corrupt",
    int(Flag.MISROUTED): "under another conversation's name",
    int(Flag.CONTINUED): "platform: nothing was missed",
    int(Flag.FOREIGN_RUN): "not of this run",
    int(Flag.TIMEOUT): "no answer in time",
}
"""Words for the flags that are appended in brackets; other flags are part of the templates."""
WAYS: dict[int, str] = {way: way.name.lower() for way in Way}


def direction_of(told: Told) -> Direction:
    """Return the direction of a record in a swim-lane. A forged token is made at the device, not issued."""
    return HERE if told.kind is Kind.TOKEN and int(told.record["proc"]) else MANNERS[told.kind].direction


def line(told: Told, roster: Roster, name_of: NameOf = lambda journal, number: None) -> str:
    """Return the record as a line of text: device, connection, what happened.

    `name_of`: function (journal, number) -> interned text, None if unknown.
    """
    client = int(told.record["client"])
    conn = 0 if told.kind is Kind.WRITE else int(told.record["conn"])  # of a change it is the version before
    manner = MANNERS[told.kind]
    who = [device(roster, client)] if client < FOREIGN and manner.direction is not THERE else []
    who += ["the collector"] if client == NOBODY and told.kind is Kind.SEEN else []
    if who and conn:
        who.append(f"(connection {conn})")
    return " ".join([*who, _filled(manner.phrase, told, roster, name_of)])


def label(told: Told, roster: Roster, name_of: NameOf = lambda journal, number: None) -> str:
    """Return the record in a few words, for its step in the lane of its device."""
    return _filled(MANNERS[told.kind].label, told, roster, name_of)


def _filled(template: str, told: Told, roster: Roster, name_of: NameOf) -> str:
    words = template.format_map(_fields(told, roster, name_of))
    flags = int(told.record["flags"])
    marks = [mark for flag, mark in MARKS.items() if flags & flag]
    return f"{words} [{', '.join(marks)}]" if marks else words


def _fields(told: Told, roster: Roster, name_of: NameOf) -> dict[str, object]:
    r = {name: int(told.record[name]) for name in _SLOTS}
    seq, aux, flags, counter, kind = r["seq"], r["aux"], r["flags"], r["counter"], told.kind
    return {
        **r,
        "message": message(roster, r["author"], counter),
        "author": person(roster, r["author"]),
        "where": room(roster, r["conv"]),
        "place": place(counter if kind is Kind.IDENTITY else r["attempt"]),
        "again": f" (attempt {r['attempt']})" if r["attempt"] > 1 else "",
        "own": f"#{counter}" if r["author"] == r["client"] else message(roster, r["author"], counter),
        "as_n": f" as {seq}" if seq != NONE else "",
        "as_number": f" as number {seq}" if seq != NONE else "",
        "numbered": f"{seq} · " if seq != NONE else "",
        "resuming": _resuming(aux, flags) if kind is Kind.JOIN else "",
        "at_number": f" at number {seq}" if seq != NONE else "",
        "up_to": f" up to number {seq}" if seq != NONE else "",
        "code": f" with {aux}" if aux != NONE else "",
        "name": name_of(told.journal, r["author"]) or "without a name",
        "to_replica": f" to {replica}" if (replica := name_of(told.journal, r["author"])) else "",
        "reason": f" ({reason!r})" if (reason := name_of(told.journal, r["author"])) else "",
        "ends": "ends" if flags & Flag.OWN else "loses",
        "on_off": "on" if flags & Flag.OWN else "off",
        "stated": person(roster, aux) if 0 <= aux < FOREIGN else name_of(told.journal, aux) or "nobody",
        "phase": PHASES.get(counter, f"phase {counter}"),
        "spent_ms": f"{aux / 1000:.1f}",
        "event": _event(r),
        "online": "online" if counter else "offline",
        **_exchange(r, flags, roster),
    }


_SLOTS = (
    "kind",
    "flags",
    "attempt",
    "proc",
    "client",
    "conn",
    "conv",
    "author",
    "counter",
    "seq",
    "aux",
    "size",
    "digest",
)


def _resuming(behind: int, flags: int) -> str:
    if flags & Flag.REFUSED:
        return f", refused to resume behind number {behind}" if behind != NONE else ", refused to resume"
    return f", resumed behind number {behind}" if behind != NONE else ""


def _event(r: dict[str, int]) -> str:
    name = EVENTS[r["attempt"]] if r["attempt"] < len(EVENTS) else EVENTS[0]
    return f"{name} {r['counter']}" if name == "piece" else name


def _value(r: dict[str, int]) -> str:
    """Return the value of a shared state: a number, or the version of an edit and the digest of its text."""
    if r["proc"] != State.EDIT:
        return f" = {r['aux']}" if r["aux"] != NONE else ""
    version = f"version {r['aux']}, " if r["aux"] != NONE else ""
    return f": {version}text {r['digest']:08x}"


def _named_state(r: dict[str, int], roster: Roster) -> str:
    """Return the name of the type of shared state that a record is about; for an edit with its message."""
    return f"edit of {message(roster, r['author'], r['counter'])}" if r["proc"] == State.EDIT else state(r["proc"])


def _whose(r: dict[str, int], roster: Roster) -> str:
    """Return in words which shared state a record is about, and whose it is."""
    if r["proc"] == State.TITLE:
        return f"{state(r['proc'])} of {room(roster, r['conv'])}"
    inside = f" in {room(roster, r['conv'])}" if r["conv"] < FOREIGN else ""
    if r["proc"] == State.EDIT:
        return f"{_named_state(r, roster)}{inside}"
    return f"{state(r['proc'])} of {person(roster, r['author'])}{inside}"


def _exchange(r: dict[str, int], flags: int, roster: Roster) -> dict[str, object]:
    """Return the template fields for records of requests, tokens, shared state and calls between services."""
    way = r["proc"] & ~(SPOOFED | CONTROL)
    owned = f"artefact {r['counter']} of {person(roster, r['author'])}" if r["author"] != NOBODY else "an artefact"
    how = f" ({forgery(roster, r['proc'])})" if r["proc"] and r["kind"] == Kind.TOKEN else ""
    shown = f"artefact {r['counter']}" if r["author"] == r["client"] else owned
    asked = [text for bit, text in ((SPOOFED, "from another address"), (CONTROL, "as a control")) if r["proc"] & bit]
    outcome = "accepted" if flags & Flag.ACCEPTED else "refused" if flags & Flag.REFUSED else "outcome not known"
    breaker = {1: "closed", 2: "open", 3: "half-open"}.get(r["counter"])
    return {
        "artefact": artefact(r["attempt"]),
        "gets": "gets" if not r["proc"] else "forges",
        "made_from": f" from artefact {r['aux']}" if r["aux"] != NONE else how,
        "how": how,
        "presenting": f" with {owned}" if r["counter"] else " with no token",
        "showing": f" with {shown}" if r["counter"] else " with no token",
        "artefact_of": owned if r["counter"] else f"all of {person(roster, r['author'])}",
        "way": f" by {WAYS[way]}" if way in WAYS else "",
        "asked": f" ({', '.join(asked)})" if asked else "",
        "outcome": outcome,
        "status": f" ({r['size']})" if r["size"] else "",
        "state": _named_state(r, roster),
        "whose": _whose(r, roster),
        "value": _value(r),
        "breaker": f", breaker {breaker}" if breaker else "",
    }
