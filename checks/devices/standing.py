"""Memberships, permissions and names of conversations as shared state, for I22.

Once the bound has passed after a change, no device is shown a replaced value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from earwitness.checks.devices.states import Change, Key, Look, Patience, Shared, still_possible, unrecorded
from earwitness.checks.engine.fold import End
from earwitness.checks.engine.world import World
from earwitness.checks.history.record import NONE, State

STANDING = (State.MEMBERSHIP, State.PERMISSIONS, State.TITLE)
T = TypeVar("T", Change, Look)


def old_standings(world: World, wait_ns: int, bound_ns: int, end: End | None) -> Iterator[tuple[Look, Change | None]]:
    """Yield (shown value, change that replaced it) for each shown value that had to show an accepted change.

    The change is None if the shown value is permitted. `wait_ns`: how long (ns) a change may take to arrive;
    `bound_ns`: by how many ns times of two journals may differ.

    A change had to show if its deadline was before the request of the shown value, or for a pushed value before its
    arrival. Nothing is yielded while changes may be missing from the record, because a missing one may have restored
    the shown value. `end`: None before the end of the record.
    """
    if unrecorded(end):
        return
    shared = world.kept.once("standing", lambda: Shared(world, STANDING, _key))
    patience = Patience(world, wait_ns)
    for key, looks in sorted(shared.looks.items()):
        changes = [_by_content(change) for change in shared.changes.get(key, [])]
        for look in map(_by_content, looks):
            asked = look.t if look.asked == NONE else look.asked
            due = [change for change in changes if change.yes and patience.due(change.t) < asked]
            if not due:
                continue
            newest = max(due, key=lambda change: (change.sent, change.rec))
            yield look, None if look.digest in still_possible(changes, due, look.t, bound_ns) else newest


def _key(row: dict[str, int], user: int) -> Key:
    """Return (`State`, user number or -1 for the name of a conversation, conversation number or NOBODY: none)."""
    return row["proc"], user, row["conv"]


def _by_content(one: T) -> T:
    """Return `one` with a digest, by which values are compared.

    If it has none (0), as a membership, whose value is 1 or 0, the digest is made from the number.
    """
    return one if one.digest else one._replace(digest=one.value - NONE)
