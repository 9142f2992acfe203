"""I18, I22: edits and read marks are not undone by older ones, and in the end all devices of a user show the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from earwitness.checks.accounts.credentials import NEVER, SECOND, Together, rows_of
from earwitness.checks.devices.standing import old_standings
from earwitness.checks.devices.states import (
    Change,
    Key,
    Look,
    Patience,
    Shared,
    members_gone,
    still_possible,
    unrecorded,
)
from earwitness.checks.engine.fold import Described, End
from earwitness.checks.engine.tables import REC_BITS
from earwitness.checks.engine.world import World
from earwitness.checks.history.record import NOBODY, NONE, Kind, Phase, State

SHARED = (State.READ_MARK, State.EDIT)


def _key(row: dict[str, int], user: int) -> Key:
    """Return (EDIT, author, counter), which names the message; or (READ_MARK, user number, conversation number)."""
    if row["proc"] == State.EDIT:
        return row["proc"], row["author"], row["counter"]
    return row["proc"], user, row["conv"]


def _shared(world: World) -> Shared:
    return world.kept.once("shared state", lambda: Shared(world, SHARED, _key))


class MonotonicWrites(Together):
    """State of I18: a request that is sent after a change was accepted is answered with this change or a later one.

    A change is later than another one if it was sent after the other one was answered; of two that overlapped either
    may be the last. An edit is recognised by its text; a read mark only moves forward. Not judged: pushed state; and a
    text that no recorded edit has, while records may be missing.

    Two edits with different texts must not be accepted as the same version of a message (*same-version*). An edit may
    state the version that it changes. It must not be accepted if a version between that one and its own was accepted
    (*overwrote*).
    """

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: look for answers with replaced state, and for conflicting accepted edits."""
        shared, unsure = _shared(world), unrecorded(end)
        for key, looks in shared.looks.items():
            changes = shared.changes.get(key, [])
            texts = {c.digest for c in changes}
            for look in looks:
                done = [c for c in changes if c.yes and c.t + bound_ns < look.asked]
                if done and not (unsure and look.state == State.EDIT and look.digest not in texts):
                    self.examined += 1
                    self._judge(key, changes, done, look, bound_ns)

        for key, changes in sorted(shared.changes.items()):
            self._versions(key, [change for change in changes if change.yes and change.value != NONE])

    def _versions(self, key: Key, accepted: list[Change]) -> None:
        """Add as violations edits of a message with different texts that were accepted as the same version.

        `accepted`: accepted changes with a version, of the piece of state `key`.
        """
        if key[0] != State.EDIT:
            return
        first: dict[int, Change] = {}
        for change in sorted(accepted, key=lambda c: (c.t, c.rec)):
            before = first.setdefault(change.value, change)
            if before is not change and before.digest != change.digest:
                self.examined += 1
                facts = {"author": key[1], "counter": key[2], "low": change.value}
                self.wrong("same-version", before.rec, change.rec, client=change.client, stated=before.client, **facts)
        self._bases(key, sorted(accepted, key=lambda c: (c.value, c.rec)))

    def _bases(self, key: Key, accepted: list[Change]) -> None:
        """Add as violations edits that overwrote an accepted version unseen.

        Such an edit states the version that it changes, and another one was accepted between that and its own.
        `accepted`: accepted edits of one message, sorted by version.
        """
        for at, change in enumerate(accepted):
            if change.base:
                self.examined += 1
                between = [c for c in accepted[:at] if change.base < c.value < change.value]
                if between:
                    facts = {"author": key[1], "counter": key[2], "low": change.base, "high": between[0].value}
                    self.wrong("overwrote", between[0].rec, change.rec, client=change.client, **facts)

    def _judge(self, key: Key, changes: list[Change], done: list[Change], look: Look, bound_ns: int) -> None:
        if look.state == State.EDIT:
            newest = max(done, key=lambda c: (c.sent, c.rec))
            if look.digest not in still_possible(changes, done, look.t, bound_ns):
                self.wrong("undone", newest.rec, look.rec, author=key[1], counter=key[2], **_who(look))
        else:
            highest = max(done, key=lambda c: (c.value, c.rec))
            if look.value < highest.value:
                facts = {"low": look.value, "high": highest.value, "conv": key[2]}
                self.wrong("back", highest.rec, look.rec, stated=highest.client, **facts, **_who(look))


def _who(look: Look) -> dict[str, int]:
    return {"client": look.client, "place": look.place}


