"""Attempt to connect, for credentials under test. Frames that the socket receives are not recorded."""

from __future__ import annotations

from collections.abc import Sequence

from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.events import WELCOME, Heard
from earwitness.harness.client.gevent_shell import Connection, Refused
from earwitness.harness.client.link import Transport
from earwitness.harness.client.wire import NO_CLOSE

OPENED = 101
"""Result of an attempt that succeeded: the HTTP status 101 (Switching Protocols)."""


class _Passing:
    """Substitute for a session that only notices the greeting of the platform."""

    def __init__(self) -> None:
        self.welcomed = False

    def connected(self, dialogue: Dialogue, now_ns: int, handshake_ns: int, replica: str | None = None) -> int:
        """Implement `Hears.connected`: return epoch 1, since each attempt has one connection."""
        self._hear = dialogue.received
        return 1

    def heard(self, now_ns: int, data: str | bytes) -> None:
        """Implement `Hears.heard`: note whether the frame is the greeting."""
        self.happened(now_ns, self._hear(data))

    def happened(self, now_ns: int, events: Sequence[Heard]) -> None:
        """Implement `Hears.happened`: note whether the greeting is among the events."""
        self.welcomed = self.welcomed or any(event[0] == WELCOME for event in events)

    def closed(self, now_ns: int, code: int, own: bool, reason: str = "") -> None:
        """Implement `Hears.closed`: clear `welcomed`."""
        self.welcomed = False


def knock(dialogue: Dialogue, *, timeout_s: float = 10.0) -> int:
    """Open a socket, close it again, and return the result of the attempt.

    The result is OPENED, or the HTTP status or close code of the refusal (1006 if the connection ended without either,
    or a frame refused it without a code). It is 0 if nothing answered (OSError), or the answer is not one that the
    dialect expects.
    """
    # Own counters: frames that are not recorded must not enter the totals that H1 compares with the records.
    connection = Connection(_Passing(), dialogue, timeout_s=timeout_s, transport=Transport())
    try:
        connection.open()
    except Refused as refused:
        return refused.status or refused.code or (NO_CLOSE if refused.by_frame else 0)
    except OSError:
        return 0
    connection.close()
    return OPENED
