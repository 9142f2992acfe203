"""Whether a socket opens: for credentials that are only tried. Nothing that is heard meanwhile is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from earwitness.harness.client.events import WELCOME, Handshake, Heard
from earwitness.harness.client.gevent_shell import Connection, Refused
from earwitness.harness.client.link import Transport

OPENED = 101


class _Passing:
    """Stands where a session would: hears only whether it is welcome."""

    def __init__(self, hear: Callable[[str | bytes], Sequence[Heard]]) -> None:
        self._hear = hear
        self.welcomed = False

    def connected(self, now_ns: int, handshake_ns: int, replica: str | None = None, *, greeted: bool = False) -> int:
        return 1

    def heard(self, now_ns: int, data: str | bytes) -> None:
        self.welcomed = self.welcomed or any(event[0] == WELCOME for event in self._hear(data))

    def closed(self, now_ns: int, code: int, own: bool, reason: str = "") -> None:
        self.welcomed = False


def knock(hear: Callable[[str | bytes], Sequence[Heard]], handshake: Handshake, *, timeout_s: float = 10.0) -> int:
    """Open a socket and close it again. OPENED, or the HTTP status or close code of the refusal (1006:
    it says nothing); 0: nobody there."""
    # Its own counters: what is not recorded must not be missed in the record (H1).
    connection = Connection(_Passing(hear), handshake, timeout_s=timeout_s, transport=Transport())
    try:
        connection.open()
    except Refused as refused:
        return refused.status or refused.code
    except OSError:
        return 0
    connection.close()
    return OPENED
