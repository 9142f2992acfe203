"""Frame capture: a session that stores raw frames with its records, for `--keep-frames`.

A session of its own, so that the plain one pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from earwitness.harness.client.outbox import Encode, Record, Sent
from earwitness.harness.client.session import ChatSession


class Keeper(Protocol):
    """The part of `harness.record.frames.FrameStore` that a session writes to."""

    def hearing(self, first: int, frame: str | bytes, secrets: tuple[bytes, ...] = ()) -> None:
        """Store a received frame whose first record will be number `first`, with `secrets` blotted out."""

    def heard(self, last: int) -> None:
        """End the frame of the last `hearing`: record number `last` is its last one."""

    def said(self, record: int, frame: str | bytes, secrets: tuple[bytes, ...] = ()) -> None:
        """Store the frame that record number `record` has sent, with `secrets` blotted out."""


class Secretive(Protocol):
    """Credentials that name the texts that must not be stored."""

    def secrets(self) -> tuple[str, ...]:
        """Return every text of the credentials that no file of the run may contain."""


class Counted(Record, Protocol):
    """A session's journal that says how many records it has."""

    @property
    def records(self) -> int:
        """Return the number of the last record."""


class KeepingSession(ChatSession):
    """ChatSession that also stores every raw frame that it sends and receives.

    `credentials` returns the present ones: a platform may send a token back, and it is blotted out.
    """

    __slots__ = ("_credentials", "_frames", "_held", "_records", "_secrets")

    def __init__(
        self, *, frames: Keeper, credentials: Callable[[], Secretive], journal: Counted, **settings: Any
    ) -> None:
        """Store frames in `frames`; `settings` are those of ChatSession."""
        super().__init__(journal=journal, **settings)
        self._frames, self._credentials, self._records = frames, credentials, journal
        self._held: Secretive | None = None
        self._secrets: tuple[bytes, ...] = ()

    def heard(self, now_ns: int, data: str | bytes) -> None:
        """Store and record one received frame."""
        self._frames.hearing(self._records.records + 1, data, self._hidden())
        super().heard(now_ns, data)
        self._frames.heard(self._records.records)

    def _invoke(self, now_ns: int, message_id: str, sent: Sent, put: Encode | None = None) -> str | bytes:
        frame = super()._invoke(now_ns, message_id, sent, put)
        self._frames.said(self._records.records, frame, self._hidden())
        return frame

    def _hidden(self) -> tuple[bytes, ...]:
        held = self._credentials()
        if held is not self._held:  # a login, or a refreshed token
            self._held, self._secrets = held, tuple(text.encode() for text in held.secrets())
        return self._secrets
