"""I27 presence: a user shown as online has a connection, a user shown as offline has none."""

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
"""Divisor of the bound for the delay after which a device records its own coming or going.

Other devices may be informed that much earlier.
"""
ENDS_LEASES = (FaultKind.KILL, FaultKind.RESTART, FaultKind.CRASH, FaultKind.REPLACE)
"""Faults of a backend that the platform must cope with within the bound; other faults extend the deadline."""

Connection: TypeAlias = tuple[int, int]
"""Key of a connection: journal, and number there."""


class Times(NamedTuple):
    """Time span from `begin` to before `end` (ns). `begun`, `ended`: records at which it began and ended, 0: none."""

    begin: int
    end: int
    begun: int
    ended: int


class Shown(NamedTuple):
    """Status of a user, and the time span (ns) in which it was shown to a watcher.

    watcher      client that was shown it; `conv`: in which conversation
    about, user  client number that the record names, and its user
    begin, end   from `begin` to before `end`
    again        the same status was shown directly before
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
    """State of I27: a shown status was true at some time from the bound before until a quarter of it after.

    A status is wrong if it was untrue during all of that time. Other devices may notice a connection before the device
    has recorded it, and its end by the bound later. The longest loop lag of the load is added to both.

    A status holds until the next one about the same user on the same connection in the same conversation, or until the
    watcher's connection or run has ended. The same status twice in a row is wrong too. Only that is judged where a part
    of the record is missing, because connections and faults may be missing with it.

    Not judged: a time at which a fault was on, and the bound after it (a kill, restart, crash or replacement of a
    backend excuses nothing); users and watchers who left the conversation.
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
    """Return by user the times with a connection, without overlaps.

    None: the end of a connection, or a last one, may be missing.
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
    """Return the times in which there was no connection."""
    edges = [Times(0, -NEVER, 0, 0), *live, Times(NEVER, 0, 0, 0)]
    return [Times(one.end, other.begin, one.ended, other.begun) for one, other in pairwise(edges)]


def _excused(world: World, late_ns: int) -> list[tuple[int, int]]:
    """Return the spans (ns) in which faults, and the bound after them, excuse what is shown."""
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
    """Return whether there was no moment at which the status could have been wrong."""
    first = shown.begin
    for since, until in excused:
        if since <= first:
            first = max(first, until + 1)
    return first >= shown.end


def _shown(world: World) -> list[Shown]:
    """Return every status of a user of the roster who, like the watcher, was in the conversation throughout."""
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
