"""The record: one fixed 64-byte little-endian structure per frame or operation.

The head is common to all kinds (`t` in ns on the monotonic clock, `kind`, `flags`, `client`, `conn`, `index`). The
meaning of the other fields ("slots") depends on the kind; `checks.history.schema` states it. Journals on disk are
arrays of `RECORD`; checks fold over them.

Numbers
-------
client   dense number of a *device*: one sequential sender and one receiver (a tab, a phone). `Roster.user_of` maps it
         to its user. Planned clients have numbers below `FOREIGN`.
conn     connection epoch, counted from 1 inside one journal. (journal, conn) names a connection, the "process" of the
         literature; it never continues after DISCONNECT. 0: no connection (HTTP).
conv     dense number of a conversation of the roster.
author   client number of the device that sent the message, as its body states.
counter  the author's own message counter, from 1, over all conversations. (author, counter) names a message.
proc     the author's connection epoch modulo 256 as its body says: program order holds only inside one.
attempt  1 for the first sending of a message, 2… for its retries (the body repeats it).
seq      the server's sequence number in the conversation; `NONE` where the platform gives none.
digest   CRC-32 of the message's content, see `harness/client/body.py`.
index    1-based number of the record in its journal, written last: a record is complete if it holds its own position +
         1.
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
"""Limit of connection numbers; those from it on count as none: a wrong one must not make a table grow without bound."""

FOREIGN = 1 << 31
"""First number that stands for a text of the journal, not for a client or conversation of the plan."""

NOBODY = 0xFFFF_FFFF
"""Value of `client`, `conv` or `author` where there is none."""

AGENT = 0xFFFF_FFFE
"""Value of `author` if an agent of the platform wrote the message (FOREIGN_RUN), as the stated sender shows.

Such a message has no body of the tester, but is no invented one either (I8). `digest` is then the CRC-32 of its text.
"""

NONE = -1
"""Value of `seq` and `aux` where there is none."""


class Kind(IntEnum):
    """Kind of a record. A sending is an INVOKE, then OK, FAIL or INFO; all other kinds are single events."""

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
    """Bits of `flags`.

    CORRUPT: the checksum in the body does not match, so its fields cannot be trusted. In records READ, RUN and TOKEN
    flags have other meanings, see `checks.history.schema`.
    """

    CORRUPT = 1
    MISROUTED = 2  # DELIVER, STORED: the envelope names another conversation than the body
    OWN = 4  # DISCONNECT: the tester closed it. FAULT: on (unset: off). INVOKE: a question to the agent
    CONTINUED = 8  # JOIN: the platform promises that nothing was missed since `seq`
    FOREIGN_RUN = 16  # DELIVER, STORED: the body carries another run's tag, or is no body of ours at all
    TIMEOUT = 32  # INFO: no answer in time (unset: the connection was cut). PHASE: see there
    ACCEPTED = 64  # REQUEST, REVOKE, WRITE, CALL: definitely done
    REFUSED = 128  # … definitely refused, without effect. Neither: nobody knows (5xx, no answer). JOIN: see there


class Artefact(IntEnum):
    """Type of an artefact: `attempt` of a TOKEN record."""

    ACCESS = 1
    REFRESH = 2
    TICKET = 3
    STATE = 4
    CODE = 5


class Way(IntEnum):
    """Way in which an artefact was presented: low bits of `proc` of a REQUEST record."""

    HEADER = 1
    SUBPROTOCOL = 2
    QUERY = 3
    TICKET = 4
    FRAME = 5
    BODY = 6


SPOOFED = 64
"""Bit of `proc` of a REQUEST record: the request claimed to come from another address (X-Forwarded-For)."""
CONTROL = 128
"""Bit of `proc` of a REQUEST record: a valid token, presented like the forgery that it is compared with."""


class State(IntEnum):
    """Type of shared state: `proc` of WRITE and SEEN records."""

    PROFILE = 1  # what a person's account shows (name, e-mail)
    ACTIVE = 2  # whether the account is active: `counter` of its value is 1 or 0
    READ_MARK = 3  # how far a user has read a conversation: `seq`
    EDIT = 4  # the text of a message after an edit
    MEMBERSHIP = 5
    PERMISSIONS = 6
    TITLE = 7  # what a conversation is called; it has no author


class FaultKind(IntEnum):
    """Type of a fault: `counter` of a FAULT record."""

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
    """Phase of a run, or a step of the wall clock: `counter` of a PHASE record."""

    LOAD = 1
    DRAIN = 2
    DRAINED = 3
    CLOCK_STEP = 4  # the wall clock of this process jumped against the monotonic one


class Place(IntEnum):
    """Service or database of the platform: `counter` of an IDENTITY record, the place that stated the identity.

    In records of requests, revocations, shared state and faults `attempt` holds it.
    """

    AUTH = 1
    BACKEND = 2
    SOCKET = 3
    AUTH_DATABASE = 4
    MAIN_DATABASE = 5
    FRONTEND = 6


def empty(n: int) -> np.ndarray:
    """Return `n` records whose optional fields all hold the value for "absent", with indexes from 1."""
    records = np.zeros(n, dtype=RECORD)
    for name in ("client", "conv", "author"):
        records[name] = NOBODY
    records["seq"] = NONE
    records["aux"] = NONE
    records["index"] = np.arange(1, n + 1)
    return records


def page_digest(numbers: np.ndarray) -> int:
    """Return the CRC-32 of a page's sequence numbers in the order of the page, 8 bytes each: the `digest` of READ."""
    return crc32(np.asarray(numbers, "<i8").tobytes())