def _reader(look: Look) -> dict[str, int]:
    """Return {"client": number of the device that was shown the state}; {} if it was read from a database."""
    return {} if look.client == NOBODY else {"client": look.client}


class Device(NamedTuple):
    """Device that takes part in the comparison of I22, see `Convergence`.

    `quiet`: when the drain ended (phase DRAINED) in its journal, in ns. `shows`: the kinds of state (`State`) of which
    it was shown any.
    """

    client: int
    quiet: int
    shows: set[int]


class Convergence(Together):
    """State of I22: in the end the connected devices of a user show the same edits and read marks.

    They show no state that an accepted change has replaced.

    - A device counts as showing the highest version or mark that it received; if it received several with this number,
      the last of them.
    - A device is compared if its last connection lasted until the end, and if it received shared state on this
      connection at the latest the bound before the end. Edits are compared only between devices that received any edit,
      and read marks likewise.
    - State that was changed less than the bound before the end is not compared: the change may still be on its way.
    - Users who left the conversation or were removed are not compared: not all of their devices could learn of it.

    Memberships, permissions and names of conversations concern all users: once the bound has passed after a change,
    each answer and each push shows that change or a later one (`checks.devices.standing`).
    """

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: compare what the devices of each user show at the end.

        Also look for memberships, permissions and names that were shown after the bound for their change had passed.
        """
        if self.contract.shared_state_s is None:
            return
        shared = _shared(world)
        wait_ns = int(self.contract.shared_state_s * SECOND) + bound_ns
        patience = Patience(world, wait_ns)
        for look, newest in old_standings(world, wait_ns, bound_ns, end):
            self.examined += 1
            if newest is not None:
                facts = {"state": look.state, "conv": look.conv, "place": look.place, **_reader(look)}
                if look.state == State.TITLE:
                    self.wrong("title-old", newest.rec, look.rec, **facts)
                else:
                    author = world.roster.user_of.index(look.user)
                    self.wrong("standing-old", newest.rec, look.rec, author=author, **facts)
        devices, gone = _live(world, shared, wait_ns), members_gone(world)
        for key, looks in sorted(shared.looks.items()):
            shown, conv, changes = _shown(looks), looks[0].conv, shared.changes.get(key, [])
            settled = max((patience.due(c.t) for c in changes if not c.no), default=0)
            for user, own in devices.items():
                there = [d for d in own if key[0] in d.shows and settled <= d.quiet]
                known = [shown[d.client] for d in there if d.client in shown]
                if (user, conv) in gone or len(there) < 2 or not known:
                    continue
                ahead, behind = max(known, key=_rank), min(known, key=_rank)
                agree = len(known) == len(there) and (ahead.value, ahead.digest) == (behind.value, behind.digest)
                if agree or patience.due(_since(ahead, changes, looks)) <= min(d.quiet for d in there):
                    self.examined += 1
                    if not agree:
                        without = [d.client for d in there if d.client not in shown]
                        self._differ(key, ahead, behind, without)
                    elif (newest := _replaced(ahead, changes, bound_ns)) is not None:
                        self._all_behind(key, ahead, newest)

    def _differ(self, key: Key, ahead: Look, behind: Look, without: list[int]) -> None:
        """Add the violation that devices differ; `without`: the clients that were never shown any value."""
        missed, differs = "mark-missed", "mark-differs"
        facts = {"conv": key[2], "low": behind.value, "high": ahead.value}
        if key[0] == State.EDIT:
            missed, differs, facts = "edit-missed", "edit-differs", {"author": key[1], "counter": key[2]}
        if without:
            self.wrong(missed, ahead.rec, client=without[0], stated=ahead.client, **facts)
        else:
            self.wrong(differs, behind.rec, ahead.rec, client=behind.client, stated=ahead.client, **facts)

    def _all_behind(self, key: Key, ahead: Look, newest: Change) -> None:
        if key[0] == State.EDIT:
            self.wrong("edit-old", newest.rec, ahead.rec, client=ahead.client, author=key[1], counter=key[2])
        else:
            facts = {"conv": key[2], "low": ahead.value, "high": newest.value}
            self.wrong("mark-old", newest.rec, ahead.rec, client=ahead.client, stated=newest.client, **facts)


def _replaced(ahead: Look, changes: Sequence[Change], bound_ns: int) -> Change | None:
    """Return the last accepted change, if it is certainly later than the shown value `ahead`; else None.

    `bound_ns`: by how many ns times of two journals may differ.
    """
    accepted = [change for change in changes if change.yes]
    if ahead.state == State.READ_MARK:
        highest = max(accepted, key=lambda c: (c.value, c.rec), default=None)
        return highest if highest is not None and highest.value > ahead.value else None
    old = {change.digest for change in accepted} - still_possible(changes, accepted, NEVER, bound_ns)
    return max(accepted, key=lambda c: (c.sent, c.rec)) if ahead.digest in old else None


def _rank(look: Look) -> tuple[int, int, int]:
    return look.value, look.digest, look.rec


def _since(ahead: Look, changes: Iterable[Change], looks: Iterable[Look]) -> int:
    """Return the time (ns) at which the shown value `ahead` was written, from which it may take the bound to arrive.

    It is the answer to the first accepted change to this value. Without such a change (a platform moves read marks by
    itself; an answer was lost) it is the time at which any device was first shown the value.
    """
    shown = min(look.t for look in looks if _value(look) == _value(ahead))
    return min((change.t for change in changes if change.yes and _value(change) == _value(ahead)), default=shown)


def _value(one: Change | Look) -> int:
    return one.digest if one.state == State.EDIT else one.value


def _shown(looks: Iterable[Look]) -> dict[int, Look]:
    """Return client -> the last row with the highest value (version or mark) that it was shown."""
    shown: dict[int, Look] = {}
    for look in looks:
        before = shown.get(look.client)
        if before is None or (look.value, look.rec) > (before.value, before.rec):
            shown[look.client] = look
    return shown


def _live(world: World, shared: Shared, wait_ns: int) -> dict[int, list[Device]]:
    """Return user -> the devices that take part in the comparison, see `Convergence`."""
    phases = (row_rec for row_rec in rows_of(world.kept, Kind.PHASE) if row_rec[0]["counter"] == Phase.DRAINED)
    quiet = {rec >> REC_BITS: row["t"] for row, rec in phases}
    ended = {(rec >> REC_BITS, row["conn"]): row["t"] for row, rec in rows_of(world.kept, Kind.DISCONNECT)}
    looks: defaultdict[int, list[Look]] = defaultdict(list)
    for seen in shared.looks.values():
        for look in seen:
            looks[look.client].append(look)
    live: defaultdict[int, list[Device]] = defaultdict(list)
    for client, seen in sorted(looks.items()):
        user, last = shared.user(client), max(look.conn for look in seen)
        heard = [look for look in seen if look.conn == last]
        journal = heard[0].rec >> REC_BITS
        end = quiet.get(journal, NONE)
        there = last and ended.get((journal, last), NEVER) >= end and min(look.t for look in heard) + wait_ns <= end
        if user >= 0 and end != NONE and there:
            live[user].append(Device(client, end, {look.state for look in seen}))
    return live


MONOTONIC_WRITES = Described(
    id="I18",
    name="monotonic-writes",
    title="Did every later answer show each accepted edit and read mark, or a later one?",
    unit="reads and edits",
    symptom="Accepted edits or read marks were undone by older ones",
    fold=MonotonicWrites,
    when=lambda contract: contract.shared_state_s is not None,
    sentences={
        "same-version": "{who} had an edit of {message} accepted as version {low}, which an edit of "
        "{other_device} had been before",
        "overwrote": "{who} had an edit of version {low} of {message} accepted, although version {high} had "
        "replaced it",
        "undone": "{place} showed {who} an old text of {message}, after a later one had been accepted",
        "back": "{place} showed {who} that {where} is read up to number {low}, after number {high} had "
        "been accepted from {stated}",
    },
)
CONVERGENCE = Described(
    id="I22",
    name="convergence",
    title="Did all devices show the same state in the end, and none an old membership or permission?",
    unit="comparisons of what devices show",
    symptom="Devices of one user show different edits, marks or permissions",
    fold=Convergence,
    when=lambda contract: contract.shared_state_s is not None,
    sentences={
        "edit-missed": "{who} was never shown an edit of {message} that {other_device} shows",
        "mark-missed": "{who} was never shown how far {where} is read; {other_device} shows it",
        "edit-old": "all devices of {person} show an old text of {message}, after a later one had been accepted",
        "mark-old": "all devices of {person} show {where} as read up to number {low}, after number {high} had "
        "been accepted from {other_device}",
        "standing-old": "{who} was shown an old {state} of {author} in {where}, longer after its change than promised",
        "title-old": "{who} was shown an old name of {where}, longer after its change than promised",
        "edit-differs": "{who} shows another text of {message} than {other_device}",
        "mark-differs": "{who} shows {where} as read up to number {low}, {other_device} up to number {high}",
    },
)
