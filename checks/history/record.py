"""The record: one fixed 64-byte little-endian structure per frame or operation.

The head is common to all kinds (`t`, `kind`, `flags`, `client`, `conn`, `index`); what the other slots mean
depends on the kind and is written in `SLOTS`, nowhere else. Journals on disk are arrays of `RECORD`; checks
fold over them.

Numbers
-------
client   dense number of a *device*: one sequential sender and one receiver (a tab, a phone). `Roster.user_of`
         maps it to its user. Planned clients have numbers below `FOREIGN`.
conn     connection epoch, counted from 1 inside one journal. (journal, conn) names a connection, the
         "process" of the literature; it never continues after DISCONNECT. 0: no connection (HTTP).
conv     dense number of a conversation of the roster.
author   client number of the one who wrote the message, as its body says.
counter  the author's own message counter, from 1, over all conversations. (author, counter) names a message.
proc     the author's connection epoch modulo 256 as its body says: program order holds only inside one.
attempt  1 for the first sending of a message, 2… for its retries (the body repeats it).
seq      the server's sequence number in the conversation; `NONE` where the platform gives none.
digest   CRC-32 of the message's content, see `harness/client/body.py`.
index    1-based number of the record in its journal, written last: a record is complete if it holds its own
         position + 1.
Strings nobody planned are interned per journal to ids from `FOREIGN` upwards (see `harness/record`).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from zlib import crc32

import numpy as np

RECORD = np.dtype(
    [
        ("t", "<i8"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("attempt", "u1"),
        ("proc", "u1"),
        ("client", "<u4"),
        ("conn", "<u4"),
        ("conv", "<u4"),
        ("author", "<u4"),
        ("counter", "<u4"),
        ("seq", "<i8"),
        ("aux", "<i8"),
        ("size", "<u4"),
        ("digest", "<u4"),
        ("index", "<u8"),
    ]
)
RECORD_STRUCT = "<qBBBBIIIIIqqIIQ"
RECORD_BYTES = 64
assert RECORD.itemsize == RECORD_BYTES

CONN_MAX = 1 << 24
"""Connection numbers from here on are taken for none: a stray number must not make a table grow without bound."""

FOREIGN = 1 << 31
"""Ids from here on are journal-local strings, not numbers of the plan."""

NOBODY = 0xFFFF_FFFF
"""Value of `client`, `conv` or `author` where there is none."""

AGENT = 0xFFFF_FFFE
"""Value of `author` where the body is none of ours (FOREIGN_RUN) and an agent of the platform wrote it, as its sender
says: no ghost. `digest` is then the CRC-32 of its text."""

NONE = -1
"""Value of `seq` and `aux` where there is none."""


class Kind(IntEnum):
    """What a record says. Operations run INVOKE → OK | FAIL | INFO; everything else is an event."""

    INVOKE = 1
    OK = 2
    FAIL = 3
    INFO = 4
    DELIVER = 5
    CONNECT = 6
    DISCONNECT = 7
    JOIN = 8
    LEAVE = 9
    IDENTITY = 10
    STORED = 11
    READ_END = 12
    PROBE = 13
    FAULT = 14
    PHASE = 15
    REPLAY = 16
    LOGIN = 17
    REQUEST = 18
    REVOKE = 19
    RUN = 20
    READ = 21
    KICK = 22
    TOKEN = 23
    WRITE = 24
    SEEN = 25
    PRESENCE = 26
    CALL = 27


class Flag(IntFlag):
    """Bits of `flags`. CORRUPT: the body's own digest does not fit, its identity cannot be trusted; READ, RUN: see
    there."""

    CORRUPT = 1
    MISROUTED = 2  # DELIVER, STORED: the envelope names another conversation than the body
    OWN = 4  # DISCONNECT: the tester closed it. FAULT: on (unset: off)
    CONTINUED = 8  # JOIN: the platform promises that nothing was missed since `seq`
    FOREIGN_RUN = 16  # DELIVER, STORED: the body carries another run's tag, or is no body of ours at all
    TIMEOUT = 32  # INFO: no answer in time (unset: the connection was cut). PHASE: see there
    ACCEPTED = 64  # REQUEST, REVOKE, WRITE, CALL: definitely done
    REFUSED = 128  # … definitely refused, without effect. Neither: nobody knows (5xx, no answer). JOIN: see there


class Artefact(IntEnum):
    """`attempt` of a TOKEN record: what was issued, or made by the tester."""

    ACCESS = 1
    REFRESH = 2
    TICKET = 3
    STATE = 4
    CODE = 5


class Way(IntEnum):
    """Low bits of `proc` of a REQUEST: how the artefact was presented."""

    HEADER = 1
    SUBPROTOCOL = 2
    QUERY = 3
    TICKET = 4
    FRAME = 5
    BODY = 6


SPOOFED = 64
"""Bit of `proc` of a REQUEST: it claimed to come from another address (X-Forwarded-For)."""
CONTROL = 128
"""Bit of `proc` of a REQUEST: the valid control beside a forgery, presented at the same place by the same way."""


class State(IntEnum):
    """`proc` of WRITE and SEEN: which shared state."""

    PROFILE = 1  # what a person's account shows (name, e-mail)
    ACTIVE = 2  # whether the account is active: `counter` of its value is 1 or 0
    READ_MARK = 3  # how far a user has read a conversation: `seq`
    EDIT = 4  # the text of a message after an edit
    MEMBERSHIP = 5
    PERMISSIONS = 6
    TITLE = 7  # what a conversation is called; it has no author


class FaultKind(IntEnum):
    """`counter` of a FAULT record."""

    KILL = 1
    PAUSE = 2
    RESTART = 3  # gracefully
    CRASH = 4  # killed and started again
    REPLACE = 5  # a new process takes over, the old one drains
    SKEW = 6
    CUT = 7
    DELAY = 8
    BLACKHOLE = 9
    BANDWIDTH = 10
    CUT_AFTER = 11
    WIPE = 12  # killed and started again without its data


class Phase(IntEnum):
    """`counter` of a PHASE record."""

    LOAD = 1
    DRAIN = 2
    DRAINED = 3
    CLOCK_STEP = 4  # the wall clock of this process jumped against the monotonic one


class Place(IntEnum):
    """`counter` of an IDENTITY record: who stated the identity."""

    AUTH = 1
    BACKEND = 2
    SOCKET = 3
    AUTH_DATABASE = 4
    MAIN_DATABASE = 5
    FRONTEND = 6


SLOTS: dict[Kind, dict[str, str]] = {
    Kind.INVOKE: {
        "conv author counter attempt proc size digest": "the message",
        "aux": "highest sequence of this conversation that the sender had seen on this connection (causality)",
    },
    Kind.OK: {"conv author counter attempt": "the message", "seq": "its number, if the acknowledgement says it"},
    Kind.FAIL: {
        "conv author counter attempt": "the message",
        "aux": "the platform's code, e.g. 429",
        "size": "milliseconds after which it says to come back; 0: not stated",
    },
    Kind.INFO: {"conv author counter attempt": "the message: it may or may not have taken effect"},
    Kind.DELIVER: {
        "conv author counter attempt proc size digest": "the message as its body says",
        "seq": "its number, if the platform gives one",
        "aux": "client number of the sender as the platform states it (any client of that user)",
    },
    Kind.REPLAY: {"…": "as DELIVER, but history that the platform sends on joining: never a duplicate"},
    Kind.CONNECT: {"author": "interned name of the replica, or NOBODY", "size": "microseconds of the handshake"},
    Kind.DISCONNECT: {
        "counter": "close code",
        "author": "interned reason of the close frame, or NOBODY",
        "flags": "OWN if the tester closed it",
    },
    Kind.JOIN: {
        "conv": "subscribed from now on",
        "seq": "head then: deliveries start at seq + 1",
        "aux": "number behind which the device had asked to go on; NONE: it had not asked",
        "flags": "CONTINUED; REFUSED: the platform says that it cannot go on from there, and history must be read",
    },
    Kind.LEAVE: {"conv": "no longer subscribed, or continuity lost"},
    Kind.IDENTITY: {"counter": "Place", "aux": "client number that this place states for the client; NONE: a stranger"},
    Kind.STORED: {"conv author counter attempt proc size digest seq aux": "as DELIVER; one row of the final read"},
    Kind.READ_END: {"conv": "its final read is complete", "counter": "rows read", "seq": "last number"},
    Kind.PROBE: {"author": "interned name of the probe", "aux": "microseconds", "counter": "status"},
    Kind.FAULT: {
        "author": "interned name of the fault",
        "flags": "OWN: on; unset: off",
        "counter": "FaultKind; 0: not said",
        "attempt": "Place that suffers from it (a service; the callee of a link); 0: another, or not said",
    },
    Kind.PHASE: {
        "counter": "Phase",
        "flags": "TIMEOUT of DRAINED: the deadline passed while messages still arrived",
        "seq": "of CLOCK_STEP: ns before which the wall clock had not jumped yet; it had by `t`",
        "aux": "of CLOCK_STEP: by how many ns, positive: forward",
    },
    Kind.LOGIN: {"aux": "microseconds", "counter": "status"},
    Kind.TOKEN: {
        "client": "whose it is",
        "counter": "its number among this client's artefacts, from 1: (client, counter) names it",
        "attempt": "Artefact",
        "proc": "0: genuine; else how it was forged, a number of the target's forgeries",
        "seq": "its deadline, ns on the clock of `t`; NONE: none known",
        "aux": "number of the client's artefact that it belongs to: of an ACCESS token the REFRESH token given beside"
        " it, of a REFRESH token the one that it replaces, of a TICKET its ACCESS token, of a CODE its STATE; NONE."
        " What hangs together is one family (a session)",
        "digest": "CRC-32 of whom it names and what it permits",
        "flags": "OWN: it rests on the tester's wall clock alone: a deadline of a platform that does not say when it"
        " issued, or a token that the tester made, and that is right or wrong only by its times. ACCEPTED: when it was"
        " issued, the clocks of platform and tester agreed",
    },
    Kind.REQUEST: {
        "": "one request and its answer, written when the answer was there, or when it was given up",
        "client": "who asked",
        "conn": "the connection that it opened or used, 0: HTTP",
        "author counter": "the artefact that was presented: its owner and number; counter 0: none",
        "attempt": "Place asked",
        "proc": "Way, SPOOFED, CONTROL",
        "seq": "ns at which it was sent, on the clock of `t`",
        "aux": "Retry-After in milliseconds; NONE: not stated",
        "size": "HTTP status or close code; 0: no answer",
        "digest": "remaining budget that the answer stated, NOBODY: not stated",
        "flags": "ACCEPTED, REFUSED or neither; TIMEOUT",
    },
    Kind.REVOKE: {
        "author counter": "the artefact that was revoked (logout); counter 0: all of the author's (a ban)",
        "seq": "ns at which it was asked for",
        "attempt": "Place asked",
        "size": "HTTP status; 0: no answer",
        "flags": "ACCEPTED, REFUSED or neither",
    },
    Kind.WRITE: {
        "": "a change of shared state, written when the answer was there, or when it was given up",
        "client": "who changed it",
        "conn": "EDIT: the version that it was an edit of and no other, if that was said; 0: of any",
        "proc": "State",
        "author": "whose state (any client of that user; EDIT: the author of the message)",
        "counter": "what: EDIT: the message's counter; else the version the platform stated, 0: none",
        "conv": "in which conversation, NOBODY: none",
        "seq": "ns at which it was sent",
        "aux": "the new value where it is a number (READ_MARK, ACTIVE); the version that an EDIT got; NONE",
        "digest": "CRC-32 of the new value",
        "attempt": "Place asked",
        "flags": "ACCEPTED, REFUSED or neither",
    },
    Kind.SEEN: {
        "": "shared state as a device, a service or a database showed it",
        "client": "who saw it (NOBODY: the collector)",
        "conn": "the connection on which it was pushed; 0: it was asked for",
        "proc author counter conv aux digest": "as WRITE",
        "attempt": "Place that showed it",
        "seq": "ns at which it was asked for; NONE: pushed",
    },
    Kind.PRESENCE: {
        "client conn": "who was told, on which connection",
        "author": "about whom (any client of that user)",
        "conv": "where it is shown, NOBODY: everywhere",
        "counter": "1 online, 0 offline",
        "aux": "how many devices, if it was said",
    },
    Kind.CALL: {
        "": "a call of one service to another, as a link between them or the caller's own log shows it",
        "author": "interned name of caller and dependency, as CALLER/CALLEE: one breaker",
        "counter": "state of the caller's circuit breaker if it was said: 1 closed, 2 open, 3 half-open",
        "seq": "ns at which it began",
        "size": "status; 0: no answer",
        "aux": "1: the dependency was called; 0: answered without a call (fast fail, fallback)",
        "flags": "ACCEPTED, REFUSED or neither",
    },
    Kind.RUN: {
        "conv": "where it is told",
        "author": "interned run id of an agent",
        "counter": "chunk",
        "size digest": "of the chunk's text: bytes, CRC-32; 0: not recorded. Of event 6: of the whole answer, which its"
        " pieces make together if it was heard from its start, else as it is stated there",
        "flags": "CORRUPT of event 6: the answer stated there is not what its pieces make together",
        "aux": "CRC-32 of the run's id, the same in all journals; NONE: not recorded",
        "attempt": "event: 1 started, 2 thinking, 3 tool started, 4 tool completed, 5 chunk, 6 completed, 7 error",
    },
    Kind.READ: {
        "conv": "its history was read up to its end while the run was going on, written when the answer was there",
        "counter": "rows read",
        "seq": "highest number that it showed, or after which it showed nothing; NONE: an empty conversation",
        "aux": "microseconds from asking to the answer: what happened in between need not be in it",
        "author": "number behind which it started, 0: from the beginning; NOBODY: not recorded",
        "digest": "CRC-32 of the numbers that it showed in their order, 8 bytes each; 0: not recorded",
        "flags": "CORRUPT: the platform's own digest of what it showed does not fit",
    },
    Kind.KICK: {"client": "who lost the membership", "conv": "where; written when the platform had confirmed it"},
}


def empty(n: int) -> np.ndarray:
    """`n` records of nothing: every optional slot says that it is absent, indexes run from 1."""
    records = np.zeros(n, dtype=RECORD)
    for name in ("client", "conv", "author"):
        records[name] = NOBODY
    records["seq"] = NONE
    records["aux"] = NONE
    records["index"] = np.arange(1, n + 1)
    return records


def page_digest(numbers: np.ndarray) -> int:
    """Return the CRC-32 of a page's numbers in the order in which it showed them, as `digest` of READ keeps it."""
    return crc32(np.asarray(numbers, "<i8").tobytes())
