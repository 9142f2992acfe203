"""Tokens, requests and revocations of a history, and the base class of the checks that judge them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import FINDINGS, Described, End, Folding
from earwitness.checks.engine.rare import Kept
from earwitness.checks.engine.tables import REC_BITS
from earwitness.checks.engine.wall_clock import IN_FLIGHT_NS, NOT_JUDGED, WallClock
from earwitness.checks.engine.world import View, World, unpack
from earwitness.checks.history.record import CONTROL, NONE, Artefact, Flag, Kind
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict

Name: TypeAlias = tuple[int, int]
"""Name of an artefact: (client number of its owner, number of the artefact among those of that client)."""
ONE_USE = (Artefact.REFRESH, Artefact.TICKET, Artefact.STATE, Artefact.CODE)
"""Kinds of artefacts that are good for one use."""
RATE_LIMITED = (429, 4429)
"""HTTP status and close code that refuse a request because the rate budget is used up, not because of its artefact."""
NEVER = 1 << 62
SECOND = 1_000_000_000


class Token(NamedTuple):
    """Artefact (token, ticket, state or code) that the platform issued or the tester forged; times in ns.

    kind        an `Artefact`
    forged      number of the forgery in the target's list; 0: the platform issued the artefact
    deadline    when it expires, NONE: not known
    belongs_to  number of the artefact that it was issued with or replaces, NONE: none
    digest      CRC-32 of the user that it names and the permissions that it grants
    t           when it was recorded
    rec         reference of its TOKEN record
    own         True: its times come from the tester's wall clock alone
    """

    name: Name
    kind: int
    forged: int
    deadline: int
    belongs_to: int
    digest: int
    t: int
    rec: int
    own: bool

    def unproven(self, clock: WallClock) -> bool:
        """Return whether the artefact's times come from a clock of the tester that may have been wrong."""
        return self.own and clock.unproven(self.rec >> REC_BITS, self.t)

    @property
    def issued(self) -> int:
        """Return the earliest time (ns) at which the artefact may have been issued, to find clock steps since then.

        -NEVER for an artefact of the platform without a known deadline: it may have been recorded long after its issue,
        when it was first presented.
        """
        return self.t - IN_FLIGHT_NS if self.own or self.deadline != NONE else -NEVER

    def lasts_to(self, clock: WallClock, limit: int, until: int) -> int:
        """Return the time (ns) until which a platform whose clock was stepped may accept the artefact.

        `limit`: time (ns) until which it is valid without a step; `until`: time of the presentation (ns). NEVER if the
        artefact's recorded times may be wrong.
        """
        return NEVER if self.unproven(clock) else limit + clock.backward(self.issued, until)

    def may_be_refused(self, clock: WallClock, until: int, leeway: int) -> bool:
        """Return whether steps of the wall clock may explain a refusal that was answered by `until` (ns).

        On the platform's clock the deadline may have passed earlier, or the time of issue may lie in the future.
        `leeway`: how far (ns) the platform lets clocks differ.
        """
        ahead = clock.forward(self.issued, until)
        early = ahead > 0 and (self.deadline == NONE or until + ahead >= self.deadline - leeway)
        return self.unproven(clock) or early or clock.backward(self.issued, until) > leeway


class Request(NamedTuple):
    """Request, and the artefact that it presented.

    client, place  client that sent it, and the `Place` that received it
    way            `Way` in which the artefact was presented
    control        True: a valid artefact was presented for comparison with a forgery
    name           name of the artefact; its second number is 0 if no artefact was presented
    sent, t        when it was sent and answered, in ns
    status         HTTP status or close code, 0: no answer
    yes            the request was accepted
    no             it was refused, and not because the rate budget was used up. Neither `yes` nor `no`: unknown, or
                   refused because the budget was used up
    conn           number of the connection in the journal, 0: HTTP
    rec            reference of the REQUEST record
    """

    client: int
    place: int
    way: int
    control: bool
    name: Name
    sent: int
    t: int
    status: int
    yes: bool
    no: bool
    conn: int
    rec: int

    @property
    def journal(self) -> int:
        """Return the number of the journal that recorded the request."""
        return self.rec >> REC_BITS


class Revocation(NamedTuple):
    """Revocation of the artefact `name`. If the second number of `name` is 0: of all artefacts of the client's user.

    `asked`, `t`: when it was requested and answered (ns). `done`: it was confirmed. `refused`: it was refused, without
    effect. Neither: its outcome is unknown. `rec`: reference of the REVOKE record.
    """

    name: Name
    asked: int
    t: int
    done: bool
    refused: bool
    rec: int


