"""The meaning of each field ("slot") of a record, by kind. All other tables about records are made from this one.

These are the readable columns of an export (`harness.record.columns`), the values that an import may contain
(`harness.record.rows`), the writer by name (`harness.record.named`) and the page `docs/history-schema.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from earwitness.checks.history.record import NOBODY, NONE, Artefact, FaultKind, Kind, Phase, Place, State


@dataclass(frozen=True, slots=True)
class Slot:
    """Meaning of one or more slots (fields of RECORD) in records of one kind.

    names    fields of `RECORD`, separated by blanks, that have this meaning together
    meaning  what they hold
    column   name of the readable column, "" for the one in `GENERIC`
    type     type of the column: a number, an interned text, or a number that stands for a name
    unit     unit of the number, "" for none
    """

    names: str
    meaning: str
    column: str = ""
    type: type[int] | type[str] | type[IntEnum] = int
    unit: str = ""


@dataclass(frozen=True, slots=True)
class KindOf:
    """Meaning of records of one kind (`says`), and of their slots. Slots that are not listed have no meaning there."""

    says: str
    slots: tuple[Slot, ...]


ABSENT: Final[dict[str, int]] = {
    "client": NOBODY,
    "conn": 0,
    "conv": NOBODY,
    "author": NOBODY,
    "counter": 0,
    "attempt": 0,
    "proc": 0,
    "seq": NONE,
    "aux": NONE,
    "size": 0,
    "digest": 0,
}
"""Value of a slot that holds nothing; a record has no column for such a slot."""

GENERIC: Final[dict[str, str]] = {
    "client": "client",
    "conn": "connection",
    "conv": "conversation",
    "author": "author",
    "counter": "counter",
    "attempt": "attempt",
    "proc": "author_connection",
    "seq": "seq",
    "aux": "aux",
    "size": "size",
    "digest": "digest",
}
"""Column of each slot in kinds that do not state another one."""

KINDS: Final[dict[Kind, KindOf]] = {
    Kind.INVOKE: KindOf(
        "A message is about to be sent.",
        (
            Slot("conv author counter attempt proc size digest", "the message"),
            Slot("flags", "OWN: a question to the platform's agent"),
            Slot(
                "aux",
                "highest sequence of this conversation that the sender had seen on this connection (causality)",
                column="seen_seq",
            ),
        ),
    ),
    Kind.OK: KindOf(
        "The message was acknowledged.",
        (
            Slot("conv author counter attempt", "the message"),
            Slot("seq", "its number, if the acknowledgement says it"),
        ),
    ),
    Kind.FAIL: KindOf(
        "The message was refused, without effect.",
        (
            Slot("conv author counter attempt", "the message"),
            Slot("aux", "the platform's code, e.g. 429", column="code"),
            Slot("size", "milliseconds after which it says to come back; 0: not stated"),
        ),
    ),
    Kind.INFO: KindOf(
        "There was no answer: not in time (flag TIMEOUT), or because the connection was cut.",
        (Slot("conv author counter attempt", "the message: it may or may not have taken effect"),),
    ),
    Kind.DELIVER: KindOf(
        "A message was received live.",
        (
            Slot("conv author counter attempt proc size digest", "the message as its body says"),
            Slot("seq", "its number, if the platform gives one"),
            Slot(
                "aux",
                "client number of the sender as the platform states it (any client of that user)",
                column="sender",
            ),
        ),
    ),
    Kind.CONNECT: KindOf(
        "A connection is open.",
        (
            Slot("author", "interned name of the replica, or NOBODY", column="replica", type=str),
            Slot("size", "microseconds of the handshake", column="duration_us", unit="µs"),
        ),
    ),
    Kind.DISCONNECT: KindOf(
        "A connection is closed.",
        (
            Slot("counter", "close code", column="code"),
            Slot("author", "interned reason of the close frame, or NOBODY", column="reason", type=str),
            Slot("flags", "OWN if the tester closed it"),
        ),
    ),
    Kind.JOIN: KindOf(
        "A connection is subscribed to a conversation.",
        (
            Slot("conv", "subscribed from now on"),
            Slot("seq", "head then: deliveries start at seq + 1"),
            Slot("aux", "number behind which the device had asked to go on; NONE: it had not asked"),
            Slot(
                "flags",
                "CONTINUED; REFUSED: the platform says that it cannot go on from there, and history must be read",
            ),
        ),
    ),
    Kind.LEAVE: KindOf(
        "It is no longer subscribed, or continuity is lost.",
        (Slot("conv", "no longer subscribed, or continuity lost"),),
    ),
    Kind.IDENTITY: KindOf(
        "A place of the platform states who a client is.",
        (
            Slot("counter", "Place", column="place", type=Place),
            Slot("aux", "client number that this place states for the client; NONE: a stranger", column="sender"),
        ),
    ),
    Kind.STORED: KindOf(
        "A message in the final read of a conversation.",
        (
            Slot("conv author counter attempt proc size digest seq", "as DELIVER; one row of the final read"),
            Slot("aux", "as DELIVER; one row of the final read", column="sender"),
        ),
    ),
    Kind.READ_END: KindOf(
        "The final read of a conversation is complete.",
        (
            Slot("conv", "its final read is complete"),
            Slot("counter", "rows read", column="rows"),
            Slot("seq", "last number"),
        ),
    ),
    Kind.PROBE: KindOf(
        "A probe was answered.",
        (
            Slot("author", "interned name of the probe", column="name", type=str),
            Slot("aux", "microseconds", column="duration_us", unit="µs"),
            Slot("counter", "status", column="status"),
        ),
    ),
    Kind.FAULT: KindOf(
        "A fault began or ended.",
        (
            Slot("author", "interned name of the fault", column="name", type=str),
            Slot("flags", "OWN: on; unset: off"),
            Slot("counter", "FaultKind; 0: not said", column="fault", type=FaultKind),
            Slot(
                "attempt",
                "Place that suffers from it (a service; the callee of a link); 0: another, or not said",
                column="place",
                type=Place,
            ),
        ),
    ),
    Kind.PHASE: KindOf(
        "A phase of the run began in this process.",
        (
            Slot("counter", "Phase", column="phase", type=Phase),
            Slot("flags", "TIMEOUT of DRAINED: the deadline passed while messages still arrived"),
            Slot("seq", "of CLOCK_STEP: ns before which the wall clock had not jumped yet; it had by `t`"),
            Slot("aux", "of CLOCK_STEP: by how many ns, positive: forward"),
        ),
    ),
    Kind.LOGIN: KindOf(
        "A login was answered.",
        (
            Slot("aux", "microseconds", column="duration_us", unit="µs"),
            Slot("counter", "status", column="status"),
        ),
    ),
    Kind.REQUEST: KindOf(
        "One request and its answer, written when the answer was there, or when it was given up.",
        (
            Slot("client", "who asked"),
            Slot("conn", "the connection that it opened or used, 0: HTTP"),
            Slot("author counter", "the artefact that was presented: its owner and number; counter 0: none"),
            Slot("attempt", "Place asked", column="place", type=Place),
            Slot("proc", "Way, SPOOFED, CONTROL", column="way"),
            Slot("seq", "ns at which it was sent, on the clock of `t`", column="sent_ns", unit="ns"),
            Slot("aux", "Retry-After in milliseconds; NONE: not stated", column="retry_after_ms", unit="ms"),
            Slot("size", "HTTP status or close code; 0: no answer", column="status"),
            Slot("digest", "remaining budget that the answer stated, NOBODY: not stated", column="remaining"),
            Slot("flags", "ACCEPTED, REFUSED or neither; TIMEOUT"),
        ),
    ),
    Kind.REVOKE: KindOf(
        "A credential was revoked, or all credentials of a user.",
        (
            Slot("author counter", "the artefact that was revoked (logout); counter 0: all of the author's (a ban)"),
            Slot("seq", "ns at which it was asked for", column="sent_ns", unit="ns"),
            Slot("attempt", "Place asked", column="place", type=Place),
            Slot("size", "HTTP status; 0: no answer", column="status"),
            Slot("flags", "ACCEPTED, REFUSED or neither"),
        ),
    ),
    Kind.RUN: KindOf(
        "An event of an agent's run was received.",
        (
            Slot("conv", "the conversation in which the event is shown"),
            Slot("author", "interned run id of an agent", column="run", type=str),
            Slot("counter", "chunk", column="chunk"),
            Slot(
                "seq",
                "counter of the client's own question that is answered; NONE: another client's, or the platform does "
                "not say which",
                column="question",
            ),
            Slot(
                "size digest",
                "of the chunk's text: bytes, CRC-32; 0: not recorded. Of event 6: of the whole answer, which its "
                "pieces make together if it was heard from its start, else as it is stated there",
            ),
            Slot("flags", "CORRUPT of event 6: the answer stated there is not what its pieces make together"),
            Slot("aux", "CRC-32 of the run's id, the same in all journals; NONE: not recorded"),
            Slot(
                "attempt",
                "event: 1 started, 2 thinking, 3 tool started, 4 tool completed, 5 chunk, 6 completed, 7 error, "
                "8 broken off: the request that it answers has ended, and the answer has no end",
                column="event",
            ),
        ),
    ),
    Kind.READ: KindOf(
        "A conversation's history was read up to its end during the run; written when the answer was there.",
        (
            Slot(
                "conv",
                "its history was read up to its end while the run was going on, written when the answer was there",
            ),
            Slot("counter", "rows read", column="rows"),
            Slot("seq", "highest number that it showed, or after which it showed nothing; NONE: an empty conversation"),
            Slot(
                "aux",
                "microseconds from asking to the answer: what happened in between need not be in it",
                column="duration_us",
                unit="µs",
            ),
            Slot(
                "author", "number behind which it started, 0: from the beginning; NOBODY: not recorded", column="after"
            ),
            Slot("digest", "CRC-32 of the numbers that it showed in their order, 8 bytes each; 0: not recorded"),
            Slot("flags", "CORRUPT: the platform's own digest of what it showed does not fit"),
        ),
    ),
    Kind.KICK: KindOf(
        "A membership was lost; written when the platform had confirmed it.",
        (
            Slot("client", "who lost the membership"),
            Slot("conv", "where; written when the platform had confirmed it"),
        ),
    ),
    Kind.TOKEN: KindOf(
        "A credential was issued, or made by the tester.",
        (
            Slot("client", "whose it is"),
            Slot("counter", "its number among this client's artefacts, from 1: (client, counter) names it"),
            Slot("attempt", "Artefact", column="artefact", type=Artefact),
            Slot("proc", "0: genuine; else how it was forged, a number of the target's forgeries", column="forgery"),
            Slot("seq", "its deadline, ns on the clock of `t`; NONE: none known", column="deadline_ns", unit="ns"),
            Slot(
                "aux",
                "number of the client's artefact that it belongs to: of an ACCESS token the REFRESH token given "
                "beside it, of a REFRESH token the one that it replaces, of a TICKET its ACCESS token, of a CODE "
                "its STATE; NONE. What hangs together is one family (a session)",
                column="made_from",
            ),
            Slot("digest", "CRC-32 of whom it names and what it permits"),
            Slot(
                "flags",
                "OWN: it rests on the tester's wall clock alone: a deadline of a platform that does not say when "
                "it issued, or a token that the tester made, and that is right or wrong only by its times. "
                "ACCEPTED: when it was issued, the clocks of platform and tester agreed",
            ),
        ),
    ),
    Kind.WRITE: KindOf(
        "A change of shared state, written when the answer was there, or when it was given up.",
        (
            Slot("client", "who changed it"),
            Slot(
                "conn",
                "EDIT: the version that it was an edit of and no other, if that was said; 0: of any",
                column="base",
            ),
            Slot("proc", "State", column="state", type=State),
            Slot("author", "whose state (any client of that user; EDIT: the author of the message)"),
            Slot(
                "counter",
                "what: EDIT: the message's counter; else the version the platform stated, 0: none",
                column="version",
            ),
            Slot("conv", "in which conversation, NOBODY: none"),
            Slot("seq", "ns at which it was sent", column="sent_ns", unit="ns"),
            Slot(
                "aux",
                "the new value where it is a number (READ_MARK, ACTIVE); the version that an EDIT got; NONE",
                column="value",
            ),
            Slot("digest", "CRC-32 of the new value"),
            Slot("attempt", "Place asked", column="place", type=Place),
            Slot("flags", "ACCEPTED, REFUSED or neither"),
            Slot("size", "HTTP status; 0: no answer", column="status"),
        ),
    ),
    Kind.SEEN: KindOf(
        "Shared state as a device, a service or a database showed it.",
        (
            Slot("client", "who saw it (NOBODY: the collector)"),
            Slot("conn", "the connection on which it was pushed; 0: it was asked for"),
            Slot("author conv digest", "as WRITE"),
            Slot("proc", "as WRITE", column="state", type=State),
            Slot("counter", "as WRITE", column="version"),
            Slot("aux", "as WRITE", column="value"),
            Slot("attempt", "Place that showed it", column="place", type=Place),
            Slot("seq", "ns at which it was asked for; NONE: pushed", column="sent_ns", unit="ns"),
            Slot("size", "HTTP status; 0: no answer", column="status"),
        ),
    ),
    Kind.PRESENCE: KindOf(
        "A device was shown a user as online or offline.",
        (
            Slot("client conn", "who was told, on which connection"),
            Slot("author", "about whom (any client of that user)"),
            Slot("conv", "where it is shown, NOBODY: everywhere"),
            Slot("counter", "1 online, 0 offline", column="online"),
            Slot("aux", "how many devices, if it was said", column="devices"),
        ),
    ),
    Kind.CALL: KindOf(
        "A call of one service to another, as a link between them or the caller's own log shows it.",
        (
            Slot(
                "author",
                "interned name of caller and dependency, as CALLER/CALLEE: one breaker",
                column="name",
                type=str,
            ),
            Slot(
                "counter",
                "state of the caller's circuit breaker if it was said: 1 closed, 2 open, 3 half-open",
                column="breaker",
            ),
            Slot("seq", "ns at which it began", column="sent_ns", unit="ns"),
            Slot("size", "status; 0: no answer", column="status"),
            Slot(
                "aux", "1: the dependency was called; 0: answered without a call (fast fail, fallback)", column="called"
            ),
            Slot("flags", "ACCEPTED, REFUSED or neither"),
        ),
    ),
}


KINDS[Kind.REPLAY] = KindOf(
    "A message of the history that the platform sends on joining: never a duplicate.", KINDS[Kind.DELIVER].slots
)

COLUMN_OF: Final[Mapping[Kind, Mapping[str, str]]] = {
    kind: {slot: GENERIC[slot] for slot in GENERIC} | {slot.names: slot.column for slot in what.slots if slot.column}
    for kind, what in KINDS.items()
}
"""Readable column of each slot, by kind."""

TYPE_OF: Final[Mapping[str, type[int] | type[str] | type[IntEnum]]] = {
    slot.column: slot.type for what in KINDS.values() for slot in what.slots if slot.column
}
"""Type of each column that kinds state themselves (`Slot.column`)."""
