"""Users' own checks: the decorator `check`, and the history that a decorated function reads.

    from earwitness import History, check

    @check("short-messages", promise="Nobody receives a message of more than 2,000 bytes.")
    def short_messages(history: History):
        received = history.of("deliver")
        for record in received[received["size"] > 2000]:
            yield f"{history.device(record['client'])} received {record['size']} bytes", record
        return len(received)

`checks.own_fold` makes a check of the decorated function that the judge can run. This module imports no compiled loops,
because load processes import it with a story.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from os.path import abspath
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from earwitness.checks.contract import Contract
from earwitness.checks.findings.names import device, message, person, room
from earwitness.checks.history.record import FOREIGN, NOBODY, RECORD, Kind
from earwitness.checks.history.schema import COLUMN_OF
from earwitness.checks.roster import Roster

Array: TypeAlias = npt.NDArray[Any]
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LIKE_AN_ID = re.compile(r"[a-z][0-9]+[a-z]?")
NAME_MAX = 40
SHOWN_MAX = 6
"""Largest number of records that are shown of one finding."""
EXAMPLE = '@check("a-name", promise="what must hold")'
"""Example of the decorator, for error messages."""
_HEAD = {"time_ns": "t", "index": "index", "kind": "kind", "flags": "flags"}
"""Name of a column -> field of RECORD, for the columns that records of all kinds have."""
_COMPUTED = ("journal", "user")
_NOBODY_IS_ABSENT = frozenset(("client", "conv", "author"))


@cache
def _slots(kinds: frozenset[Kind]) -> dict[str, str]:
    """Return name of a column -> field of RECORD, for records of these kinds.

    Only columns that mean the same field in all these kinds are included.
    """
    tables = [{column: slot for slot, column in COLUMN_OF[kind].items()} for kind in sorted(kinds)]
    first, *others = tables
    shared = {column: slot for column, slot in first.items() if all(one.get(column) == slot for one in others)}
    return {**_HEAD, **shared}


class Record:
    """One record of a history: `record["client"]` is the number in that column.

    An absent number is -1 in the columns of client, user, conversation, author, and those of the fields `seq` and `aux`
    of RECORD; it is 0 in the others.
    """

    __slots__ = ("_at", "_rows")

    def __init__(self, rows: Records, at: int) -> None:
        """Refer to the record with the index `at` (from 0) in `rows`; nothing is copied."""
        self._rows, self._at = rows, at

    def __getitem__(self, column: str) -> int:
        """Return the number in a column. Raises KeyError if records of this kind have no such column."""
        return int(self._rows[column][self._at])

    @property
    def place(self) -> tuple[int, int]:
        """Return (journal number, index from 1), which names the record in the run."""
        return self["journal"], self["index"]

    def __repr__(self) -> str:
        """Return kind and place, as in `<deliver 0:12>`."""
        return f"<{Kind(self['kind']).name.lower()} {self.place[0]}:{self.place[1]}>"


class Records:
    """Records in the order of their times, read-only.

    `records["client"]` is a column as a numpy array, `records[mask]` are the records that a boolean array chooses,
    `records[0]` is one `Record`. docs/history-schema.md lists the columns of each kind. Records of several kinds have
    only the columns that mean the same in all these kinds.
    """

    def __init__(self, rows: Array, journals: Array, kinds: frozenset[Kind], users: Array) -> None:
        """Refer to `rows`, an array of RECORD; nothing is copied.

        `journals`: journal number of each row; `kinds`: the kinds that decide which columns exist; `users`: user number
        of each client.
        """
        self._rows, self._journals, self._kinds, self._users = rows, journals, kinds, users
        self._made: dict[str, Array] = {}

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Record]:
        """Yield each record, in the order of their times."""
        return (Record(self, at) for at in range(len(self)))

    @overload
    def __getitem__(self, key: str) -> Array: ...
    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Record: ...
    @overload
    def __getitem__(self, key: slice | Array | Sequence[int]) -> Records: ...
    def __getitem__(self, key: Any) -> Any:
        """Return a column for its name, one record for an integer, else the chosen records.

        Raises KeyError for a column that these records do not have, IndexError for an integer out of range.
        """
        if isinstance(key, str):
            if key not in self._made:
                self._made[key] = self._column(key)
            return self._made[key]
        if isinstance(key, int | np.integer):
            return Record(self, range(len(self))[int(key)])
        chosen = key if isinstance(key, slice) else np.asarray(key)
        return Records(self._rows[chosen], self._journals[chosen], self._kinds, self._users)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns that these records have."""
        return (*_slots(self._kinds), *_COMPUTED)

    def of(self, *kinds: str | Kind) -> Records:
        """Return the records of these kinds, such as "deliver", with the columns of these kinds.

        Raises TypeError without a kind, ValueError for a kind that does not exist.
        """
        if not kinds:
            raise TypeError('of() needs a kind of record, like of("deliver")')
        wanted = frozenset(_kind(one) for one in kinds)
        chosen = np.isin(self._rows["kind"], [int(kind) for kind in wanted])
        return Records(self._rows[chosen], self._journals[chosen], wanted, self._users)

    def _column(self, name: str) -> Array:
        if name == "journal":
            values = self._journals.astype(np.int64)
        elif name == "user":
            client = self["client"]
            known = (client >= 0) & (client < len(self._users))
            values = np.full(len(client), -1, np.int64)
            values[known] = self._users[client[known]]
        else:
            slot = _slots(self._kinds).get(name)
            if slot is None:
                raise KeyError(f"these records have no column {name!r}; they have {', '.join(self.columns)}")
            values = self._rows[slot].astype(np.int64)
            if slot in _NOBODY_IS_ABSENT:
                values[values == NOBODY] = -1
        values.flags.writeable = False
        return values

    def __repr__(self) -> str:
        """Return how many records of which kinds these are."""
        kinds = ", ".join(kind.name.lower() for kind in sorted(self._kinds)) if len(self._kinds) < len(Kind) else "all"
        return f"<{len(self):,} records of {kinds} kinds>"


