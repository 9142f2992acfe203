"""Conversion of plain rows to records: the reverse of `harness.record.columns`, with derived values.

A row is one JSON object (or one Parquet row without its nulls). Values that a simple recorder leaves out are derived
from earlier rows: the connection, the message's author and counter, ids for names. `RowError` states what is wrong with
a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

from earwitness.checks.history.record import CONN_MAX, NOBODY, NONE, RECORD, Flag, Kind, State
from earwitness.checks.history.schema import ABSENT, COLUMN_OF, GENERIC
from earwitness.checks.history.schema import KINDS as SCHEMA_OF
from earwitness.harness.record.columns import ENUMS, FLAG_BITS, KINDS, MESSAGE_KINDS, TEXTS
from earwitness.harness.record.journal import Journal

SLOTS: Final = ("client", "conn", "conv", "author", "counter", "seq", "aux", "size", "digest")
_ANY_KIND: Final = frozenset(("journal", "index", "time_ns", "kind", "flags", "user"))
_STATEFUL: Final = frozenset((Kind.WRITE, Kind.SEEN))
_PUSHED: Final = frozenset((Kind.PRESENCE, Kind.SEEN))
"""Kinds that are pushed on a connection. If a row states no connection, the client's current one is used, if any."""
_CONNECTED: Final = MESSAGE_KINDS - {Kind.STORED} | {Kind.CONNECT, Kind.DISCONNECT, Kind.JOIN, Kind.LEAVE, Kind.RUN}
_CLIENTLESS: Final = frozenset(
    (Kind.FAULT, Kind.PHASE, Kind.PROBE, Kind.READ_END, Kind.STORED, Kind.SEEN, Kind.CALL, Kind.IDENTITY, Kind.LOGIN)
)
"""Kinds whose records may lack a client: those of databases, of links between services, and of the run itself."""
_BIG_COUNTER: Final = 1 << 20
"""Counters from this number on are times or database ids; each becomes the author's next free number above it."""
_HEARD: Final = frozenset((Kind.DELIVER, Kind.REPLAY, Kind.STORED))
_RANGES: Final = {
    name: (0, 2 ** (8 * size) - 1) if RECORD[name].kind == "u" else (-(2**63), 2**63 - 1)
    for name, size in ((name, RECORD[name].itemsize) for name in (*SLOTS, "attempt", "proc"))
}
_ENUM_NUMBERS: Final = {column: {name: n for n, name in names.items()} for column, names in ENUMS.items()}

_SLOT_OF: Final = {
    kind: {column: slot for named in (GENERIC, COLUMN_OF[kind]) for slot, column in named.items()} for kind in Kind
}
"""By kind: name of a column → field of the record."""


def _plain_columns(kind: Kind) -> frozenset[str]:
    """Return the columns that have a meaning in a row of this kind, as `checks.history.schema` states."""
    slots = {name for slot in SCHEMA_OF[kind].slots for name in slot.names.split()} | {"client", "conn"}
    columns = {column for column, slot in _SLOT_OF[kind].items() if slot in slots}
    columns |= {"message"} if kind in MESSAGE_KINDS | _STATEFUL else set()
    columns |= {"text"} if kind in _WITH_TEXT | _STATEFUL | {Kind.RUN} else set()
    return frozenset(columns | ({"sender_id"} if "sender" in columns else set()))


_WITH_TEXT: Final = frozenset((Kind.INVOKE, Kind.DELIVER, Kind.REPLAY, Kind.STORED))
_PLAIN: Final = {kind: _plain_columns(kind) for kind in Kind}
_EXPORTED: Final = {kind: frozenset((*_SLOT_OF[kind], "sender_id")) for kind in Kind}


class RowError(ValueError):
    """Error for a row that cannot be converted. Its text states what is wrong, and what was expected."""


@dataclass(slots=True)
class Sent:
    """Message as its invoke row described it. `attempts`: number of its invoke rows so far."""

    author: int
    counter: int
    conv: int
    proc: int
    size: int
    digest: int
    attempts: int = 1


@dataclass(slots=True)
class Names:
    """Numbers of names; or the numbers themselves, if the rows give numbers. A history may not mix the two.

    what      what the names stand for ("client"), for errors
    known     name -> number, from 0 in the order of first appearance
    numbered  True: the rows give numbers
    """

    what: str
    known: dict[str, int] = field(default_factory=dict)
    numbered: bool = False

    def number(self, value: object) -> int:
        """Return the number of a name (a new one if unknown), or the number itself.

        Raises RowError if the history mixes names and numbers, or the value is neither.
        """
        if isinstance(value, str):
            if self.numbered:
                raise RowError(f"{self.what} {value!r} is a name, but earlier rows give numbers: use one of the two")
            return self.known.setdefault(value, len(self.known))
        if isinstance(value, bool) or not isinstance(value, int):
            raise RowError(f"{self.what} is {value!r}: expected a number or a name")
        if self.known and not self.numbered:
            raise RowError(f"{self.what} {value} is a number, but earlier rows give names: use one of the two")
        self.numbered = True
        return value


