"""Store for rare record kinds.

Such records occur a few hundred times in a run, so checks evaluate all of them together instead of chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from earwitness.checks.engine.tables import REC_BITS, Array
from earwitness.checks.history.record import RECORD, Kind

T = TypeVar("T")
RARE = (
    Kind.CONNECT,
    Kind.DISCONNECT,
    Kind.LEAVE,
    Kind.KICK,
    Kind.IDENTITY,
    Kind.FAULT,
    Kind.PHASE,
    Kind.LOGIN,
    Kind.REQUEST,
    Kind.REVOKE,
    Kind.TOKEN,
    Kind.WRITE,
    Kind.SEEN,
    Kind.PRESENCE,
    Kind.CALL,
)
"""Kinds whose records are stored whole until the end."""
_IS_RARE = np.zeros(256, bool)
_IS_RARE[list(map(int, RARE))] = True


class Kept:
    """Store of all records of RARE kinds so far.

    They are returned ordered by journal and index, so that the order of reading cannot affect a verdict.
    """

    def __init__(self) -> None:
        """Start without records; `keep` adds those of each chunk."""
        self._records: list[Array] = [np.zeros(0, RECORD)]
        self._recs: list[Array] = [np.zeros(0, np.int64)]
        self._made: dict[str, Any] = {}
        self._kinds: set[int] = set()

    def keep(self, journal: int, records: Array) -> Array:
        """Store the rare records of a chunk, and return them, so that checks need not search all records again."""
        chosen: Array = records[_IS_RARE[records["kind"]]]
        if len(chosen):
            self._kinds.update(np.unique(chosen["kind"]).tolist())
            self._records.append(chosen)
            self._recs.append((np.int64(journal) << REC_BITS) | chosen["index"].astype(np.int64))
            self._made.clear()
        return chosen

    def has(self, kind: Kind) -> bool:
        """Return whether a record of this kind was read."""
        return int(kind) in self._kinds

    def of(self, *kinds: Kind) -> tuple[Array, Array]:
        """Return the kept records of these kinds, and an array of their references in the same order."""
        records, recs = self.once("whole", self._whole)
        chosen = np.isin(records["kind"], list(map(int, kinds)))
        return records[chosen], recs[chosen]

    def once(self, what: str, make: Callable[[], T]) -> T:
        """Return the result of `make`, cached under the name `what` until more records are stored.

        Checks that pass the same name share the result.
        """
        if what not in self._made:
            self._made[what] = make()
        return cast(T, self._made[what])

    def _whole(self) -> tuple[Array, Array]:
        records, recs = np.concatenate(self._records), np.concatenate(self._recs)
        self._records, self._recs = [records], [recs]
        order = np.argsort(recs, kind="stable")
        return records[order], recs[order]
