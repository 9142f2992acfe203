"""Routing of a history's records to several judges, each of which judges a shard: some of the conversations.

A record that names a conversation goes to the judge of that conversation. Beginnings and ends of connections, phases
and faults go to all judges. Records that only checks of the whole run read go to none. An answer that names only its
message goes to the judge of the conversation in which that message was sent. Two conversations that name the same
message, or the same answer of an agent, must be judged together: their shards are joined.

A conversation with very many members may be split by receiver (`checks.splitting`). Sendings, their answers and the
final state then go to a shard that all parts read, and the records of a receiver go to the part of its user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.tables import COUNTER_MAX, Array, place, rehash
from earwitness.checks.engine.world import Context, World
from earwitness.checks.history.kinds import LISTENED, OF_MESSAGES, UNTRUSTED
from earwitness.checks.history.record import Kind
from earwitness.checks.roster import Roster

COMMON, WAITING, NOWHERE = -1, -2, -3
"""Destinations that are no shard: all judges (COMMON); the shard of a message, not yet known (WAITING); no judge."""
_ALL: Final = sum(1 << int(kind) for kind in (Kind.CONNECT, Kind.DISCONNECT, Kind.PHASE, Kind.FAULT))
_ONCE: Final = sum(
    1 << int(kind) for kind in (Kind.PROBE, Kind.LOGIN, Kind.REQUEST, Kind.REVOKE, Kind.TOKEN, Kind.WRITE, Kind.CALL)
)
"""Kinds, as bits, that only checks of the whole run read."""
_SPEAKING: Final = 1 << int(Kind.INVOKE) | 1 << int(Kind.CONNECT)
_OF_MANY: Final = (Kind.DELIVER, Kind.STORED, Kind.REPLAY, Kind.RUN, Kind.READ_END)
"""Kinds whose records the judge of the checks of the whole run does not read.

