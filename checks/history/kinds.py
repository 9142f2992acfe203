"""Kinds and flags of records as plain numbers, for compiled loops."""

from __future__ import annotations

from earwitness.checks.history.record import Flag, Kind

K_INVOKE = int(Kind.INVOKE)
K_OK = int(Kind.OK)
K_FAIL = int(Kind.FAIL)
K_INFO = int(Kind.INFO)
K_DELIVER = int(Kind.DELIVER)
K_STORED = int(Kind.STORED)
K_READ_END = int(Kind.READ_END)
K_REPLAY = int(Kind.REPLAY)
K_JOIN = int(Kind.JOIN)
K_LEAVE = int(Kind.LEAVE)
K_CONNECT = int(Kind.CONNECT)
K_DISCONNECT = int(Kind.DISCONNECT)
K_PROBE = int(Kind.PROBE)
K_RUN = int(Kind.RUN)
K_READ = int(Kind.READ)
K_KICK = int(Kind.KICK)
K_TOKEN = int(Kind.TOKEN)
K_REQUEST = int(Kind.REQUEST)
K_REVOKE = int(Kind.REVOKE)
K_WRITE = int(Kind.WRITE)
K_SEEN = int(Kind.SEEN)
K_PRESENCE = int(Kind.PRESENCE)
K_CALL = int(Kind.CALL)
K_FAULT = int(Kind.FAULT)
K_PHASE = int(Kind.PHASE)
LISTENED = 1 << K_DELIVER | 1 << K_REPLAY
HEARD_OR_READ = LISTENED | 1 << K_STORED
CONTENT = HEARD_OR_READ | 1 << K_INVOKE
ANSWERS = 1 << K_OK | 1 << K_FAIL
OF_MESSAGES = CONTENT | 1 << K_OK | 1 << K_FAIL | 1 << K_INFO
PUSHED = 1 << K_RUN | 1 << K_PRESENCE | 1 << K_SEEN
"""Sets of kinds, as bits.

LISTENED: messages that a device received; HEARD_OR_READ: these and messages of the final read; CONTENT: kinds with the
digest of a body; ANSWERS: OK and FAIL; OF_MESSAGES: all kinds that name a message; PUSHED: what a platform sends to a
device about a conversation, besides messages.
"""
UNTRUSTED = int(Flag.CORRUPT | Flag.FOREIGN_RUN)
MISROUTED = int(Flag.MISROUTED)
CORRUPT = int(Flag.CORRUPT)
