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
"""Key of one value that can be changed, for example of the text of one message: numbers that each check chooses."""


class Change(NamedTuple):
    """Change of shared state, from a WRITE record.

    user           user whose state it is, -1: the state of a conversation
    client         client that changed it
    state, digest  a `State`; CRC-32 of the new value
    value          the new value where it is a number, the version that an edit got, NONE: none
    base           the version that an edit states it was based on, 0 if it stated none
    sent, t        when it was requested and answered, in ns
    yes, no        accepted; refused without effect. Neither: unknown
    rec            reference of the WRITE record
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

    user           user whose state it is, -1: the state of a conversation
    client         client to which it was shown, NOBODY for a database
    conn           number of the connection on which it was pushed, 0: requested
    state, digest  a `State`; CRC-32 of the value
    place          the `Place` that showed it
    value          PROFILE: number of the account's rows in a database, NONE from a service; ACTIVE, MEMBERSHIP: 1 or 0;
                   READ_MARK: sequence number; EDIT: version; NONE if it is no number
    conv           in which conversation, NOBODY: none
    asked, t       when it was requested (NONE: pushed) and shown, in ns
    rec            reference of the SEEN record
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
    """Changes (`changes`) and shown values (`looks`) of some kinds of shared state, as lists by key.

    `key_of(row, user)` makes the key. `row`: dictionary of the record's fields; `user`: whose state it is, -1: the name
    of a conversation. State of users outside the roster is left out.
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
        """Return the number of the user whose state it is; -1: a conversation's name; None: not in the roster."""
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
    """Return the digests of the values that may be shown at `until` (ns).

    These are the new values of changes that were sent before `until`, were not refused, and were not replaced by a
    change in `due`. `changes`: all changes of one piece of state; `due`: the accepted ones that must be visible by
    `until`. A change with an unknown outcome may be visible or not, at any time after its sending. `bound_ns`: by how
    many ns times of two journals may differ.
    """
    possible = set()
    for change in changes:
        replaced = change.yes and any(later.sent > change.t + bound_ns for later in due)
        if not change.no and not replaced and change.sent < until + bound_ns:
            possible.add(change.digest)
    return possible


def unrecorded(end: End | None) -> bool:
    """Return whether changes may be missing from the record: before its end, or if journals or records are missing.

    Before the end, because a change is recorded only when it is answered. `end`: None before the end of the record.
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
    """Deadlines of changes: `bound_ns` (ns) after the change, or after the end of the last fault during that time."""

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
        """Return the time (ns) by which a change at `t` (ns) must be visible.

        NEVER if a fault that delays the change has no recorded end.
        """
        due = t + self._bound_ns
        for begin, end in self._faults:
            if begin <= due and end >= t:
                due = max(due, NEVER if end == NEVER else end + self._bound_ns)
        return due