Checks that must see these records too, because they examine the whole record, get their counts from the shards.
"""
NOT_ONCE = np.zeros(256, bool)
NOT_ONCE[[int(kind) for kind in _OF_MANY]] = True
PAGE = 64
"""Number of messages in a row of `homes`: consecutive counters of one author."""
_NO_JOURNAL: Final = -1
DISPUTES, PAGES = range(2)
"""Indexes of the array `used`: how many rows of `disputes` and of `homes` are in use."""


@kernel
def route_step(
    records: Array, start: Any, clients: Any, shard_of: Array, keys: Array, numbers: Array, homes: Array,
    disputes: Array, speaking: Array, latest: Array, used: Array, out: Array,
) -> Any:  # fmt: skip
    """Write the destination of each record from `start` on to `out`; return the number of records that are done.

    A destination is a shard, COMMON, WAITING or NOWHERE. `clients`: number of clients. `shard_of`: shard by
    conversation. `keys`, `numbers`: hash table from author << 26 | counter >> 6 to a row of `homes`, which holds
    conversation + 1 of 64 messages; 0: not known. `disputes`: pairs of shards whose conversations name the same
    message. `speaking`: by client, 1 if this journal records it as sender or connected. `latest`: by client, time of
    the last reception (ns). `used`: see DISPUTES. All tables are updated.

    The result is less than the number of records if there is no room in `homes` or `disputes`. The caller makes room
    and calls again, so a record changes no table before the last line at which the function may return for it.

    The first conversation that names a message is its home. Another one is not wrong by itself (I8 and I12 judge that),
    but the message is judged with the records of both.
    """
    for i in range(start, len(records)):
        r = records[i]
        kind = np.int64(r["kind"])
        bit = 1 << kind
        conv = np.int64(r["conv"])
        client = np.int64(r["client"])
        if client < clients:
            if bit & _SPEAKING:
                speaking[client] = 1
            if bit & LISTENED:
                latest[client] = max(latest[client], r["t"])
        if bit & _ALL:
            out[i] = COMMON
            continue
        if bit & _ONCE:
            out[i] = NOWHERE
            continue
        known = conv < len(shard_of)
        author, counter = np.int64(r["author"]), np.int64(r["counter"])
        if bit & OF_MESSAGES and not r["flags"] & UNTRUSTED and author < clients and 0 < counter < COUNTER_MAX:
            key = (author << 26) | (counter >> 6)
            at = place(keys, key)
            if keys[at] == -1:
                if not known:
                    out[i] = WAITING
                    continue
                if used[PAGES] == len(homes):
                    return i
                keys[at] = key
                numbers[at] = used[PAGES]
                used[PAGES] += 1
            page = np.int64(numbers[at])
            home = np.int64(homes[page, counter & 63]) - 1
            if not known:
                out[i] = shard_of[home] if home >= 0 else WAITING
                continue
            if home < 0:
                homes[page, counter & 63] = conv + 1
            elif home != conv and shard_of[home] != shard_of[conv]:
                if used[DISPUTES] == len(disputes):
                    return i
                disputes[used[DISPUTES], 0] = shard_of[home]
                disputes[used[DISPUTES], 1] = shard_of[conv]
                used[DISPUTES] += 1
        out[i] = shard_of[conv] if known else 0
    return len(records)


LARGE: Final = 20_000
"""Number of members from which on a conversation is split by receiver, if there are several shards."""
SAID = np.zeros(256, bool)
SAID[
    [int(kind) for kind in (Kind.INVOKE, Kind.OK, Kind.FAIL, Kind.INFO, Kind.STORED, Kind.READ_END, Kind.IDENTITY)]
] = True
"""By number of a kind: whether every part of a split conversation reads records of this kind."""


@dataclass(slots=True)
class Split:
    """One conversation that is split by receiver.

    said   shard of the records that all parts read (kinds SAID)
    parts  shards of the records of receivers; the user number modulo the number of parts is the index
    mixed  True: receivers of different parts must be compared, so the conversation must be judged as a whole
    """

    said: int
    parts: tuple[int, ...]
    mixed: bool = False

    @property
    def shards(self) -> tuple[int, ...]:
        """Return the shard `said` and all shards of `parts`."""
        return self.said, *self.parts


def shared_out(roster: Roster, shards: int) -> Array:
    """Return the shard of each conversation. Shards get about the same number of records.

    Conversations are assigned from the largest to the smallest, each to the shard with the smallest total so far. The
    size of a conversation is an estimate of its records: one for each member, and three more.
    """
    sizes = [len(members) + 3 for members in roster.conversations]  # a message has three records and one a member
    loads, found = [0] * shards, np.zeros(len(sizes), np.int64)
    for conv in sorted(range(len(sizes)), key=lambda conv: (-sizes[conv], conv)):
        found[conv] = min(range(shards), key=lambda shard: (loads[shard], shard))
        loads[found[conv]] += sizes[conv]
    return found


class Router:
    """Router of the records of one history to the judges of its shards."""

    def __init__(self, roster: Roster, shards: int, large: int | None = None) -> None:
        """Assign the conversations of `roster` to shards, before any record is read.

        `large`: number of members from which on a conversation is split into `shards` parts; None: none is split.
        """
        self.shards = shards
        """Number of all shards: those of whole conversations, and those of split ones."""
        self._clients = len(roster.user_of)
        self._users = np.asarray(roster.user_of, np.int64)
        self._shard_of = shared_out(roster, shards)
        self._splits: list[Split] = []
        for conv, members in enumerate(roster.conversations):
            if large is not None and shards > 1 and len(members) >= large:
                first = self.shards
                self._splits.append(Split(first, tuple(range(first + 1, first + 1 + shards))))
                self._shard_of[conv] = first
                self.shards += 1 + shards
        self._keys, self._numbers = np.full(1 << 10, -1, np.int64), np.zeros(1 << 10, np.int32)
        self._homes, self._disputes = np.zeros((0, PAGE), np.int32), np.zeros((64, 2), np.int64)
        self._used = np.zeros(2, np.int64)
        self._speaking: dict[int, Array] = {}
        self._latest = np.full(self._clients, -1, np.int64)
        self._together = list(range(self.shards))
        self._runs: dict[tuple[int, int, int], int] = {}

    def route(self, journal: int, records: Array) -> Array:
        """Return the destination of each record of a chunk: a shard, COMMON, WAITING or NOWHERE.

        The chunks of a journal must come in their order.
        """
        out = np.empty(len(records), np.int16)
        speaking = self._speaking.setdefault(journal, np.zeros(self._clients, np.uint8))
        done = 0
        while True:
            tables = self._shard_of, self._keys, self._numbers, self._homes, self._disputes
            done = int(route_step(records, done, self._clients, *tables, speaking, self._latest, self._used, out))
            self._settle()
            if done == len(records):
                break
            if self._used[PAGES] == len(self._homes):
                self._grow()
        kinds = records["kind"]
        self._join_runs(journal, records[kinds == Kind.RUN])
        for split in self._splits:
            self._share_out_receivers(split, records, kinds, out)
        return out

    def _share_out_receivers(self, split: Split, records: Array, kinds: Array, out: Array) -> None:
        """Replace the destination of records that receivers of a split conversation made by the shards of their parts.

        `kinds`: kind of each record; `out`: destination of each record, which is changed. Sets `split.mixed` if there
        are records of an agent's answer.
        """
        heard = np.flatnonzero((out == split.said) & ~SAID[kinds] & (records["client"] < self._clients))
        out[heard] = np.array(split.parts)[self._users[records["client"][heard]] % len(split.parts)]
        # Answers of an agent are compared between devices (I24).
        split.mixed |= bool((kinds[heard] == Kind.RUN).any())

    def where(self, records: Array) -> Array:
        """Return the shard of each of `records`, whose destination was WAITING. Call it when all records were routed.

        Shard 0 for records of a message whose conversation no record names.
        """
        out = self.route(_NO_JOURNAL, records) if len(records) else np.zeros(0, np.int16)
        self._speaking.pop(_NO_JOURNAL, None)
        result: Array = np.where(out < 0, 0, out)
        return result

    def groups(self) -> list[tuple[int, ...]]:
        """Return all shards in groups that must be judged together, in ascending order; most groups have one shard.

        Shards of the conversations that `splits` returns are left out.
        """
        apart = {shard for split in self.splits() for shard in split.shards}
        parts = {split.said: split.parts for split in self._splits}
        found: dict[int, list[int]] = {}
        for shard in range(self.shards):
            if shard not in apart and not any(shard in split.parts for split in self._splits):
                found.setdefault(self._root(shard), []).extend((shard, *parts.get(shard, ())))
        return [tuple(sorted(group)) for group in found.values()]

    def splits(self) -> list[Split]:
        """Return the split conversations whose parts may be judged separately.

        Left out are those that must be judged together with another conversation, and those that are `mixed`.
        """
        roots = [self._root(shard) for shard in range(self.shards)]
        return [split for split in self._splits if not split.mixed and roots.count(roots[split.said]) == 1]

    def context(self, world: World) -> Context:
        """Return the facts about the whole history for the judges of all shards.

        `world` must have registered all connections of the run.
        """
        return Context(world.met(), dict(self._speaking), self._latest)

    def _settle(self) -> None:
        for one, other in np.unique(self._disputes[: int(self._used[DISPUTES])], axis=0).tolist():
            self._join(one, other)
        self._used[DISPUTES] = 0

    def _join_runs(self, journal: int, runs: Array) -> None:
        """Join the shards of conversations in which one connection received the same answer of an agent (I24).

        `runs`: RUN records of one journal.
        """
        keys = np.stack([runs["conn"], runs["author"], runs["conv"]], axis=1)
        for conn, run, conv in np.unique(keys, axis=0).tolist() if len(runs) else ():
            shard = int(self._shard_of[conv]) if conv < len(self._shard_of) else 0
            self._join(self._runs.setdefault((journal, conn, run), shard), shard)

    def _join(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        self._together[high] = low

    def _root(self, shard: int) -> int:
        while self._together[shard] != shard:
            shard = self._together[shard]
        return shard

    def _grow(self) -> None:
        """Double the rows of `homes`, and make the hash table larger if it could become more than half full."""
        self._homes = np.concatenate([self._homes, np.zeros((max(len(self._homes), 64), PAGE), np.int32)])
        if 2 * len(self._homes) > len(self._keys):
            keys, numbers = self._keys, self._numbers
            self._keys, self._numbers = np.full(4 * len(keys), -1, np.int64), np.zeros(4 * len(keys), np.int32)
            rehash(keys, numbers, self._keys, self._numbers)
