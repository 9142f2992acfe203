"""Tables and columns that all checks of one judging share, and their growth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from earwitness.checks.engine.rare import Kept
from earwitness.checks.engine.resolve import resolve
from earwitness.checks.engine.tables import (
    CONN,
    MESSAGE,
    PAGE,
    PAGE_BITS,
    REC_BITS,
    REC_MASK,
    SLOT,
    SLOT_WORDS,
    STRAY,
    SUB,
    SUB_WORDS,
    USED_CONNS,
    USED_DIRECTORY,
    USED_EXTRA,
    USED_HASH,
    USED_PAGES,
    USED_SLOT_PAGES,
    USED_SLOTS,
    USED_STRAYS,
    USED_SUB_PAGES,
    Array,
    Tables,
    rehash,
)
from earwitness.checks.history.record import CONN_MAX, FOREIGN, NOBODY, Kind
from earwitness.checks.roster import Roster

CHUNK = 1 << 14
"""Largest number of records that all checks read before the next ones: few enough to stay in the processor's cache."""


def grown(array: Array, size: int, fill: int = 0) -> Array:
    """Return the array itself if it has `size` rows, else a larger copy.

    The copy has at least `size` rows and at least twice as many as before; new rows hold `fill`.
    """
    if len(array) >= size:
        return array
    shape = (max(size, 2 * len(array)), *array.shape[1:])
    larger = np.zeros(shape, array.dtype) if fill == 0 else np.full(shape, fill, array.dtype)
    larger[: len(array)] = array
    return larger


@dataclass(slots=True)
class View:
    """Chunk of one journal, with the message, subscription, slot and connection of each record (-1: none).

    The columns `mid`, `sub`, `slot`, `conn` and `seen` are valid until the next chunk, which overwrites them.

    rare  records of RARE kinds in the chunk
    seen  bits that show whether the device had received the message before (constants of `checks.engine.resolve`)
    """

    journal: int
    records: Array  # RECORD
    rare: Array  # RECORD: those of kinds in earwitness.checks.engine.rare.RARE
    mid: Array  # i4
    sub: Array  # i4
    slot: Array  # i4
    conn: Array  # i4
    seen: Array  # u1, see earwitness.checks.engine.resolve
    world: World


@dataclass(frozen=True, slots=True)
class Context:
    """Facts about the whole history, for a judge that sees only the records of some conversations.

    conns     rows (journal, number there, client) of all connections, in the order of their first records
    speaking  by journal number: array by client, 1 if the journal has an INVOKE or CONNECT of the client
    latest    array by client: time (ns) at which the client last received a message, -1: never
    """

    conns: Array
    speaking: Mapping[int, Array]
    latest: Array


