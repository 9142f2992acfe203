"""I27: a user who is shown as online has a connection, a user who is shown as offline has none."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from earwitness.checks.accounts.credentials import NEVER, SECOND, Together, rows_of
from earwitness.checks.devices.states import members_gone
from earwitness.checks.engine.fold import Described, End
from earwitness.checks.engine.tables import REC_BITS
from earwitness.checks.engine.world import World
from earwitness.checks.history.record import FaultKind, Flag, Kind, Phase, Place
from earwitness.checks.tester.health import longest_lag_ns

NOTICED_SOONER = 4
"""Divisor of the bound: how long before a device records its connection, or the end, others may be shown the change."""
ENDS_LEASES = (FaultKind.KILL, FaultKind.RESTART, FaultKind.CRASH, FaultKind.REPLACE)
"""Kinds of faults of a backend within whose bound statuses must be true again; during other faults none is judged."""

Connection: TypeAlias = tuple[int, int]
"""Key of a connection: (journal number, number of the connection in that journal)."""


class Times(NamedTuple):
    """Time span from `begin` to before `end` (ns), with or without a connection.

    `begun`, `ended`: references of the CONNECT or DISCONNECT records at which it began and ended, 0: none.
    """

    begin: int
    end: int
    begun: int
    ended: int


class Shown(NamedTuple):
    """Status of a user (online or offline), and the time span in which it was shown to a watcher.

    watcher     client to which the status was shown
    about       client number that the record names as the one whose status it is
    user        user number of `about`
    conv        conversation in which it was shown
    online      True: shown as online, False: as offline
    begin, end  it was shown from `begin` to before `end` (ns)
    again       the previous status of the user on this connection and in this conversation was the same
    rec         reference of the PRESENCE record
    """

    watcher: int
    about: int
    user: int
    conv: int
    online: bool
    begin: int
    end: int
    again: bool
    rec: int


class Presence(Together):
    """State of I27: at each moment a shown status is true, or was true within the bound, or soon becomes true.

    The status that is shown at a moment is wrong if it was untrue during all of the time from the bound (`presence_s`)
    before until a quarter of the bound after: the platform may show the end of a connection late, and may show a
    connection before the device has recorded it. The longest loop lag of the load is added on both sides.

    A status is shown until the next one about the same user on the same connection in the same conversation, or until
    the watcher's connection or the drain ends. The same status twice in a row is a violation too (*repeated*). If a
    part of the record is missing, only repeated statuses are judged, because connections and faults may be missing.

    Not judged: the time of a fault, and the bound after it, unless the fault is a kill, restart, crash or replacement
    of a backend; users and watchers who left the conversation or were removed.
    """

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: look for shown statuses that were untrue or repeated."""
        if self.contract.presence_s is None:
            return
        if end is None:
            self.doubts.append("who had a connection is known at the end")
            return
        if end.partial:
            self.doubts.append("a part of the record is missing, and with it connections of some people, or faults")
        promised_ns = int(self.contract.presence_s * SECOND)
        tolerance_ns = bound_ns + longest_lag_ns(end)
        late_ns, early_ns = promised_ns + tolerance_ns, promised_ns // NOTICED_SOONER + tolerance_ns
        spans = _connected(world, end)
        unsure = {user for user, times in spans.items() if times is None}
        excused = _excused(world, late_ns)
        for shown in _shown(world):
            if not shown.again and (end.partial or shown.user in unsure):
                continue
            if _all_excused(shown, excused) and not shown.again:
                continue
            self.examined += 1
            if shown.again:
                facts = {"conv": shown.conv, "stated": shown.about, "online": int(shown.online)}
                self.wrong("repeated", shown.rec, client=shown.watcher, **facts)
            if end.partial:
                continue
            live = spans.get(shown.user) or []
            self._judge(shown, _between(live) if shown.online else live, late_ns, early_ns, excused)

    def _judge(
        self, shown: Shown, untrue: list[Times], late_ns: int, early_ns: int, excused: list[tuple[int, int]]
    ) -> None:
        for times in untrue:
            first = max(shown.begin, times.begin + late_ns)
            last = min(shown.end, times.end - early_ns) - 1
            for since, until in excused:
                if since <= first <= until:
                    first = until + 1
            if first <= last:
                what = "flap" if not shown.online else "ghost" if times.begun else "never"
                late_ms = (first - times.begin) // 1_000_000 if times.begun else 0
                proof = [rec for rec in (times.begun, shown.rec) if rec]
                self.wrong(what, *proof, client=shown.watcher, stated=shown.about, late=late_ms, conv=shown.conv)
                return


