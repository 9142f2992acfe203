"""Records as named columns: the readable history, the schema of `earwitness export`. See docs/history-schema.md.

A field of a record becomes a column, named for its meaning in records of that kind. Fields without a value are left
out. Export and import use the same tables, so an imported export has the same records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

import numpy as np

from earwitness.checks.history.record import FOREIGN, Flag, Kind
from earwitness.checks.history.schema import ABSENT, COLUMN_OF, GENERIC, TYPE_OF
from earwitness.harness.errors import RecordError
from earwitness.harness.record.reading import STRANGER

SCHEMA: Final = 1

MESSAGE_KINDS: Final = frozenset((Kind.INVOKE, Kind.OK, Kind.FAIL, Kind.INFO, Kind.DELIVER, Kind.REPLAY, Kind.STORED))
TEXTS: Final = tuple(column for column, type in TYPE_OF.items() if type is str)
ENUMS: Final[dict[str, dict[int, str]]] = {
    column: {int(one): one.name.lower() for one in type}
    for column, type in TYPE_OF.items()
    if issubclass(type, IntEnum)
}
KIND_NAMES: Final = {int(kind): kind.name.lower() for kind in Kind}
KINDS: Final = {name: Kind(number) for number, name in KIND_NAMES.items()}
FLAG_NAMES: Final = {1 << bit: f"bit{bit}" for bit in range(8)} | {int(f): (f.name or "").lower() for f in Flag}
FLAG_BITS: Final = {name: bit for bit, name in FLAG_NAMES.items()}

STRINGS: Final = ("journal", "kind", "sender_id", *ENUMS, *TEXTS)
COLUMNS: Final = (
    *("journal", "index", "time_ns", "kind", "flags", "client", "user"),
    *(column for slot, column in GENERIC.items() if slot not in ("client", "aux")),
    *("sender_id", *TYPE_OF, "aux"),
)
"""Every column, in the order of an export.

`aux` is last, so that its value replaces that of `sender` on import: both are the same field of a record.
"""
NUMBERS: Final = frozenset(COLUMNS) - {"flags", *STRINGS}
_FLAG_LISTS: Final = [[name for bit, name in FLAG_NAMES.items() if value & bit] for value in range(256)]


class Columns:
    """Batch of records as columns: for each name the values, and which rows have a value.

    count  number of records
    """

    def __init__(
        self, records: np.ndarray, journal: str, names: Mapping[int, str], clients: Mapping[str, int], users: np.ndarray
    ) -> None:
        """Fill the columns from records of the journal `journal`. Interned ids in the records are those of the journal.

        `names`: the texts of the journal by interned id; `clients`: platform user id → client of the whole run;
        `users`: user number of each client. Raises RecordError for a record of an unknown kind.
        """
        self.count = len(records)
        self._values: dict[str, np.ndarray] = {}
        self._there: dict[str, np.ndarray] = {}
        self._names, self._clients = names, clients
        everywhere = np.arange(self.count)
        self._put("index", everywhere, records["index"].astype(np.int64))
        self._put("time_ns", everywhere, records["t"])
        self._put("journal", everywhere, np.full(self.count, journal, dtype=object))
        for kind in np.unique(records["kind"]).tolist():
            if kind not in KIND_NAMES:
                raise RecordError(f"Journal {journal} has a record of kind {kind}, which this version does not know.")
            where = np.flatnonzero(records["kind"] == kind)
            self._put("kind", where, np.full(len(where), KIND_NAMES[kind], dtype=object))
            self._take_kind(Kind(kind), where, records[where])
        flagged = np.flatnonzero(records["flags"])
        self._put("flags", flagged, _objects([_FLAG_LISTS[f] for f in records["flags"][flagged].tolist()]))
        planned = np.flatnonzero(records["client"] < len(users))
        self._put("user", planned, users[records["client"][planned]])

    def present(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Return (name, values, mask) of each column that has a value, in the schema's order.

        `mask`: a boolean array, True for each row that has a value.
        """
        return [(name, self._values[name], self._there[name]) for name in COLUMNS if name in self._values]

    def rows(self) -> list[dict[str, object]]:
        """Return one dictionary for each record, without absent values."""
        columns = [(name, values.tolist(), there.tolist()) for name, values, there in self.present()]
        return [{name: values[i] for name, values, there in columns if there[i]} for i in range(self.count)]

    def _put(self, name: str, where: np.ndarray, values: np.ndarray) -> None:
        if len(where):
            if name not in self._values:
                dtype = np.int64 if name in NUMBERS else object
                self._values[name] = np.zeros(self.count, dtype=dtype)
                self._there[name] = np.zeros(self.count, dtype=bool)
            self._values[name][where] = values
            self._there[name][where] = True

    def _take_kind(self, kind: Kind, where: np.ndarray, records: np.ndarray) -> None:
        for slot, absent in ABSENT.items():
            values = records[slot].astype(np.int64)
            there = values != absent
            if slot == "attempt" and kind in MESSAGE_KINDS:
                there[:] = True  # here absent means 1
            self._take_slot(COLUMN_OF[kind][slot], GENERIC[slot], where[there], values[there])

    def _take_slot(self, name: str, generic: str, where: np.ndarray, values: np.ndarray) -> None:
        if name == "sender":
            self._take_senders(where, values)
            return
        said: Mapping[int, str] | None = self._names if name in TEXTS else ENUMS.get(name)
        if said is None:
            self._put(name, where, values)
            return
        texts = [said.get(v) for v in values.tolist()]
        known = np.array([t is not None for t in texts], dtype=bool)
        self._put(name, where[known], _objects([t for t in texts if t is not None]))
        self._put(generic, where[~known], values[~known])

    def _take_senders(self, where: np.ndarray, values: np.ndarray) -> None:
        foreign = values >= FOREIGN
        self._put("sender", where[~foreign], values[~foreign])
        texts = [self._names.get(v) for v in values[foreign].tolist()]
        clients = [STRANGER if t is None else self._clients.get(t, STRANGER) for t in texts]
        self._put("sender", where[foreign], np.array(clients, dtype=np.int64))
        known = np.array([t is not None for t in texts], dtype=bool)
        self._put("sender_id", where[foreign][known], _objects([t for t in texts if t is not None]))
        self._put("aux", where[foreign][~known], values[foreign][~known])


def _objects(values: Sequence[object]) -> np.ndarray:
    # Lists inside: numpy would make a matrix of them if it were asked for an array.
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