class World:
    """Tables of one judging, for one roster.

    `resolved` processes a chunk; checks then read `tables` and the columns of the view. `kept` stores the records of
    rare kinds, `members` is the number of subscriptions, and `out` is room for the rows that a compiled loop writes.
    """

    def __init__(self, roster: Roster, context: Context | None = None) -> None:
        """Make the tables. Those of clients and conversations have their final size, the others grow.

        `context`: facts about the whole history, for a world that is given the records of some conversations only;
        None: it is given all records.
        """
        self.roster, self.context = roster, context
        self.delivered_elsewhere = 0
        """Number of messages delivered according to records that other judges read (`harness.report.sharded`)."""
        self.tables = _tables(roster)
        self.members = len(self.tables.sub_client)
        self.kept = Kept()
        self._connections: dict[int, Array] = {}
        self._columns = [np.empty(CHUNK, np.int32) for _ in range(4)]
        self._seen = np.empty(CHUNK, np.uint8)
        self._compacted = 0
        self.out = np.empty((2 * CHUNK, 9), np.int64)
        self.shared: dict[str, object] = {}
        """Objects that several checks share, made by the first check that needs them."""
        for journal in np.unique(context.conns[:, 0]).tolist() if context is not None else ():
            self._connections.setdefault(journal, np.full(64, -1, np.int32))
        if context is not None:
            self._enter(context.conns)

    @property
    def journals(self) -> int:
        """Return the count of journals from which records were read."""
        return len(self._connections)

    def connection(self, journal: int, number: int) -> int:
        """Return the global number of the connection `number` of a journal, -1 if it is unknown."""
        known = self._connections.get(journal)
        return int(known[number]) if known is not None and number < len(known) else -1

    def register(self, journal: int, records: Array) -> None:
        """Give numbers to the connections that occur in `records`, in the order of their first records.

        For a world that resolves only some records of a journal, but must number its connections as if it resolved all
        of them: call it with all records of the journal, chunk by chunk.
        """
        known = self._connections.setdefault(journal, np.full(64, -1, np.int32))
        numbers = records["conn"]
        valid = (numbers > 0) & (numbers < CONN_MAX) & (records["kind"] != Kind.WRITE)
        highest = int(numbers[valid].max(initial=0))
        if highest >= len(known):
            known = self._connections[journal] = grown(known, highest + 1, -1)
        new = np.flatnonzero(valid & (known[np.minimum(numbers, len(known) - 1)] < 0))
        if len(new):
            new = new[np.sort(np.unique(numbers[new], return_index=True)[1])]
            self._enter(np.stack([np.full(len(new), journal), numbers[new], records["client"][new]], axis=1))

    def _enter(self, conns: Array) -> None:
        """Give the next global numbers to new connections: rows (journal, number there, client)."""
        used = int(self.tables.used[USED_CONNS])
        self.tables = self.tables._replace(conns=grown(self.tables.conns, used + len(conns)))
        for journal in np.unique(conns[:, 0]).tolist():
            mine = np.flatnonzero(conns[:, 0] == journal)
            numbers = conns[mine, 1].astype(np.int64)
            known = grown(self._connections[journal], int(numbers.max()) + 1, -1)
            known[numbers] = used + mine
            self._connections[journal] = known
        rows = self.tables.conns[used : used + len(conns)]
        rows["journal"] = conns[:, 0]
        rows["client"] = np.where(conns[:, 2] < len(self.tables.user_of), conns[:, 2], -1)
        self.tables.used[USED_CONNS] = used + len(conns)

    def connections(self, journal: int, records: Array) -> Array:
        """Return the global number of each record's connection, -1: none. `register` must have seen the records."""
        known, numbers = self._connections[journal], records["conn"]
        valid = (numbers > 0) & (numbers < len(known)) & (records["kind"] != Kind.WRITE)
        result: Array = np.where(valid, known[np.where(valid, numbers, 0)], -1).astype(np.int32)
        return result

    def met(self) -> Array:
        """Return (journal, number there, client) of every connection met so far, as an int64 array (n, 3).

        Rows are in the order of the global numbers. `client`: NOBODY if it is not of the roster.
        """
        conns = self.tables.conns[: int(self.tables.used[USED_CONNS])]
        numbers = np.zeros(len(conns), np.int64)
        for known in self._connections.values():
            there = np.flatnonzero(known >= 0)
            numbers[known[there]] = there
        result: Array = np.stack([conns["journal"], numbers, conns["client"]], axis=1).astype(np.int64)
        result[result[:, 2] < 0, 2] = NOBODY
        return result

    @property
    def slots(self) -> int:
        """Return the count of slots in use."""
        return int(self.tables.used[USED_SLOTS])

    @property
    def mids(self) -> int:
        """Return the count of message numbers in use. Pages are allocated whole, so some stand for no message."""
        return int(self.tables.used[USED_PAGES]) * PAGE

    def messages(self) -> Array:
        """Return the MESSAGE row of every message number in use. `conv` is -1 if the number stands for no message."""
        return self.tables.messages[: self.mids]

    def read_completely(self) -> Array:
        """Return for each conversation whether a final read of it was complete."""
        result: Array = self.tables.reads > 0
        return result

    def name_of(self, mid: int) -> tuple[int, int]:
        """Return (author, counter) of a message number."""
        page = mid >> PAGE_BITS
        return int(self.tables.page_author[page]), (int(self.tables.page_number[page]) << PAGE_BITS) | (mid & PAGE - 1)

    def mid_of(self, author: int, counter: int) -> int:
        """Return the message number of (author, counter), -1 if it is unknown."""
        w = self.tables
        number = counter >> PAGE_BITS
        if author >= len(w.user_of) or number >= w.directory_room[author]:
            return -1
        page = int(w.directory[int(w.directory_base[author]) + number])
        mid = page * PAGE + (counter & PAGE - 1)
        return mid if page >= 0 and w.messages[mid]["conv"] >= 0 else -1

    def strays(self) -> Array:
        """Return the STRAY row of every OK or FAIL without attempt or conversation."""
        return self.tables.strays[: int(self.tables.used[USED_STRAYS])]

    def resolved(self, journal: int, records: Array) -> View:
        """Process at most CHUNK records of one journal by the shared pass; return their view."""
        n = len(records)
        rare = self.kept.keep(journal, records)
        self._reserve(n)
        mid, sub, slot, conn = (column[:n] for column in self._columns)
        seen = self._seen[:n]
        connections = self._connections.setdefault(journal, np.full(64, -1, np.int32))
        done = 0
        while True:
            done = resolve(records, done, journal, connections, self.tables, mid, sub, slot, conn, seen)
            if done == n:
                return View(journal, records, rare, mid, sub, slot, conn, seen, self)
            wanted = int(records[done]["conn"]) + 1
            if wanted > len(connections):
                connections = self._connections[journal] = grown(connections, wanted, -1)
            elif self._pages_full():
                self._more_pages()
            else:
                self._list_more(int(records[done]["author"]), int(records[done]["counter"]) >> PAGE_BITS)

    def _reserve(self, n: int) -> None:
        """Grow the tables for a chunk of `n` records.

        A record adds at most three hash keys and one row of each other table.
        """
        w, used = self.tables, self.tables.used
        self.reserve_hash(3 * n)
        w = self.tables
        if used[USED_EXTRA] > 2 * self._compacted + (1 << 16):
            self._compact()
        self.tables = w._replace(
            conns=grown(w.conns, int(used[USED_CONNS]) + n),
            slots=grown(w.slots, int(used[USED_SLOTS]) + n),
            sub_bits=grown(w.sub_bits, int(used[USED_SUB_PAGES]) + n),
            slot_bits=grown(w.slot_bits, int(used[USED_SLOT_PAGES]) + n),
            extra=grown(w.extra, int(used[USED_EXTRA]) + n),
            strays=grown(w.strays, int(used[USED_STRAYS]) + n),
        )

    def reserve_hash(self, n: int) -> None:
        """Make room for `n` more keys, so that the hash table stays at most half full."""
        w = self.tables
        size = len(w.hash_keys)
        if 2 * (int(w.used[USED_HASH]) + n) <= size:
            return
        keys, values = np.full(2 * size, -1, np.int64), np.zeros(2 * size, np.int32)
        rehash(w.hash_keys, w.hash_values, keys, values)
        self.tables = w._replace(hash_keys=keys, hash_values=values)

    def _pages_full(self) -> bool:
        return int(self.tables.used[USED_PAGES]) == len(self.tables.page_author)

    def _more_pages(self) -> None:
        w, pages = self.tables, len(self.tables.page_author)
        self.tables = w._replace(
            page_author=grown(w.page_author, 2 * pages),
            page_number=grown(w.page_number, 2 * pages),
            messages=grown(w.messages, 2 * pages * PAGE),
        )

    def _list_more(self, author: int, number: int) -> None:
        """Move the list of an author's pages to the end of the directory, with room for the page `number`."""
        w, used = self.tables, self.tables.used
        old, room = int(w.directory_room[author]), 4
        while room <= number:
            room *= 2
        base, start = int(used[USED_DIRECTORY]), int(w.directory_base[author])
        directory = grown(w.directory, base + room, -1)
        directory[base : base + old] = directory[start : start + old]
        directory[base + old : base + room] = -1
        used[USED_DIRECTORY] += room
        w.directory_base[author], w.directory_room[author] = base, room
        self.tables = w._replace(directory=directory)

    def _compact(self) -> None:
        """Remove repetitions from `extra`: each receiver of a message may state the same further sequence number."""
        rows = self.extras()
        self.tables.extra[: len(rows)] = rows
        self.tables.used[USED_EXTRA] = self._compacted = len(rows)

    def extras(self) -> Array:
        """Return the further sequence numbers of messages, as an int64 array (n, 4), sorted and without repetitions.

        Columns: message number, a sequence number other than that of its entry, reference of a record that states it,
        and 1 if that record is live, 0 if it is a REPLAY.
        """
        rows: Array = self.tables.extra[: int(self.tables.used[USED_EXTRA])]
        if not len(rows):  # the usual case, and three checks ask at every peek
            return rows
        order = np.lexsort((rows[:, 2], rows[:, 3], rows[:, 1], rows[:, 0]))
        rows = rows[order]
        fresh = np.ones(len(rows), bool)
        fresh[1:] = (rows[1:, [0, 1, 3]] != rows[:-1, [0, 1, 3]]).any(axis=1)
        result: Array = rows[fresh]
        return result


