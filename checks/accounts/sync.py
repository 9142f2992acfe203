"""I41, I42: services and databases agree about each account, and each user has one account."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

from earwitness.checks.accounts.credentials import SECOND, Together, rows_of
from earwitness.checks.devices.states import Change, Look, Patience, Shared, still_possible, unrecorded
from earwitness.checks.engine.fold import Described, End
from earwitness.checks.engine.tables import REC_BITS
from earwitness.checks.engine.world import World
from earwitness.checks.history.record import NONE, Kind, Phase, Place, State

UNEXPLAINED = -1
"""Stands for the user of a platform id that no recorded login explains."""
CONCERNED = (State.PROFILE, State.ACTIVE)
COPIES = (Place.BACKEND, Place.SOCKET)
"""Places that receive changes of accounts from the auth service; the databases are compared with each other instead."""


class Socket(NamedTuple):
    """Connection that has ended: open from `begin` to `end` (ns).

    `user`: user number, -1: not in the roster; `journal`, `conn`: journal, and number of the connection in it; `rec`:
    reference of the CONNECT record.
    """

    user: int
    journal: int
    conn: int
    begin: int
    end: int
    rec: int


class Accounts(Shared):
    """Changes and shown values of accounts, with logins and ended connections. Key: (user number, `State`).

    logins   user number -> LOGIN records with status 200, as dictionaries of their fields
    sockets  connections whose end was recorded
    touched  user number -> when the account was last changed or logged in to (ns)
    """

    def __init__(self, world: World) -> None:
        """Collect changes and shown values of accounts, successful logins, and sockets whose end was recorded."""
        super().__init__(world, CONCERNED, lambda row, user: (user, row["proc"]))
        self.touched: dict[int, int] = {}
        for (user, _), changes in self.changes.items():
            self.touched[user] = max(self.touched.get(user, 0), *(change.t for change in changes))
        self.logins: defaultdict[int, list[dict[str, int]]] = defaultdict(list)
        for row, _ in rows_of(world.kept, Kind.LOGIN):
            if (who := self.user(row["client"])) >= 0 and row["counter"] == 200:
                self.logins[who].append(row)
                self.touched[who] = max(self.touched.get(who, 0), row["t"])
        ended = {(rec >> REC_BITS, row["conn"]): row["t"] for row, rec in rows_of(world.kept, Kind.DISCONNECT)}
        self.sockets = [
            Socket(self.user(row["client"]), *which, row["t"], ended[which], rec)
            for row, rec in rows_of(world.kept, Kind.CONNECT)
            if (which := (rec >> REC_BITS, row["conn"])) in ended
        ]


def _accounts(world: World) -> Accounts:
    return world.kept.once("accounts", lambda: Accounts(world))


class Sync(Together):
    """State of I41: every service shows an accepted change of an account within the bound, and both databases agree.

    - The answer to a request must not show a value that was replaced by a change accepted more than the bound before
      the request. A change whose outcome is not known may be visible or not, at any time.
    - If the contract has `account_news_s`, a socket that was open from before the change until this time after it
      receives the new value or a later one. No socket receives a profile that the account never had; one profile that
      the record does not explain is allowed, because it may be the account's first.
    - At the end both databases have the same users with the same values.

    A fault that was on between a change and its deadline moves the deadline to the end of the fault plus the bound.
    """

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: look for old values, for missing and false pushes, and for differing databases."""
        if self.contract.sync_bound_s is None:
            return
        accounts = _accounts(world)
        patience = Patience(world, int(self.contract.sync_bound_s * SECOND) + bound_ns)
        unsure = end is not None and end.partial
        for key, looks in accounts.looks.items():
            for look in looks:
                if look.place in COPIES and look.asked != NONE:
                    self._stale(accounts, accounts.changes.get(key, []), look, patience, unsure)
        if self.contract.account_news_s is not None and not unrecorded(end):
            self._untold(accounts, self.contract.account_news_s, bound_ns, world)
            self._never_had(accounts)
        if unsure:
            self.doubts.append("a part of the record is missing, and with it perhaps the last changes of accounts")
            return
        quiet = _load_ended(world)
        for user in sorted({key[0] for key in accounts.looks}):
            self._agree(accounts, user, patience.due(max(quiet, accounts.touched.get(user, 0))))

    def _stale(
        self, accounts: Accounts, changes: list[Change], look: Look, patience: Patience, unsure: bool
    ) -> None:  # fmt: skip
        if unsure and look.digest not in {change.digest for change in changes}:
            return  # the look may show a change that is not on record
        due = [c for c in changes if c.yes and patience.due(c.t) < look.asked]
        if not due:
            return
        self.examined += 1
        newest = max(due, key=lambda c: (c.sent, c.rec))
        if look.digest not in still_possible(changes, due, look.t):
            late_ms = (look.asked - newest.t) // 1_000_000
            client = accounts.client(look.user)
            self.wrong("stale", newest.rec, look.rec, client=client, state=look.state, place=look.place, late=late_ms)

    def _untold(self, accounts: Accounts, within_s: float, bound_ns: int, world: World) -> None:
        patience = Patience(world, int(within_s * SECOND) + bound_ns)
        before = self.examined
        for socket in accounts.sockets:
            key = socket.user, int(State.PROFILE)
            changes, told = accounts.changes.get(key, []), [look for look in accounts.looks.get(key, []) if look.conn]
            for change in changes:
                due = patience.due(change.t)
                if not change.yes or socket.begin + bound_ns > change.sent or socket.end <= due:
                    continue
                self.examined += 1
                newer = {c.digest for c in changes if not c.no and (c.t >= change.sent or not c.yes)}
                here = (look for look in told if (look.rec >> REC_BITS, look.conn) == (socket.journal, socket.conn))
                if not any(change.sent <= look.t <= due and look.digest in newer for look in here):
                    late_ms = int(within_s * 1000)
                    self.wrong("untold", socket.rec, change.rec, client=accounts.client(socket.user), late=late_ms)
        self.facts = {"news": self.examined - before}

    def _never_had(self, accounts: Accounts) -> None:
        """Add as violations the pushed profiles that the account never had.

        The first pushed profile that the record does not explain is allowed: it may be the account's first.
        """
        for (user, state), looks in sorted(accounts.looks.items()):
            if state != State.PROFILE:
                continue
            known = {change.digest for change in accounts.changes.get((user, state), []) if not change.no}
            known |= {look.digest for look in looks if not look.conn}
            pushed = sorted((look for look in looks if look.conn), key=lambda look: (look.t, look.rec))
            strange = [look for look in pushed if look.digest not in known]
            for look in strange:
                if look.digest != strange[0].digest:
                    self.examined += 1
                    self.wrong("never-had", look.rec, client=look.client)

    def _agree(self, accounts: Accounts, user: int, due: int) -> None:
        """Compare the values of an account that both databases showed last, and add a violation if they differ.

        `due`: time (ns) after which the databases must agree; earlier differences are not examined.
        """
        for state in CONCERNED:
            looks = accounts.looks.get((user, state), [])
            pair = [_last(looks, place) for place in (Place.AUTH_DATABASE, Place.MAIN_DATABASE)]
            if pair[0] is None or pair[1] is None:
                continue
            auth, main = pair[0], pair[1]
            if state == State.PROFILE and not (auth.value or main.value):
                continue
            same = (min(auth.value, 2), auth.digest) == (min(main.value, 2), main.digest)
            if min(auth.asked, main.asked) <= due and not same:
                continue
            self.examined += 1
            if not same:
                self.wrong(_difference(auth, main), auth.rec, main.rec, client=accounts.client(user), state=state)