class Credentials:
    """All tokens, requests and revocations on record.

    tokens       name of an artefact -> the artefact
    families     name of an artefact -> the name that all artefacts of its session share
    members      name of a session (a value of `families`) -> its artefacts
    held         user number -> the user's artefacts
    requests     all requests
    of           name of an artefact -> the requests that presented it
    revocations  all revocations
    """

    def __init__(self, kept: Kept, roster: Roster) -> None:
        """Index the TOKEN, REQUEST and REVOKE records of `kept` by artefact, by family and by user."""
        self._user_of = roster.user_of
        self.tokens: dict[Name, Token] = {}
        self.members: defaultdict[Name, list[Token]] = defaultdict(list)
        self.held: defaultdict[int, list[Token]] = defaultdict(list)
        self.requests = [_request(row, rec) for row, rec in rows_of(kept, Kind.REQUEST)]
        self.of: defaultdict[Name, list[Request]] = defaultdict(list)
        self.revocations = [_revocation(row, rec) for row, rec in rows_of(kept, Kind.REVOKE)]
        for row, rec in rows_of(kept, Kind.TOKEN):
            token = _token(row, rec)
            self.tokens.setdefault(token.name, token)
        self.families = self._grouped()
        for token in self.tokens.values():
            self.members[self.families[token.name]].append(token)
            self.held[self.user(token.name[0])].append(token)
        for request in self.requests:
            self.of[request.name].append(request)

    def user(self, client: int) -> int:
        """Return the number of a client's user; -1 if the roster does not have the client."""
        return int(self._user_of[client]) if client < len(self._user_of) else -1

    def _grouped(self) -> dict[Name, Name]:
        """Return name of an artefact -> the smallest name of an artefact of the same session."""
        above = {name: name for name in self.tokens}

        def top(name: Name) -> Name:
            while above[name] != name:
                name = above[name]
            return name

        for token in self.tokens.values():
            other = (token.name[0], token.belongs_to)
            if other in above:
                one, two = sorted((top(token.name), top(other)))
                above[two] = one
        return {name: top(name) for name in above}

    def genuine(self) -> Iterator[tuple[Token, list[Request]]]:
        """Yield (artefact, requests that presented it) for every artefact that the platform issued."""
        for token in self.tokens.values():
            if not token.forged:
                yield token, self.of.get(token.name, [])

    def revoked(self, revocation: Revocation, contract: Contract) -> list[Token]:
        """Return the artefacts that a revocation makes invalid.

        A ban revokes all artefacts of the user that were recorded before the ban was requested. A logout revokes the
        artefact and the tickets obtained with it; if the contract has `logout_ends_session`, all of the session.
        """
        owner, number = revocation.name
        if number == 0:
            user = self.user(owner)
            return [token for token in self.held.get(user, ()) if user >= 0 and token.t < revocation.asked]
        family = self._session(revocation.name)
        if contract.logout_ends_session:
            return family
        return [
            t for t in family if t.name == revocation.name or (t.kind == Artefact.TICKET and t.belongs_to == number)
        ]

    def ends(self, contract: Contract) -> dict[Name, Revocation]:
        """Return name of an artefact -> the first confirmed revocation that made it invalid."""
        first: dict[Name, Revocation] = {}
        for revocation in sorted((r for r in self.revocations if r.done), key=lambda r: (r.t, r.rec)):
            for token in self.revoked(revocation, contract):
                first.setdefault(token.name, revocation)
        return first

    def doubted(self) -> dict[Name, int]:
        """Return name of an artefact -> the time (ns) from which it may be invalid.

        It is the earliest time at which a logout of its session or a ban of its user was requested and not refused, or
        a refresh token of its session was sent for the second time.
        """
        since: dict[Name, int] = {}
        for revocation in self.revocations:
            if not revocation.refused:
                number = revocation.name[1]
                gone = self._session(revocation.name) if number else self.held.get(self.user(revocation.name[0]), [])
                _earliest(since, gone, revocation.asked)
        for token, requests in self.genuine():
            if token.kind == Artefact.REFRESH and len(requests) > 1:
                _earliest(since, self._session(token.name), sorted(request.sent for request in requests)[1])
        return since

    def _session(self, name: Name) -> list[Token]:
        return self.members.get(self.families.get(name, name), [])


def _earliest(since: dict[Name, int], tokens: list[Token], t: int) -> None:
    for token in tokens:
        since[token.name] = min(t, since.get(token.name, t))