class Rows:
    """Converter of rows to records, which remembers what later rows may refer to.

    clients, conversations, users  numbers of the names in the rows
    user_of                        client -> number of the user that its rows name, None if they name none
    members                        conversation -> clients that joined it
    """

    def __init__(self, *, exact: bool = False) -> None:
        """Start without rows.

        `exact`: the rows are an export. Values that they leave out were absent in the record, so none is derived.
        """
        self.exact = exact
        self.clients, self.conversations, self.users = Names("client"), Names("conversation"), Names("user")
        self.user_of: dict[int, int | None] = {}
        self.members: dict[int, set[int]] = {}
        self.spoken: set[int] = set()
        """Numbers of the conversations to which messages were sent."""
        self._connection: dict[int, int] = {}
        self._counters: dict[int, int] = {}
        self._by_name: dict[str, Sent] = {}
        self._by_number: dict[tuple[int, int], Sent] = {}
        self._big_counters: dict[tuple[int, int], int] = {}
        self._big_used: dict[int, int] = {}

    def write(self, row: Mapping[str, object], journal: Journal) -> None:
        """Append the record that `row` describes to `journal`. Raises RowError if the row cannot be converted."""
        kind = _kind(row)
        _known_columns(row, kind, self.exact)
        slots = {**ABSENT, "flags": _flags(row), **self._named_slots(row, kind, journal)}
        if slots["conn"] >= CONN_MAX:
            column = "base" if "base" in row else "connection"
            raise RowError(f"{column!r} is {slots['conn']}: expected less than {CONN_MAX}, they count from 1")
        if not self.exact:
            self._derive(slots, row, kind, journal)
        journal.write(
            _within("time_ns", _integer(row, "time_ns"), -(2**63), 2**63 - 1),
            kind,
            slots["flags"],
            slots["attempt"],
            slots["proc"],
            *(slots[name] for name in SLOTS),
        )

    def _derive(self, slots: dict[str, int], row: Mapping[str, object], kind: Kind, journal: Journal) -> None:
        client = slots["client"]
        if client == NOBODY and kind not in _CLIENTLESS:
            raise RowError(f"'client' is missing: expected who recorded this {kind.name.lower()}")
        if client != NOBODY:
            self.user_of.setdefault(client, self.users.number(row["user"]) if "user" in row else None)
        self._fill_connection(slots, kind, journal)
        if kind is Kind.WRITE and "base" not in row:
            slots["conn"] = 0  # a change is of no connection
        edit = kind in _STATEFUL and slots["proc"] == State.EDIT
        if kind in MESSAGE_KINDS or (edit and "message" not in row):  # beside a message stands its version
            self._fold_counter(slots, kind)
        if kind in MESSAGE_KINDS:
            self._fill_message(slots, row, kind)
        elif edit:
            self._fill_edit(slots, row, kind)
        elif kind is Kind.RUN:
            _fill_run(slots, row)
        elif kind in _STATEFUL:
            self._fill_state(slots, row)
        elif kind is Kind.READ and "after" not in row:
            slots["author"] = 0  # from the beginning
        elif kind in (Kind.JOIN, Kind.LEAVE) and slots["conv"] == NOBODY:
            raise RowError(f"'conversation' is missing: expected which one the {kind.name.lower()} is about")
        if kind is Kind.JOIN:
            self.members.setdefault(slots["conv"], set()).add(client)

    def _named_slots(self, row: Mapping[str, object], kind: Kind, journal: Journal) -> dict[str, int]:
        columns, found = _SLOT_OF[kind], dict[str, int]()
        for column, value in row.items():
            slot = columns.get(column)
            if slot is None:
                continue
            if slot in found and not self.exact:
                both = [name for name in row if columns.get(name) == slot]
                raise RowError(f"the columns {' and '.join(map(repr, both))} mean the same here: give one of them")
            found[slot] = self._value(column, value, slot, journal)
        if "sender_id" in row:
            found["aux"] = journal.intern(_text(row, "sender_id"))
        return found

    def _value(self, column: str, value: object, slot: str, journal: Journal) -> int:
        if column in ("client", "author"):
            number = self.clients.number(value)
        elif column == "conversation":
            number = self.conversations.number(value)
        elif column in TEXTS or (column == "sender" and isinstance(value, str)):
            number = journal.intern(_text({column: value}, column))
        elif column in _ENUM_NUMBERS:
            choices = _ENUM_NUMBERS[column]
            if not isinstance(value, str) or value not in choices:
                raise RowError(f"{column!r} is {value!r}: choose one of {', '.join(choices)}")
            number = choices[value]
        else:
            number = _integer({column: value}, column)
        return _within(column, number, *_RANGES[slot])

    def _fill_connection(self, slots: dict[str, int], kind: Kind, journal: Journal) -> None:
        client = slots["client"]
        if kind not in _CONNECTED | _PUSHED or client == NOBODY:
            return
        if kind in _PUSHED:
            if kind is Kind.PRESENCE or slots["seq"] == NONE:  # else it was asked for, by HTTP
                slots["conn"] = slots["conn"] or self._connection.get(client, 0)
            return
        if slots["conn"]:
            self._connection[client] = slots["conn"]
        elif kind is Kind.CONNECT:
            slots["conn"] = self._connection[client] = journal.next_connection()
        elif client in self._connection:
            slots["conn"] = self._connection[client]
        else:
            raise RowError(f"a {kind.name.lower()} needs a 'connect' row of its client before it, or a 'connection'")

    def _fill_message(self, slots: dict[str, int], row: Mapping[str, object], kind: Kind) -> None:
        if "text" in row:
            data = _text(row, "text").encode("utf-8", "surrogatepass")
            slots["size"], slots["digest"] = len(data), crc32(data)
        if kind is Kind.INVOKE:
            self._fill_invoke(slots, row)
            return
        sent = self._sent(slots, row, kind)
        slots["attempt"] = slots["attempt"] or (sent.attempts if sent else 1)
        if sent is None:
            return
        slots["author"], slots["counter"] = sent.author, sent.counter
        if slots["conv"] == NOBODY:
            slots["conv"] = sent.conv
        if kind in _HEARD:
            slots["proc"] = slots["proc"] or sent.proc
            if "text" not in row:
                slots["size"], slots["digest"] = slots["size"] or sent.size, slots["digest"] or sent.digest

    def _fill_edit(self, slots: dict[str, int], row: Mapping[str, object], kind: Kind) -> None:
        """Set in `slots` the message and the version of an edit, whose row names the message as its own rows do."""
        if "text" in row:
            slots["digest"] = _digest(row)
        if "message" not in row:
            if "version" in row or slots["author"] == NOBODY or not slots["counter"]:
                raise RowError(
                    f"a {kind.name.lower()} of an edit needs 'message' (as in its invoke row) and 'version', or"
                    " 'author', 'counter' and as 'value' the version"
                )
            return
        sent = self._by_name.get(name := _text(row, "message"))
        if sent is None:
            raise RowError(f"message {name!r} has no 'invoke' row before this {kind.name.lower()}")
        if "value" in row and "version" in row:
            raise RowError("with 'message', 'version' and 'value' are the same: leave one of them out")
        if "version" in row:
            slots["aux"] = slots["counter"]
        elif "counter" in row:
            raise RowError("'counter' and 'message' both name the message: leave one of them out")
        if slots["author"] not in (NOBODY, sent.author):
            raise RowError(f"message {name!r} is of another author than this row states")
        slots["author"], slots["counter"] = sent.author, sent.counter
        if slots["conv"] == NOBODY:
            slots["conv"] = sent.conv

    def _fill_state(self, slots: dict[str, int], row: Mapping[str, object]) -> None:
        """Set in `slots` the digest of the text of shared state that is no edit.

        Raises RowError if the row names a message.
        """
        if "message" in row:
            raise RowError("'message' stands in rows of the state edit only: expected 'author', 'value' or 'text'")
        if "text" in row:
            slots["digest"] = _digest(row)

    def _fold_counter(self, slots: dict[str, int], kind: Kind) -> None:
        """Replace in `slots` a counter that is a time or a database id by a small number, the same for one message."""
        counter = slots["counter"]
        author = slots["client"] if kind is Kind.INVOKE and slots["author"] == NOBODY else slots["author"]
        if counter < _BIG_COUNTER or author == NOBODY:
            return
        key = author, counter
        if key not in self._big_counters:
            used = self._big_used[author] = self._big_used.get(author, 0) + 1
            self._big_counters[key] = _BIG_COUNTER + used
        slots["counter"] = self._big_counters[key]

    def _fill_invoke(self, slots: dict[str, int], row: Mapping[str, object]) -> None:
        if slots["conv"] == NOBODY:
            raise RowError("'conversation' is missing: expected where the message was sent")
        self.spoken.add(slots["conv"])
        if slots["author"] == NOBODY:
            slots["author"] = slots["client"]
        name = _text(row, "message") if "message" in row else None
        sent = self._by_name.get(name) if name is not None else None
        if sent is not None:  # a retry
            sent.attempts += 1
            slots["counter"], slots["proc"] = sent.counter, sent.proc
            if "text" not in row:
                slots["size"], slots["digest"] = slots["size"] or sent.size, slots["digest"] or sent.digest
            slots["attempt"] = slots["attempt"] or sent.attempts
            return
        author = slots["author"]
        counter = slots["counter"] = slots["counter"] or self._counters.get(author, 0) + 1
        self._counters[author] = max(counter, self._counters.get(author, 0))
        slots["proc"], slots["attempt"] = slots["proc"] or slots["conn"] % 256, slots["attempt"] or 1
        sent = Sent(author, counter, slots["conv"], slots["proc"], slots["size"], slots["digest"])
        self._by_number.setdefault((author, counter), sent)
        if name is not None:
            self._by_name[name] = sent

    def _sent(self, slots: dict[str, int], row: Mapping[str, object], kind: Kind) -> Sent | None:
        if "message" in row:
            sent = self._by_name.get(name := _text(row, "message"))
            if sent is None and kind not in _HEARD:
                raise RowError(f"message {name!r} has no 'invoke' row before this one: write rows as they happen")
            if sent is None:  # nobody's, or not sent yet: what I8 is about
                slots["counter"] = slots["counter"] or 1
                slots["flags"] |= Flag.FOREIGN_RUN
            return sent
        if slots["author"] == NOBODY or not slots["counter"]:
            if "flags" in row:  # foreign or corrupt: it may lack an identity
                return None
            raise RowError(f"a {kind.name.lower()} needs 'message' (as in its invoke row), or 'author' and 'counter'")
        return self._by_number.get((slots["author"], slots["counter"]))