def _kind(word: str | Kind) -> Kind:
    if isinstance(word, Kind):
        return word
    found = {kind.name.lower(): kind for kind in Kind}.get(str(word).lower())
    if found is None:
        raise ValueError(f"there is no kind of record {word!r}; there are {', '.join(k.name.lower() for k in Kind)}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything that was recorded of a run, read-only, for an own check.

    records         all records of all journals, in the order of their times
    roster          users, devices and members as the run planned them
    contract        promises of the platform
    journals        names of the journals, by the number in the column `journal`
    complete        False: a journal, or a part of one, is missing or damaged
    clock_bound_ns  ns by which times of different journals may differ: 0 on one host, None if it is not known
    """

    records: Records
    roster: Roster
    contract: Contract
    journals: tuple[str, ...] = ()
    complete: bool = True
    clock_bound_ns: int | None = 0

    def of(self, *kinds: str | Kind) -> Records:
        """Return the records of these kinds in the order of their times, such as `of("deliver", "replay")`."""
        return self.records.of(*kinds)

    def user(self, client: int) -> str:
        """Return the name of the user of a device (column `client`, `author` or `sender`)."""
        return person(self.roster, int(client))

    def device(self, client: int) -> str:
        """Return the name of a device: its user's, with the number of the device if the user has several."""
        return device(self.roster, int(client))

    def room(self, conversation: int) -> str:
        """Return the name of a room (column `conversation`)."""
        return room(self.roster, int(conversation))

    def message(self, author: int, counter: int) -> str:
        """Return the name of a message, such as "#16 of ann" (columns `author` and `counter`)."""
        return message(self.roster, int(author) if author < FOREIGN else -1, int(counter))

    def members(self, conversation: int) -> tuple[int, ...]:
        """Return the numbers of the users who are members of a room (column `user`); () for -1, which means none."""
        return tuple(self.roster.conversations[int(conversation)]) if conversation >= 0 else ()


def history_of(chunks: Iterable[tuple[int, Array]], roster: Roster, contract: Contract, **known: Any) -> History:
    """Return the history of chunks (journal number, RECORD array). `known`: further fields of `History`."""
    kept = list(chunks)
    rows = np.concatenate([np.zeros(0, RECORD), *(rows for _, rows in kept)])
    journals = np.repeat(np.array([n for n, _ in kept], np.int32), [len(rows) for _, rows in kept])
    order = np.lexsort((rows["index"], journals, rows["t"]))
    whole = Records(rows[order], journals[order], frozenset(Kind), np.asarray(roster.user_of, np.int64).reshape(-1))
    return History(records=whole, roster=roster, contract=contract, **known)


Found: TypeAlias = "str | tuple[str, *tuple[Record | Records, ...]]"
"""A finding of an own check: a sentence, or a tuple of a sentence and the records that show it."""
Result: TypeAlias = "tuple[int, Iterable[Found]]"
Function: TypeAlias = "Callable[[History], Generator[Found, None, int] | Result]"


Asked: TypeAlias = "tuple[str, Sequence[str] | None]"
"""A file with own checks, and the names of those that are wanted of it (None: all)."""


@dataclass(frozen=True, slots=True)
class OwnCheck:
    """A user's own check, made by `check`.

    name       words with hyphens
    promise    what must hold, as one sentence
    needs_all  False: each finding is proven by the records that it names, even if other records are missing
    file       absolute path of the Python file that defines it
    """

    name: str
    promise: str
    function: Function = field(repr=False)
    file: str
    needs_all: bool = True

    def examine(self, history: History, take: Callable[[Found], None]) -> int:
        """Call the user's function, pass each finding to `take`, and return the count of examined opportunities.

        Raises whatever the function raises, and TypeError if its result has another form than `Function` states.
        """
        returned: Any = self.function(history)
        if isinstance(returned, Generator):
            examined = _exhaust(returned, take)
        elif isinstance(returned, tuple) and len(returned) == 2 and not isinstance(returned[0], str):
            examined, found = returned
            for one in found:
                take(one)
        else:
            raise TypeError(f"it returned {_brief(returned)}; return (number examined, findings), or yield findings")
        if isinstance(examined, bool) or not isinstance(examined, int | np.integer) or examined < 0:
            raise TypeError(f"it returned {_brief(examined)} as the number of examined opportunities; return a count")
        return int(examined)


def _exhaust(findings: Generator[Found, None, Any], take: Callable[[Found], None]) -> Any:
    """Call `take` with each value that the generator yields, and return the generator's result."""
    while True:
        try:
            one = next(findings)
        except StopIteration as end:
            return end.value
        take(one)


def places_of(found: Found) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return (sentence, places) of a finding: (journal, index) of its first `SHOWN_MAX` different records.

    Raises TypeError if `found` is not a finding.
    """
    sentence, *shown = found if isinstance(found, tuple) and found else (found,)
    if not isinstance(sentence, str) or not sentence.strip():
        raise TypeError(f"a finding is {_brief(found)}; give a sentence and its records: yield sentence, record")
    places: list[tuple[int, int]] = []
    for one in shown:
        if not isinstance(one, Record | Records):
            raise TypeError(f"a finding shows {_brief(one)}, which is no record of the history")
        places += [one.place] if isinstance(one, Record) else [each.place for each in one[:SHOWN_MAX]]
    return sentence.strip(), tuple(dict.fromkeys(places))[:SHOWN_MAX]


def _brief(value: object) -> str:
    words = repr(value).partition("\n")[0]
    return words if len(words) <= 60 else f"{words[:60]} …"


def check(name: str, *, promise: str, needs_all: bool = True) -> Callable[[Function], OwnCheck]:
    """Make a check of a function that reads a `History` (decorator).

    The function yields a sentence and the records that show it for each violation, and returns how many opportunities
    for a violation it examined; or it returns both, as (number, findings). Nothing examined is UNKNOWN, never PASS.

    name       lower-case words with hyphens; reports, `--only` and `judged_by` use it
    promise    what must hold, as one sentence for reports
    needs_all  False: each finding is proven by the records that it names, so it holds although other records were lost.
               Otherwise the check is UNKNOWN if a part of the history is missing

    Raises ValueError for a name or a promise that cannot be used, or if the decorated object is no function.
    """
    if not isinstance(name, str):
        raise ValueError(f"a check needs a name: put {EXAMPLE} above the function")
    if not _NAME.fullmatch(name) or _LIKE_AN_ID.fullmatch(name) or len(name) > NAME_MAX:
        raise ValueError(f"{name!r} is no name of a check; use lower-case words with hyphens, like short-messages")
    if not isinstance(promise, str) or not promise.strip():
        raise ValueError(f"the check {name!r} needs a promise: one sentence that says what must hold")

    def made(function: Function) -> OwnCheck:
        code = getattr(function, "__code__", None)
        if code is None:
            raise ValueError(f"@check({name!r}) stands above {function!r}, which is no function")
        # The path may be relative, and the directory that it starts from may be another one later.
        return OwnCheck(name, " ".join(promise.split()), function, abspath(code.co_filename), needs_all)

    return made
