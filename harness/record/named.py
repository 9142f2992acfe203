"""Writer of records whose fields are given by name; other fields are absent (`checks.history.schema.ABSENT`).

Messages that are sent and received are written with positional arguments, by `Journal.write`: a call with names costs
more than the record itself. All other records are written here.
"""

from __future__ import annotations

from typing import Protocol

from earwitness.checks.history.record import NOBODY, NONE


class Writes(Protocol):
    """Protocol of a journal to which records are written: `harness.record.journal.Journal`."""

    def write(
        self, t: int, kind: int, flags: int, attempt: int, proc: int, client: int, conn: int, conv: int, author: int,
        counter: int, seq: int, aux: int, size: int, digest: int, /,
    ) -> int:  # fmt: skip
        """Append one record; return its number in the journal, from 1."""
        ...


def write_record(
    journal: Writes, t: int, kind: int, *, flags: int = 0, attempt: int = 0, proc: int = 0, client: int = NOBODY,
    conn: int = 0, conv: int = NOBODY, author: int = NOBODY, counter: int = 0, seq: int = NONE, aux: int = NONE,
    size: int = 0, digest: int = 0,
) -> int:  # fmt: skip
    """Append a record of a kind at `t` (monotonic ns); return its number in the journal, from 1.

    `checks.history.schema` states the meaning of each field in records of this kind.
    """
    return journal.write(
        t, kind, flags, attempt, proc, client, conn, conv, author, counter, seq, aux, size, digest
    )  # fmt: skip
