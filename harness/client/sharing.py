"""Recorder of the shared state that a device was shown: read marks, edits, and who is online.

Edits carry a message body as messages do, which identifies the message that they change. So an edit can be assigned
even if it arrives before its message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from earwitness.checks.history.record import NONE, Place, State
from earwitness.harness.client.body import decode_fields
from earwitness.harness.client.events import EDITED, MARKED, PRESENCE, WELCOME, Heard
from earwitness.harness.client.statements import digest_of, write_presence, write_seen
from earwitness.harness.record.named import Writes


class SharedJournal(Writes, Protocol):
    """Protocol of `harness.record.journal.Journal`, with the methods that `Shown` calls."""

    def intern(self, text: str) -> int:
        """Return the number that stands for `text` in the records of this journal."""


class Edit(NamedTuple):
    """Edit of a message.

    number   number of the edit in its conversation, from 1 without gaps
    seq      sequence number of the message
    version  version of the message after the edit, 2 for the first edit
    """

    number: int
    seq: int
    version: int
    text: str


class Shown:
    """State that one device was shown, over all of its connections. Times are `time.monotonic_ns()`.

    edits      room label -> number up to which all edits are known (newer edits may be known already)
    versions   (author, counter) of a message -> its newest version; 1: never edited
    """

    def __init__(self, journal: SharedJournal, client: int, tag: str, rooms: Mapping[str, int]) -> None:
        """Start with nothing shown; states are written to `journal` as those of device `client`."""
        self._journal, self._client, self._tag, self._rooms = journal, client, tag, rooms
        self.edits: dict[str, int] = {}
        self._beyond: dict[str, set[int]] = {}
        self.versions: dict[tuple[int, int], int] = {}

    def hear(self, now_ns: int, event: Heard, conn: int) -> None:
        """Record a pushed event: MARKED, EDITED, PRESENCE, or the read marks in WELCOME. Other events are skipped."""
        what, label, text, seq, _, _, extra = event
        if what == MARKED and label is not None:
            self._mark(label, seq, now_ns, NONE, conn)
        elif what == EDITED and label is not None:
            number, version = extra
            self._know(label, number)
            self._edit(label, Edit(number, seq, version, text or ""), now_ns, NONE, conn)
        elif what == PRESENCE:
            self._presence(label, extra, now_ns, conn)
        elif what == WELCOME:
            for room, mark in ((extra or {}).get("read") or {}).items():
                self._mark(room, mark, now_ns, NONE, conn)

    def answered_marks(self, marks: Mapping[str, int], asked_ns: int, now_ns: int) -> None:
        """Record read marks (room label -> sequence number) of an answer.

        `asked_ns`, `now_ns`: monotonic ns of the request and of its answer.
        """
        for label, seq in marks.items():
            self._mark(label, seq, now_ns, asked_ns, 0)

    def answered_edits(self, label: str, edits: Iterable[Edit], asked_ns: int, now_ns: int) -> None:
        """Record the edits of a room, in order, of an answer; of each message only the last edit is recorded.

        `asked_ns`, `now_ns`: monotonic ns of the request and of its answer.
        """
        edits = list(edits)
        for edit in edits:
            self._know(label, edit.number)
        for edit in {edit.seq: edit for edit in edits}.values():
            self._edit(label, edit, now_ns, asked_ns, 0)

    def _mark(self, label: str, seq: int, now_ns: int, asked_ns: int, conn: int) -> None:
        conv = self._rooms.get(label)
        if conv is not None:
            what = {"of": self._client, "conv": conv, "value": seq, "digest": digest_of(seq)}
            self._seen(State.READ_MARK, now_ns, asked_ns, conn, **what)

    def _edit(self, label: str, edit: Edit, now_ns: int, asked_ns: int, conn: int) -> None:
        conv, body = self._rooms.get(label), decode_fields(edit.text)
        if conv is None or body is None:
            return
        tag, author, _, counter, _, _, digest, sound = body
        if tag == self._tag and sound:
            message = (author, counter)
            self.versions[message] = max(edit.version, self.versions.get(message, 1))
            what = {"of": author, "what": counter, "conv": conv, "value": edit.version, "digest": digest}
            self._seen(State.EDIT, now_ns, asked_ns, conn, **what)

    def _know(self, label: str, number: int) -> None:
        last, beyond = self.edits.get(label, 0), self._beyond.setdefault(label, set())
        if number > last:
            beyond.add(number)
        while last + 1 in beyond:
            last += 1
            beyond.remove(last)
        self.edits[label] = last

    def _seen(self, state: State, now_ns: int, asked_ns: int, conn: int, **what: int) -> None:
        place = Place.SOCKET if conn else Place.BACKEND
        times = {"asked_ns": asked_ns, "seen_ns": now_ns}
        write_seen(self._journal, self._client, place, state, conn=conn, **times, **what)

    def _presence(self, label: str | None, users: Mapping[str, bool], now_ns: int, conn: int) -> None:
        conv = self._rooms.get(label or "")
        if conv is not None:
            for user, online in users.items():
                about = {"conv": conv, "about": self._journal.intern(user)}
                write_presence(self._journal, self._client, conn, told_ns=now_ns, online=online, **about)
