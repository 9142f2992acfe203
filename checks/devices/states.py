"""Shared state: what was changed and what was shown, and how long a change may take to arrive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple, TypeAlias

from earwitness.checks.accounts.credentials import NEVER, rows_of
from earwitness.checks.engine.fold import End
from earwitness.checks.engine.tables import REC_BITS
from earwitness.checks.engine.world import World
from earwitness.checks.history.record import Flag, Kind, State

Key: TypeAlias = tuple[int, ...]
"""Key of a piece of shared state."""


class Change(NamedTuple):
    """Change of shared state, from a WRITE record.

    user, client   whose state (-1: of a conversation); who changed it
    state, digest  a `State`; CRC-32 of the new value
    value          the new value where it is a number, the version that an edit got, NONE: none
    base           the version that an edit was based on, 0 if it stated none
    sent, t        when it was requested and answered, in ns
    yes, no        accepted; refused without effect. Neither: unknown
    """

    user: int
    client: int
    state: int
    digest: int
    value: int
    base: int
    sent: int
    t: int
    yes: bool
    no: bool
    rec: int


class Look(NamedTuple):
    """Shared state as a device or a database showed it, from a SEEN record.

    user           whose state, -1: of a conversation
    client, conn   who was shown it, NOBODY for a database; the connection on which it was pushed, 0: requested
    state, digest  a `State`; CRC-32 of the value
    place          the `Place` that showed it
    value          PROFILE: number of the account's rows in a database, NONE from a service; ACTIVE, MEMBERSHIP: 1 or 0;
                   READ_MARK: sequence number; EDIT: version; NONE if it is no number
    conv           in which conversation, NOBODY: none
    asked, t       when it was requested (NONE: pushed) and shown, in ns
    """

    user: int
    client: int
    conn: int
    state: int
    place: int
    digest: int
    value: int
    conv: int
    asked: int
    t: int
    rec: int


class Shared:
    """Changes (`changes`) and shown values (`looks`) of some kinds of shared state, grouped by `key_of(row, user)`.

    State of users outside the roster is left out. The name of a conversation has no user: -1.
    """

    def __init__(self, world: World, states: Collection[int], key_of: Callable[[dict[str, int], int], Key]) -> None:
        """Read the WRITE and SEEN records whose kind of state is one of `states`."""
        self.user_of = [int(user) for user in world.roster.user_of]
        self.changes: defaultdict[Key, list[Change]] = defaultdict(list)
        self.looks: defaultdict[Key, list[Look]] = defaultdict(list)
        for row, rec in rows_of(world.kept, Kind.WRITE):
            if row["proc"] in states and (user := self._owner(row)) is not None:
                self.changes[key_of(row, user)].append(_change(row, user, rec))
        for row, rec in rows_of(world.kept, Kind.SEEN):
            if row["proc"] in states and (user := self._owner(row)) is not None:
                self.looks[key_of(row, user)].append(_look(row, user, rec))

    def user(self, client: int) -> int:
        """Return the number of a client's user; -1 if the roster does not have the client."""
        return self.user_of[client] if client < len(self.user_of) else -1

    def _owner(self, row: dict[str, int]) -> int | None:
        """Return the user whose state a row is about; -1: the name of a conversation; None: not of the roster."""
        if row["proc"] == State.TITLE:
            return -1
        user = self.user(row["author"])
        return None if user < 0 else user

    def client(self, user: int) -> int:
        """Return the client number of a user's first device."""
        return self.user_of.index(user)


def _change(row: dict[str, int], user: int, rec: int) -> Change:
    yes, no = bool(row["flags"] & Flag.ACCEPTED), bool(row["flags"] & Flag.REFUSED)
    what = row["client"], row["proc"], row["digest"], row["aux"], row["conn"]
    return Change(user, *what, row["seq"], row["t"], yes, no, rec)


def _look(row: dict[str, int], user: int, rec: int) -> Look:
    what = (row["proc"], row["attempt"], row["digest"], row["aux"], row["conv"])
    return Look(user, row["client"], row["conn"], *what, row["seq"], row["t"], rec)


def still_possible(changes: Iterable[Change], due: Collection[Change], until: int, bound_ns: int = 0) -> set[int]:
    """Return the digests of values that may be shown at `until` (ns): not refused, not replaced by a change in `due`.

    `changes`: all changes of one piece of state; `due`: the accepted ones that must be visible by then. A change with
    an unknown outcome may be visible or not, at any time. `bound_ns`: how much times of two journals may differ.
    """
    possible = set()
    for change in changes:
        replaced = change.yes and any(later.sent > change.t + bound_ns for later in due)
        if not change.no and not replaced and change.sent < until + bound_ns:
            possible.add(change.digest)
    return possible


def unrecorded(end: End | None) -> bool:
    """Return whether changes may be missing from the record: it is not read to its end, or a journal lacks records.

    Changes are recorded when they are answered. `end`: None before the end of the record.
    """
    return end is None or bool(end.missing or end.incomplete())


def members_gone(world: World) -> set[tuple[int, int]]:
    """Return the (user number, conversation number) pairs of all users who left or were removed at any time so far.

    A user who came back later is included. Clients that are not in the roster are skipped.
    """
    user_of = world.roster.user_of
    return {
        (int(user_of[row["client"]]), row["conv"])
        for kind in (Kind.LEAVE, Kind.KICK)
        for row, _ in rows_of(world.kept, kind)
        if row["client"] < len(user_of)
    }


class Patience:
    """Deadlines of changes: `bound_ns` after the change, or after the last fault during that time."""

    def __init__(self, world: World, bound_ns: int) -> None:
        """Collect the times of faults. A fault without a recorded end lasts until NEVER."""
        self._bound_ns = bound_ns
        self._faults: list[tuple[int, int]] = []
        on: dict[tuple[int, int], int] = {}
        for row, rec in sorted(rows_of(world.kept, Kind.FAULT), key=lambda told: (told[0]["t"], told[1])):
            fault = rec >> REC_BITS, row["author"]  # each journal numbers names on its own
            if row["flags"] & Flag.OWN:
                on.setdefault(fault, row["t"])
            else:
                self._faults.append((on.pop(fault, row["t"]), row["t"]))
        self._faults = sorted([*self._faults, *((begin, NEVER) for begin in on.values())])

    def due(self, t: int) -> int:
        """Return the time (ns) by which a change at `t` must be visible; NEVER if a fault that delays it has no end."""
        due = t + self._bound_ns
        for begin, end in self._faults:
            if begin <= due and end >= t:
                due = max(due, NEVER if end == NEVER else end + self._bound_ns)
        return due