def _fill_run(slots: dict[str, int], row: Mapping[str, object]) -> None:
    """Set in `slots` the digest of the agent's run id (`aux`), and size in bytes and digest of a piece's text."""
    if "run" in row and slots["aux"] == NONE:
        slots["aux"] = crc32(_text(row, "run").encode("utf-8", "surrogatepass"))
    if "text" in row:
        slots["size"], slots["digest"] = len(_text(row, "text").encode("utf-8", "surrogatepass")), _digest(row)


def _kind(row: Mapping[str, object]) -> Kind:
    said = row.get("kind")
    if not isinstance(said, str) or said not in KINDS:
        raise RowError(f"'kind' is {said!r}: choose one of {', '.join(KINDS)}")
    return KINDS[said]


def _known_columns(row: Mapping[str, object], kind: Kind, exact: bool) -> None:
    """Raise RowError for a column that has no meaning in a row of this kind; the error lists the possible columns."""
    known = (_EXPORTED if exact else _PLAIN)[kind]
    for column in row:
        if column not in known and column not in _ANY_KIND:
            possible = ", ".join(("time_ns", "flags", "user", *sorted(known)))
            raise RowError(f"{column!r} is no column of a row of kind {kind.name.lower()}, which may have: {possible}")


def _digest(row: Mapping[str, object]) -> int:
    return crc32(_text(row, "text").encode("utf-8", "surrogatepass"))


def _integer(row: Mapping[str, object], column: str) -> int:
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, int):
        said = f"is {value!r}" if column in row else "is missing"
        raise RowError(f"{column!r} {said}: expected a whole number")
    return value


def _within(column: str, number: int, low: int, high: int) -> int:
    if not low <= number <= high:
        raise RowError(f"{column!r} is {number}: expected {low} to {high}")
    return number


def _text(row: Mapping[str, object], column: str) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise RowError(f"{column!r} is {value!r}: expected text")
    return value


def _flags(row: Mapping[str, object]) -> int:
    flags = row.get("flags", [])
    if not isinstance(flags, list) or not all(isinstance(f, str) and f in FLAG_BITS for f in flags):
        known = ", ".join(name for name in FLAG_BITS if not name.startswith("bit"))
        raise RowError(f"'flags' is {flags!r}: expected a list of {known}")
    return sum(FLAG_BITS[f] for f in set(flags))
