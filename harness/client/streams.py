"""Answers that an agent streams, as one connection receives them: size and digest of each whole answer, for I24.

The record of an answer's end carries size and digest of the whole answer. If the connection received the answer from
its beginning, they are computed from its chunks; otherwise from the text that the platform sends at the end.
"""

from __future__ import annotations

from zlib import crc32

from earwitness.checks.history.record import Flag

STARTED, CHUNK, COMPLETED, ERROR = 1, 5, 6, 7
OPEN_MAX = 1000
"""Most answers under way that are followed; if a platform begins more, the oldest is dropped."""


class Streams:
    """Agent's answers in progress on one connection."""

    def __init__(self) -> None:
        """Start without answers, as each connection does."""
        self._open: dict[str, tuple[int, int, int]] = {}  # run → digest, bytes, number of the next piece

    def said(self, run: str, event: int, number: int, text: str) -> tuple[int, int, int]:
        """Process one event of an agent's answer; return (bytes, CRC-32, flags) for its record.

        `run`: the platform's id of the answer; `event`: a number of `session.AGENT_EVENTS`; `number`: that of the
        chunk. The flag CORRUPT means that the text sent with the end differs from the chunks together.
        """
        data = text.encode("utf-8", "surrogatepass")
        size, digest = len(data), crc32(data) if data else 0
        if event == STARTED:
            self._begin(run)
        elif event == CHUNK:
            self._piece(run, number, data)
        elif event == ERROR:
            self._open.pop(run, None)
        elif event == COMPLETED and (whole := self._open.pop(run, None)) is not None and whole[2]:
            flags = int(Flag.CORRUPT) if data and (size, digest) != (whole[1], whole[0]) else 0
            return whole[1], whole[0], flags
        return size, digest, 0

    def _begin(self, run: str) -> None:
        self._open[run] = 0, 0, 0
        if len(self._open) > OPEN_MAX:
            del self._open[next(iter(self._open))]

    def _piece(self, run: str, number: int, data: bytes) -> None:
        digest, size, expected = self._open.get(run, (0, 0, -1))
        if number == expected:
            self._open[run] = crc32(data, digest), size + len(data), number + 1
        else:
            self._open.pop(run, None)
