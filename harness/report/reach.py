"""Reach of a run: owed deliveries that came, by room size, and the positions of losses among a sender's messages.

A delivery is owed as in I5b: each message that took effect, to each device that was subscribed from before its sending
until the end. The loop of I5b runs here once for each room size. A loss has a position among the messages of one sender
that the device was owed: before the first one that came (prefix), after the last one that came (end), between them
(middle), or none came (whole). The positions of acknowledged messages that the final read lacks (I5a) are found in the
same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from earwitness.checks.contract import Contract
from earwitness.checks.engine.duties import Duties
from earwitness.checks.engine.fold import CLIENT, CONV, MID, End, JournalInfo
from earwitness.checks.engine.tables import ACKED, STORED
from earwitness.checks.engine.world import View, World
from earwitness.checks.findings.names import device
from earwitness.checks.messages.delivered import (
    NEVER,
    Latest,
    absences,
    by_conversation,
)
from earwitness.harness.record.history import History
from earwitness.harness.report.witnesses import tag_of

Array = npt.NDArray[Any]
PAIRS_MOST: Final = 2_000
"""Most pairs of sender and receiver whose losses get a position; those with the most losses come first."""
ROWS_MOST: Final = 65_536
"""Most missed deliveries that get a position; all missed deliveries are counted."""
SENDERS_MOST: Final = 20
WHERE: Final = ("prefix", "middle", "end", "whole")


class Reach:
    """Watcher that collects what I5b collects, and counts owed and received deliveries by room size at the end."""

    def __init__(self, contract: Contract) -> None:
        """Start without records.

        `contract`: that of the history; the caller passes every chunk of records to `step`.
        """
        self._contract = contract
        self._duties = Duties()
        self._latest = Latest()
        self._world: World | None = None

    def step(self, view: View) -> None:
        """Implement `Watcher.step`: store the subscriptions and the latest deliveries."""
        self._world = view.world
        self._duties.step(view)
        self._latest.step(view)

    def found(self, journals: Sequence[JournalInfo], facts: Mapping[str, Any]) -> Reached | None:
        """Return which deliveries were owed and which of them came.

        None if nothing was recorded, the roster is damaged, or the clocks of several hosts were not compared.
        """
        if self._world is None or facts.get("roster_damaged"):
            return None
        end = End(self._world, tuple(journals), facts)
        bound = end.clock_bound_ns()
        if bound is None:
            return None
        contract = self._contract
        messages = by_conversation(self._world, contract)
        duties = self._duties.of(end, contract.resume, bound)
        rooms, missed = self._by_size(self._world, messages, duties)
        reached = Reached(rooms, _Places(sum(row["missed"] for row in rooms.values())), _Places(0))
        for author, lost in _deliveries(messages, duties, self._world, missed):
            reached.deliveries.add(author, lost)
        if contract.history and contract.acknowledges:
            lost_mids = _not_stored(self._world)
            reached.stored.total = len(lost_mids)
            for author, lost in _stored(self._world, lost_mids):
                reached.stored.add(author, lost)
        return reached

    def _by_size(
        self, world: World, messages: tuple[Array, ...], duties: Array
    ) -> tuple[dict[int, dict[str, int]], Array]:
        """Return (room size → counts, missed deliveries as rows (conversation, client, message)).

        The counts are owed, missed, received and not_known. At most ROWS_MOST missed deliveries are returned.
        """
        sizes = np.array([len(members) for members in world.roster.conversations], np.int64)
        of_sub = sizes[world.tables.sub_conv] if len(sizes) else np.zeros(0, np.int64)
        latest = self._latest.by_device(world)
        rows, missed = dict[int, dict[str, int]](), [np.zeros((0, 3), np.int64)]
        for size in np.unique(of_sub):
            mine = duties.copy()
            mine["held"][of_sub != size] = 0
            totals = np.zeros(4, np.int64)
            absences(world.tables, *messages_of(messages), mine, self._contract.echo, latest, world.out, totals)
            owed, lost, doubtful, cut = map(int, totals)
            received, not_known = owed - lost - doubtful - cut, doubtful + cut
            rows[int(size)] = {"owed": owed, "missed": lost, "received": received, "not_known": not_known}
            left = ROWS_MOST - sum(map(len, missed))
            missed.append(world.out[: min(lost, left, len(world.out)), [CONV, CLIENT, MID]].copy())
        return rows, np.concatenate(missed)


@dataclass
class _Places:
    """Number of losses by sender (client number) and position. `total`: all losses, also those without a position."""

    total: int
    by_sender: dict[int, dict[str, int]] = field(default_factory=dict)

    def add(self, author: int, lost: Array) -> None:
        """Add the losses of one receiver.

        `lost`: for each owed message of `author`, in order of sending, whether it is lost.
        """
        row = self.by_sender.setdefault(author, dict.fromkeys(WHERE, 0))
        for where, count in placed(lost).items():
            row[where] += count

    def __add__(self, other: _Places) -> _Places:
        """Return the sums of the counts of both, which are of different conversations."""
        both = _Places(self.total + other.total, {author: dict(row) for author, row in self.by_sender.items()})
        for author, row in other.by_sender.items():
            mine = both.by_sender.setdefault(author, dict.fromkeys(WHERE, 0))
            for where, count in row.items():
                mine[where] += count
        return both

    def told(self, history: History) -> dict[str, Any]:
        """Return the losses for verdict.json: their number, how many have a position, positions, worst senders."""
        tag = tag_of(history)
        rows = sorted(self.by_sender.items(), key=lambda item: (-sum(item[1].values()), item[0]))
        sums = {where: sum(row[where] for _, row in rows) for where in WHERE}
        senders = [
            {"sender": device(history.roster, author).replace(tag, "") if tag else device(history.roster, author),
             "lost": sum(row.values()), **row}
            for author, row in rows[:SENDERS_MOST]
        ]  # fmt: skip
        return {"lost": self.total, "placed": sum(sums.values()), **sums, "of": len(rows), "senders": senders}


@dataclass
class Reached:
    """Owed deliveries of a history, or of some of its conversations, and how many of them came.

    rooms       room size → counts: owed, missed, received, not_known
    deliveries  missed deliveries by sender and position
    stored      acknowledged messages that are not stored, by sender and position
    """

    rooms: dict[int, dict[str, int]]
    deliveries: _Places
    stored: _Places

    def __add__(self, other: Reached) -> Reached:
        """Return the sums of the counts of both, which are of different conversations."""
        rooms = {size: dict(row) for size, row in self.rooms.items()}
        for size, row in other.rooms.items():
            mine = rooms.setdefault(size, dict.fromkeys(row, 0))
            for name, count in row.items():
                mine[name] += count
        return Reached(rooms, self.deliveries + other.deliveries, self.stored + other.stored)

    def told(self, history: History) -> dict[str, Any]:
        """Return `reach` of verdict.json.

        `rooms`: for each size the number of rooms and the counts; `deliveries`, `stored`: how many were lost, their
        positions, and the senders with the most losses.
        """
        sizes = [len(members) for members in history.roster.conversations]
        rooms = [{"size": size, "rooms": sizes.count(size), **row} for size, row in sorted(self.rooms.items())]
        return {"rooms": rooms, "deliveries": self.deliveries.told(history), "stored": self.stored.told(history)}


def placed(lost: Array) -> dict[str, int]:
    """Return the number of losses by position (WHERE).

    `lost`: for each message of one sender, in order of sending, whether it is lost. `prefix`: before the first one that
    came; `end`: after the last one that came; `middle`: between them; `whole`: all, if none came.
    """
    count = int(lost.sum())
    found = dict.fromkeys(WHERE, 0)
    if count == len(lost):
        return {**found, "whole": count}
    prefix, end = int(np.argmin(lost)), int(np.argmin(lost[::-1]))
    return {**found, "prefix": prefix, "end": end, "middle": count - prefix - end}


def messages_of(found: tuple[Array, ...]) -> tuple[Array, Array, Array, Array]:
    """Return the columns of `by_conversation` in the order in which `absences` takes them."""
    first, mids, due, author = found
    return first, due, author, mids


def _deliveries(messages: tuple[Array, ...], duties: Array, world: World, missed: Array) -> Iterator[tuple[int, Array]]:
    """Yield (sender, array of bool) for pairs of sender and receiver: which owed messages, in order, were missed.

    `missed`: rows (conversation, client, message), see `_by_size`.
    """
    if not len(missed):
        return
    first, mids, due, author = messages
    convs = np.repeat(np.arange(len(first) - 1), np.diff(first))
    order = np.lexsort((due, author, convs))
    keys = _key(convs[order], author[order])
    sender_of = np.full(world.mids, -1, np.int64)
    sender_of[mids[mids >= 0]] = author[mids >= 0]
    tables = world.tables
    sub_of = {
        pair: sub for sub, pair in enumerate(zip(tables.sub_conv.tolist(), tables.sub_client.tolist(), strict=True))
    }
    for (conv, client, sender), rows in _pairs(missed[:, 0], missed[:, 1], sender_of[missed[:, 2]]):
        key = _key(np.array([conv]), np.array([sender]))[0]
        begin, end = np.searchsorted(keys, key), np.searchsorted(keys, key, side="right")
        at, duty = order[begin:end], duties[sub_of[conv, client]]
        at = at[(due[at] > duty["start"]) & (due[at] < duty["end"]) & (due[at] < NEVER)]
        yield sender, np.isin(mids[at], missed[rows, 2])


def _not_stored(world: World) -> Array:
    """Return the acknowledged messages that a complete final read lacks, as I5a counts them."""
    messages = world.messages()
    acked = np.flatnonzero((messages["flags"] & ACKED) > 0)
    read = world.read_completely()[messages["conv"][acked]]
    result: Array = acked[read & ((messages["flags"][acked] & STORED) == 0)]
    return result


def _stored(world: World, lost: Array) -> Iterator[tuple[int, Array]]:
    """Yield (sender, array of bool) by conversation: which acknowledged messages are not stored, in order of sending.

    `lost`: numbers of the messages that are not stored.
    """
    if not len(lost):
        return
    messages, tables = world.messages(), world.tables
    acked = np.flatnonzero((messages["flags"] & ACKED) > 0)
    own = messages["author_sub"]
    sender = np.where(own >= 0, tables.sub_client[np.maximum(own, 0)], -1)
    acked = acked[np.lexsort((messages["invoke_t"][acked], sender[acked], messages["conv"][acked]))]
    keys = _key(messages["conv"][acked].astype(np.int64), sender[acked])
    for (conv, _, author), rows in _pairs(messages["conv"][lost].astype(np.int64), 0 * lost, sender[lost]):
        key = _key(np.array([conv]), np.array([author]))[0]
        at = acked[np.searchsorted(keys, key) : np.searchsorted(keys, key, side="right")]
        yield author, np.isin(at, lost[rows])


def _key(convs: Array, authors: Array) -> Array:
    """Return conversation and author (-1 or more) as one integer each, which sort like the pairs."""
    result: Array = (convs.astype(np.int64) << 32) | (authors.astype(np.int64) + 1)
    return result


def _pairs(convs: Array, clients: Array, senders: Array) -> Iterator[tuple[tuple[int, int, int], Array]]:
    """Yield ((conversation, client, sender), indices of its rows): those with most rows first, at most PAIRS_MOST."""
    rows = np.stack([convs, clients, senders], axis=1).astype(np.int64)
    known, which, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    by_pair = np.argsort(which.ravel(), kind="stable")
    edges = np.concatenate([[0], np.cumsum(counts)])
    for pair in np.argsort(-counts, kind="stable")[:PAIRS_MOST]:
        conv, client, sender = map(int, known[pair])
        yield (conv, client, sender), by_pair[edges[pair] : edges[pair + 1]]