def _connected(world: World, end: End) -> dict[int, list[Times] | None]:
    """Return user -> the spans in which any device of the user was connected, sorted and without overlaps.

    None instead of the spans: a journal with connections of the user is incomplete, so records may be missing.
    """
    user_of, torn = world.roster.user_of, end.incomplete()
    ends = {(rec >> REC_BITS, row["conn"]): (row["t"], rec) for row, rec in rows_of(world.kept, Kind.DISCONNECT)}
    found: defaultdict[int, list[Times]] = defaultdict(list)
    unsure: set[int] = set()
    for row, rec in rows_of(world.kept, Kind.CONNECT):
        if row["client"] < len(user_of):
            user, journal = int(user_of[row["client"]]), rec >> REC_BITS
            gone, ended = ends.get((journal, row["conn"]), (NEVER, 0))
            if journal in torn:
                unsure.add(user)
            found[user].append(Times(row["t"] - row["size"] * 1000, gone, rec, ended))
    return {user: None if user in unsure else _merged(times) for user, times in found.items()}


def _merged(times: list[Times]) -> list[Times]:
    merged: list[Times] = []
    for one in sorted(times):
        if merged and one.begin <= merged[-1].end:
            last = max(merged[-1], one, key=lambda times: (times.end, times.ended))
            merged[-1] = merged[-1]._replace(end=last.end, ended=last.ended)
        else:
            merged.append(one)
    return merged


def _between(live: list[Times]) -> list[Times]:
    """Return the spans before, between and after the spans of `live`, which are sorted and do not overlap."""
    edges = [Times(0, -NEVER, 0, 0), *live, Times(NEVER, 0, 0, 0)]
    return [Times(one.end, other.begin, one.ended, other.begun) for one, other in pairwise(edges)]


def _excused(world: World, late_ns: int) -> list[tuple[int, int]]:
    """Return the (begin, end) spans in ns in which no status is judged: faults, and `late_ns` after each.

    Left out are the faults of a backend in ENDS_LEASES. NEVER as the end: the fault has no recorded end.
    """
    on: dict[tuple[int, int], int] = {}
    spans = []
    for row, rec in sorted(rows_of(world.kept, Kind.FAULT), key=lambda told: (told[0]["t"], told[1])):
        if row["attempt"] == Place.BACKEND and row["counter"] in ENDS_LEASES:
            continue
        fault = rec >> REC_BITS, row["author"]
        if row["flags"] & Flag.OWN:
            on.setdefault(fault, row["t"])
        else:
            spans.append((on.pop(fault, row["t"]), row["t"] + late_ns))
    return sorted([*spans, *((begin, NEVER) for begin in on.values())])


def _all_excused(shown: Shown, excused: list[tuple[int, int]]) -> bool:
    """Return whether the spans of `excused`, which are sorted, cover all of the time in which the status was shown."""
    first = shown.begin
    for since, until in excused:
        if since <= first:
            first = max(first, until + 1)
    return first >= shown.end


def _shown(world: World) -> list[Shown]:
    """Return the shown statuses of users of the roster.

    Left out are those whose user, or whose watcher, left the conversation or was removed at any time.
    """
    moved = members_gone(world)
    ends: dict[Connection, int] = {
        (rec >> REC_BITS, row["conn"]): row["t"] for row, rec in rows_of(world.kept, Kind.DISCONNECT)
    }
    phases = [(row, rec) for row, rec in rows_of(world.kept, Kind.PHASE) if row["counter"] == Phase.DRAINED]
    drained = {rec >> REC_BITS: row["t"] for row, rec in phases}
    told: defaultdict[tuple[int, ...], list[tuple[dict[str, int], int]]] = defaultdict(list)
    for row, rec in rows_of(world.kept, Kind.PRESENCE):
        user, conv = _user(world, row["author"]), row["conv"]
        if user >= 0 and not {(user, conv), (_user(world, row["client"]), conv)} & moved:
            told[rec >> REC_BITS, row["conn"], row["client"], user, conv].append((row, rec))
    found = []
    for (journal, conn, _, user, conv), rows in told.items():
        until = min(ends.get((journal, conn), NEVER), drained.get(journal, NEVER))
        times = [row["t"] for row, _ in rows]
        for at, (row, rec) in enumerate(rows):
            end = times[at + 1] if at + 1 < len(rows) else until if until < NEVER else row["t"]
            again = at > 0 and bool(rows[at - 1][0]["counter"]) == bool(row["counter"])
            who = (row["client"], row["author"], user, conv, bool(row["counter"]))
            found.append(Shown(*who, row["t"], max(end, row["t"] + 1), again, rec))
    return found


def _user(world: World, client: int) -> int:
    return int(world.roster.user_of[client]) if client < len(world.roster.user_of) else -1


PRESENCE = Described(
    id="I27",
    name="presence",
    title="Was no user shown as online after leaving, or as offline while connected?",
    unit="shown changes of presence",
    symptom="Users were shown as online or offline when they were not",
    fold=Presence,
    when=lambda contract: contract.presence_s is not None,
    sentences={
        "ghost": "{who} was shown {stated} as online in {where}, {late} ms after the last connection had ended",
        "never": "{who} was shown {stated} as online in {where}, who had not been connected yet",
        "flap": "{who} was shown {stated} as offline in {where}, who had been connected for {late} ms",
        "repeated": "{who} was shown twice in a row that {stated} is {online} in {where}",
    },
)