def _last(looks: list[Look], place: Place) -> Look | None:
    here = [look for look in looks if look.place == place]
    return max(here, key=lambda look: (look.asked, look.rec), default=None)


def _difference(auth: Look, main: Look) -> str:
    if auth.state == State.PROFILE and not main.value:
        return "missing"
    if auth.state == State.PROFILE and not auth.value:
        return "orphan"
    return "differs"


def _load_ended(world: World) -> int:
    """Return the latest time (ns) at which a journal recorded the start of the drain, 0 if none did yet.

    After this time no user signs up.
    """
    rows, _ = world.kept.of(Kind.PHASE)
    drained = rows["t"][rows["counter"] == int(Phase.DRAIN)]
    return int(drained.max()) if len(drained) else 0


class UniqueAccount(Together):
    """State of I42: each user has one account, even if their devices log in for the first time at once.

    Examined: users who logged in more than once, if their accounts were counted in the database of the auth service, or
    if the auth service stated their id at two logins or more.
    """

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: look for users with several accounts or ids."""
        accounts = _accounts(world)
        named = _named(world)
        raced = 0
        for user, logins in sorted(accounts.logins.items()):
            counted = _last(accounts.looks.get((user, State.PROFILE), []), Place.AUTH_DATABASE)
            several = counted is not None and counted.value > 1
            ids = named.get(user, {})
            if len(logins) > 1 and (counted is not None or sum(len(recs) for recs in ids.values()) > 1):
                self.examined += 1
                raced += _raced(logins)
            if several and counted is not None:
                self.wrong("accounts", counted.rec, client=accounts.client(user), rows=counted.value)
            elif len(ids) > 1 and not (UNEXPLAINED in ids and unrecorded(end)):
                self.wrong("names", *(recs[0] for recs in ids.values()), client=accounts.client(user))
        self.facts = {"raced": raced}


def _named(world: World) -> dict[int, dict[int, list[int]]]:
    """Return user -> {user whose id the auth service stated at a login: references of the IDENTITY records}.

    An id that no login explains counts as UNEXPLAINED. Left out are ids of another user of the run: check I15 judges
    them.
    """
    user_of = world.roster.user_of
    found: dict[int, dict[int, list[int]]] = {}
    for row, rec in rows_of(world.kept, Kind.IDENTITY):
        if row["counter"] == Place.AUTH and row["client"] < len(user_of) and row["aux"] != NONE:
            stated = row["aux"]
            user = int(user_of[row["client"]])
            whose = int(user_of[stated]) if 0 <= stated < len(user_of) else UNEXPLAINED
            if whose in (user, UNEXPLAINED):  # a user taken for another user of the run is I15's
                found.setdefault(user, {}).setdefault(whose, []).append(rec)
    return found


def _raced(logins: list[dict[str, int]]) -> bool:
    """Return whether two of the logins (LOGIN records) overlapped in time."""
    spans = sorted((row["t"] - max(row["aux"], 0) * 1000, row["t"]) for row in logins)
    return any(later[0] < earlier[1] for earlier, later in pairwise(spans))


SYNC = Described(
    id="I41",
    name="sync",
    title="Did both databases end up with the same accounts, and did changes arrive within the bound?",
    unit="accounts and changes",
    symptom="The databases disagree on accounts",
    fold=Sync,
    when=lambda contract: contract.sync_bound_s is not None,
    sentences={
        "missing": "{person} has an account, but the main database does not know it",
        "orphan": "the main database has an account of {person} that the auth database does not know",
        "differs": "the two databases differ about {person} ({state})",
        "stale": "{place} showed an old {state} of {person}, {late} ms after it had been changed",
        "untold": "{person} changed the profile, and an open connection of theirs did not receive it within {late} ms",
        "never-had": "{who} received a value of the own account that it never had",
    },
)
UNIQUE_ACCOUNT = Described(
    id="I42",
    name="unique-account",
    title="Has every user one account, although first logins raced?",
    unit="users who logged in more than once",
    symptom="Users have more than one account",
    fold=UniqueAccount,
    sentences={
        "accounts": "{person} has {rows} accounts",
        "names": "{person} logged in twice and was two different people",
    },
)