def _tables(roster: Roster) -> Tables:
    user_of = np.asarray(roster.user_of, np.int32).reshape(-1)
    clients, convs = len(user_of), len(roster.conversations)
    by_user = np.argsort(user_of, kind="stable")
    sorted_users = user_of[by_user]
    parts = []
    for conversation in roster.conversations:
        members = np.unique(np.asarray(conversation, np.int64))
        low, high = np.searchsorted(sorted_users, members, "left"), np.searchsorted(sorted_users, members, "right")
        parts.append(np.concatenate([by_user[a:b] for a, b in zip(low, high, strict=True)] or [by_user[:0]]))
    sizes = np.array([len(part) for part in parts], np.int64)
    sub_client = np.concatenate([*parts, by_user[:0]]).astype(np.int32)
    sub_conv = np.repeat(np.arange(convs, dtype=np.int32), sizes)
    joined = np.lexsort((sub_conv, sub_client)).astype(np.int32)
    subs = np.full(len(sub_client), -1, np.dtype((np.int32, 5))).astype(np.int32).view(SUB).reshape(-1)
    return Tables(
        user_of=user_of,
        conv_base=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        sub_client=sub_client,
        sub_conv=sub_conv,
        client_base=np.searchsorted(sub_client[joined], np.arange(clients + 1)).astype(np.int32),
        joined_conv=sub_conv[joined],
        joined_sub=joined,
        directory_base=np.zeros(clients, np.int64),
        directory_room=np.zeros(clients, np.int32),
        directory=np.full(1024, -1, np.int32),
        page_author=np.zeros(256, np.int32),
        page_number=np.zeros(256, np.int32),
        messages=np.zeros(256 * PAGE, MESSAGE),
        conv_next=np.zeros(convs, np.int32),
        reads=np.zeros(convs, np.int64),
        conns=np.zeros(1024, CONN),
        subs=subs,
        slots=np.zeros(1024, SLOT),
        sub_bits=np.zeros((1024, SUB_WORDS), np.uint64),
        slot_bits=np.zeros((1024, SLOT_WORDS), np.uint64),
        hash_keys=np.full(16 * CHUNK, -1, np.int64),
        hash_values=np.zeros(16 * CHUNK, np.int32),
        extra=np.zeros((1024, 4), np.int64),
        strays=np.zeros(1024, STRAY),
        used=np.zeros(9, np.int64),
    )


def unpack(rec: int) -> tuple[int, int]:
    """Return (journal, index) of a record reference."""
    return rec >> REC_BITS, rec & REC_MASK


assert FOREIGN == 1 << 31