def rows_of(kept: Kept, kind: Kind) -> Iterator[tuple[Any, int]]:
    """Yield the stored records of `kind` as (dictionary of the record's fields, record reference)."""
    records, recs = kept.of(kind)
    names = records.dtype.names or ()
    for values, rec in zip(records.tolist(), recs.tolist(), strict=True):
        yield dict(zip(names, values, strict=True)), rec


def _token(row: dict[str, int], rec: int) -> Token:
    name = (row["client"], row["counter"])
    return Token(
        name, row["attempt"], row["proc"], row["seq"], row["aux"], row["digest"], row["t"], rec,
        bool(row["flags"] & Flag.OWN),
    )  # fmt: skip


def _request(row: dict[str, int], rec: int) -> Request:
    flags, status = row["flags"], row["size"]
    no = bool(flags & Flag.REFUSED) and status not in RATE_LIMITED
    return Request(
        row["client"], row["attempt"], row["proc"] & 63, bool(row["proc"] & CONTROL), (row["author"], row["counter"]),
        row["seq"], row["t"], status, bool(flags & Flag.ACCEPTED), no, row["conn"], rec,
    )  # fmt: skip


def _revocation(row: dict[str, int], rec: int) -> Revocation:
    name = (row["author"], row["counter"])
    flags = row["flags"]
    return Revocation(name, row["seq"], row["t"], bool(flags & Flag.ACCEPTED), bool(flags & Flag.REFUSED), rec)


def credentials_of(world: World) -> Credentials:
    """Return the credentials of all records read so far. All checks share the object, until more records are stored."""
    return world.kept.once("credentials", lambda: Credentials(world.kept, world.roster))


UNCOMPARED = "the journals come from several hosts, and their clocks were not compared"


class Together(Folding):
    """Base class of checks that evaluate all stored records together. Subclasses implement `look`.

    Before the end, the verdict is UNKNOWN if there are several journals, because how far their clocks differ is known
    only at the end.

    KEPT_ONLY: True if `look` reads only stored records (`World.kept`): then `peek` evaluates again only after more
    records were stored.
    """

    KEPT_ONLY = True

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without findings, doubts and facts. `look` adds to them; they are reset before each call of `look`."""
        super().__init__(check, roster, contract)
        self.doubts: list[str] = []
        self.found: list[Finding] = []
        self.facts: dict[str, int] = {}
        self.not_judged = 0

    def step(self, view: View) -> None:
        """No-op: World already stores the records that `look` reads."""

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: evaluate the records stored so far; UNKNOWN if there are several journals."""
        bound_ns = 0 if world.journals <= 1 else None
        if not self.KEPT_ONLY:
            return self._verdict(world, bound_ns)
        return world.kept.once(f"{self.check.id} {bound_ns}", lambda: self._verdict(world, bound_ns))

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: evaluate all records by `look`."""
        return self._verdict(end.world, end.clock_bound_ns(), end)

    def _verdict(self, world: World, bound_ns: int | None, end: End | None = None) -> Verdict:
        self.examined, self.found, self.doubts, self.facts, self.not_judged = 0, [], [], {}, 0
        if bound_ns is None:
            return self.conclude(unknown=UNCOMPARED)
        self.look(world, bound_ns, end)
        if self.not_judged:
            self.doubts.append(NOT_JUDGED.format(self.not_judged))
        self.found.sort(key=lambda finding: finding.records[-1:])
        doubt = "; ".join(self.doubts)
        return self.conclude(self.found[:FINDINGS], violations=len(self.found), unknown=doubt, facts=self.facts)

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Judge the records of `world`: add to `examined`, `found`, `doubts`, `facts` and `not_judged`.

        Subclasses implement this method. `doubts`: sentences, each of which makes a verdict without violations UNKNOWN.
        `not_judged`: number of suspected violations that a step of the wall clock may explain. `bound_ns`: by how many
        ns times of two journals may differ. `end`: None before the end of the record.
        """
        raise NotImplementedError

    def wrong(self, what: str, *recs: int, **facts: int) -> None:
        """Add a violation to `found`. `what`: key of its sentence in `Described.sentences`.

        `recs`: references of the records that prove the violation, in the order in which they are shown; repeated ones
        are shown once. `facts`: numbers that the sentence names.
        """
        self.found.append(Finding(what=what, records=tuple(unpack(rec) for rec in dict.fromkeys(recs)), facts=facts))
