"""Frame capture: a session that stores raw frames with its records, for `--keep-frames`.

It is a separate class, so that it costs no time in sessions that store no frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from earwitness.harness.client.outbox import Encode, Record, Sent
from earwitness.harness.client.session import ChatSession


class Keeper(Protocol):
    """Protocol of `harness.record.frames.FrameStore`, with the methods that a session calls."""

    def hearing(self, first: int, frame: str | bytes, secrets: tuple[bytes, ...] = ()) -> None:
        """Hold a received frame until `heard` stores it, with `secrets` blotted out.

        Call it before the frame's records are written. `first`: number of the first of these records.
        """

    def heard(self, last: int) -> None:
        """Store the frame of the last call of `hearing`. `last`: number of the frame's last record."""

    def said(self, record: int, frame: str | bytes, secrets: tuple[bytes, ...] = ()) -> None:
        """Store a sent frame, with `secrets` blotted out. `record`: number of the record about its sending."""


class Secretive(Protocol):
    """Protocol of credentials that can list their secret texts."""

    def secrets(self) -> tuple[str, ...]:
        """Return every text of the credentials that no file of the run may contain."""


class Counted(Record, Protocol):
    """Protocol of a session's journal that knows how many records it has."""

    @property
    def records(self) -> int:
        """Return the number of records written so far, which is also the number of the last record."""


class KeepingSession(ChatSession):
    """ChatSession that also stores every raw frame that it sends and receives.

    `credentials` returns the user's current credentials. Their secret texts are blotted out of the stored frames,
    because a platform may send a token back.
    """

    __slots__ = ("_credentials", "_frames", "_held", "_records", "_secrets")

    def __init__(
        self, *, frames: Keeper, credentials: Callable[[], Secretive], journal: Counted, **settings: Any
    ) -> None:
        """Store frames in `frames`. `journal` and `settings` are the parameters of ChatSession."""
        super().__init__(journal=journal, **settings)
        self._frames, self._credentials, self._records = frames, credentials, journal
        self._held: Secretive | None = None
        self._secrets: tuple[bytes, ...] = ()

    def heard(self, now_ns: int, data: str | bytes) -> None:
        """Store one received frame and record its events, as `ChatSession.heard` does."""
        self._frames.hearing(self._records.records + 1, data, self._hidden())
        super().heard(now_ns, data)
        self._frames.heard(self._records.records)

    def _invoke(
        self, now_ns: int, message_id: str, sent: Sent, put: Encode | None = None, flags: int = 0
    ) -> str | bytes:
        frame = super()._invoke(now_ns, message_id, sent, put, flags)
        self._frames.said(self._records.records, frame, self._hidden())
        return frame

    def _hidden(self) -> tuple[bytes, ...]:
        held = self._credentials()
        if held is not self._held:  # a login, or a refreshed token
            self._held, self._secrets = held, tuple(text.encode() for text in held.secrets())
        return self._secrets
