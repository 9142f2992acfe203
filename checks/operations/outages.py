"""I35: a valid token is never refused, and an outage of the auth service has only the promised effects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from earwitness.checks.accounts.credentials import Credentials, credentials_of
from earwitness.checks.accounts.forgery import holds_by_a_step
from earwitness.checks.contract import Contract
from earwitness.checks.engine.fault_windows import FaultLog, Window, widened
from earwitness.checks.engine.fold import FINDINGS, LACKS_FAULTS, Described, End, Folding
from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.wall_clock import NEVER, NOT_JUDGED, WallClock, wall_clock_of
from earwitness.checks.engine.world import View, World
from earwitness.checks.history.kinds import K_DISCONNECT, K_REQUEST, K_WRITE
from earwitness.checks.history.record import CONTROL, NONE, Artefact, Flag, Place, State
from earwitness.checks.roster import Roster
from earwitness.checks.tester.health import LAG_BOUND_MS, lag_p99_ms
from earwitness.checks.verdict import Finding, Verdict

JUDGED = np.zeros(256, bool)
"""Kinds of records that are stored, as bool by kind."""
JUDGED[[K_DISCONNECT, K_REQUEST, K_WRITE]] = True
"""True for ends of connections, requests, and changes of accounts."""
OWN, ACCEPTED, REFUSED = int(Flag.OWN), int(Flag.ACCEPTED), int(Flag.REFUSED)
WAY = 63
"""Bits of `proc` of a REQUEST that hold its `Way` (`checks.history.record`); 0: no token was to be presented."""
UNAUTHORIZED = (401, 4401)
"""Codes that reject a token: of HTTP, and of a WebSocket close."""
BROKEN = (1006, 1011, 1012, 1014)
"""Close codes with which a platform ends a session that should have continued."""
UNAVAILABLE = 503
SERVER_ERROR = 500
ENTRANCES = (int(Place.AUTH), int(Place.FRONTEND))
"""Places at which a login begins: the auth service and the frontend."""
SERVED = (int(Place.BACKEND), int(Place.SOCKET), int(Place.FRONTEND))
"""Places that must serve existing sessions while the auth service is away."""


class Outages(NamedTuple):
    """Windows of time with faults, as far as the bound of the hosts' clocks allows.

    certain  times in which the auth service was certainly away
    auth     times in which the auth service may have been away
    others   times in which another fault may have been on
    after    time in ns for which a fault that has ended may still have effects
    """

    certain: list[Window]
    auth: list[Window]
    others: list[Window]
    after: int

    def felt(self, start: int, end: int) -> bool:
        """Return whether a fault, or an effect of one, may be on at some time from `start` to `end` (ns)."""
        return any(w.start <= end and start <= w.end + self.after for w in (*self.auth, *self.others))

    def auth_is_away(self, start: int, end: int) -> bool:
        """Return whether auth is certainly away from `start` to `end` (ns), whether or not other faults are on."""
        return any(w.start <= start and end <= w.end for w in self.certain)

    def only_auth(self, start: int, end: int) -> Window | None:
        """Return the window in which auth is certainly away, if that contains `start` to `end` (ns).

        None if there is none, or if another fault, or an effect of one, may be on.
        """
        if any(w.start <= end and start <= w.end + self.after for w in self.others):
            return None
        return next((w for w in self.certain if w.start <= start and end <= w.end), None)


class OutageBehaviour(Folding):
    """State of I35: a valid token is never refused, and an outage of auth has only the promised effects.

    During an outage of auth sessions continue, new logins are refused quickly and clearly (503 with Retry-After), and
    no forgery is accepted. Afterwards everything is served again.

    Not a violation: no answer at all (its cause is not known); 429; errors that another fault explains; logins in the
    first `outage_notice_s` of an outage; a refusal of a token that was revoked, whose owner was deactivated, or that
    ends meanwhile.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without records."""
        super().__init__(check, roster, contract)
        self._kept: list[tuple[int, Array]] = []
        self._faults = FaultLog()

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store faults, requests, lost connections and changes of accounts."""
        self._faults.step(view)
        judged = view.rare[JUDGED[view.rare["kind"]]]
        if len(judged):
            self._kept.append((view.journal, judged))

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because outages are judged at the end."""
        return self.conclude(unknown="outages are judged at the end")

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: judge each request and each lost connection."""
        if self.contract.outage_answer_s is None:
            return self.conclude(unknown="the contract promises nothing about outages")
        clocks = end.clock_bound_ns()
        if clocks is None:
            return self.conclude(unknown="the journals come from several hosts, and their clocks were not compared")
        rows = sorted(
            ((journal, int(r["index"]), r) for journal, records in self._kept for r in records), key=lambda row: row[:2]
        )
        auth = self._faults.windows(lambda w: w.place == Place.AUTH)
        others = self._faults.windows(lambda w: w.place != Place.AUTH)
        outages = Outages(
            widened(auth, -clocks), widened(auth, clocks), widened(others, clocks), int(self.contract.recovery_s * 1e9)
        )
        tokens = _Tokens(rows, self.contract, credentials_of(end.world), wall_clock_of(end.world))
        sitting = _Sitting(self.contract, outages, tokens, clocks)
        for journal, index, record in rows:
            if record["kind"] == K_REQUEST:
                sitting.request(journal, index, record)
            elif record["kind"] == K_DISCONNECT:
                sitting.disconnect(journal, index, record)
        found, doubts = _proven(sitting.found, end)
        if sitting.not_judged:
            doubts.append(NOT_JUDGED.format(sitting.not_judged))
        return self.conclude(
            found[:FINDINGS], examined=sitting.examined, violations=len(found), unknown="; ".join(doubts),
            facts=sitting.counts,
        )  # fmt: skip


def _proven(found: list[Finding], end: End) -> tuple[list[Finding], list[str]]:
    """Return (findings that are certain, reasons for doubt about the others).

    If a part of the record is missing, only accepted forgeries are certain. If the tester's loop lag was above its
    bound, slow refusals are in doubt.
    """
    if end.partial:
        proven = [finding for finding in found if finding.what == "believed"]
        rest = len(found) - len(proven)
        return proven, [LACKS_FAULTS.format(f"{rest} refusals and errors")] if rest else []
    slow, lag = sum(finding.what == "slow" for finding in found), lag_p99_ms(end)
    lag_bound = float(end.facts.get("lag_bound_ms", LAG_BOUND_MS))
    if not slow or lag is None or lag <= lag_bound:
        return found, []
    why = f"loop lag p99 was {lag:.0f} ms (bound {lag_bound:.0f} ms); {slow} refusals seem slow"
    return [finding for finding in found if finding.what != "slow"], [why]


class _Tokens:
    """Validity of access tokens over time, as the records of issuing, revoking and changes of accounts show it."""

    def __init__(
        self, rows: list[tuple[int, int, Array]], contract: Contract, known: Credentials, clock: WallClock
    ) -> None:
        self._clock = clock
        self._leeway = int(contract.token_leeway_s * 1e9)
        self._known, self._doubted = known, known.doubted()
        self._changed = {int(r["author"]) for _, _, r in rows if r["kind"] == K_WRITE and r["proc"] == State.ACTIVE}

    def forged(self, owner: int, number: int) -> bool:
        token = self._known.tokens.get((owner, number))
        return token is not None and token.forged > 0

    def holds(self, owner: int, number: int, until: int) -> bool:
        """Return whether a token is certainly valid until `until` (ns); `owner` and `number` name it.

        It is an access token that was issued and has not ended by then, not even by a clock that is ahead by the
        contract's leeway. Nothing on record may have revoked it, and its owner's account was never enabled or disabled.
        """
        token = self._known.tokens.get((owner, number))
        if token is None or token.forged or token.kind != Artefact.ACCESS or owner in self._changed:
            return False
        ended = token.deadline != NONE and until >= token.deadline - self._leeway
        return not ended and self._doubted.get(token.name, until + 1) > until

    def stepped(self, owner: int, number: int, until: int) -> bool:
        """Return whether steps of the wall clock may explain that a valid token was refused, or a forgery accepted.

        `owner`, `number`: the token. `until`: time of the answer in ns.
        """
        token = self._known.tokens.get((owner, number))
        if token is None:
            return self._clock.moved(-NEVER, until)
        if token.forged:
            return holds_by_a_step(token, until, self._clock)
        return token.may_be_refused(self._clock, until, self._leeway)


class _Sitting:
    """Comparison of each request and each lost connection with what the contract promises.

    found       findings, in the order of the records
    examined    number of requests compared
    not_judged  number of suspected violations that a step of the wall clock may explain
    counts      facts for the verdict: valid tokens, those in outages, logins in outages
    """

    def __init__(self, contract: Contract, outages: Outages, tokens: _Tokens, clocks: int) -> None:
        self._clocks = clocks
        # Since an outage that began up to twice the clocks' bound before the moment from which it is certain.
        self._session = int(contract.outage_session_s * 1e9) - 2 * clocks
        self._contract, self._outages, self._tokens = contract, outages, tokens
        self.found: list[Finding] = []
        self.examined = self.not_judged = 0
        self.counts = {"valid_tokens": 0, "in_outages": 0, "logins_in_outages": 0}

    def request(self, journal: int, index: int, r: Array) -> None:
        start, end, status, place = int(r["seq"]), int(r["t"]), int(r["size"]), int(r["attempt"])
        if r["counter"] and (
            r["proc"] & CONTROL or self._tokens.holds(int(r["author"]), int(r["counter"]), end + self._clocks)
        ):
            what = self._with_token(r, start, end, status, place)
        elif self._tokens.forged(int(r["author"]), int(r["counter"])) and self._outages.auth_is_away(start, end):
            self.examined += 1
            what = "believed" if r["flags"] & ACCEPTED else ""
        elif not r["counter"] and not r["proc"] & WAY and place in ENTRANCES:
            what = self._login(r, start, end, status)
        else:
            return
        by_its_times = what in ("rejected", "shut-out", "believed")
        if by_its_times and self._tokens.stepped(int(r["author"]), int(r["counter"]), end):
            self.not_judged += 1
        elif what:
            took = (end - start) // 1_000_000
            facts = {"client": int(r["client"]), "low": took, "high": status}
            self.found.append(Finding(what=what, records=((journal, index),), facts=facts))

    def _with_token(self, r: Array, start: int, end: int, status: int, place: int) -> str:
        outage = self._outages.only_auth(start, end)
        self.examined += 1
        self.counts["valid_tokens"] += 1
        self.counts["in_outages"] += outage is not None
        rejected = status in UNAUTHORIZED and r["flags"] & REFUSED
        failed = status >= SERVER_ERROR and not r["flags"] & (ACCEPTED | REFUSED)
        if outage is not None and place in SERVED:
            sheltered = start - outage.start < self._session
            return "shut-out" if sheltered and (rejected or failed) else ""
        if self._outages.felt(start, end):
            return ""
        return "rejected" if rejected else "failing" if failed else ""

    def _login(self, r: Array, start: int, end: int, status: int) -> str:
        outage = self._outages.only_auth(start, end)
        if outage is None:
            if self._outages.felt(start, end):
                return ""
            self.examined += 1
            return "failing" if status >= SERVER_ERROR else ""
        if start - outage.start < self._contract.outage_notice_s * 1e9:
            return ""
        if not status:
            return ""  # without an answer the outcome is not known
        self.examined += 1
        self.counts["logins_in_outages"] += 1
        if r["flags"] & ACCEPTED:
            return ""
        assert self._contract.outage_answer_s is not None
        if end - start > self._contract.outage_answer_s * 1e9:
            return "slow"
        return "" if status == UNAVAILABLE and r["aux"] > 0 else "unclear"

    def disconnect(self, journal: int, index: int, r: Array) -> None:
        if r["flags"] & OWN or r["counter"] not in BROKEN:
            return
        outage = self._outages.only_auth(int(r["t"]), int(r["t"]))
        if outage is not None and int(r["t"]) - outage.start < self._session:
            facts = {"client": int(r["client"]), "high": int(r["counter"])}
            self.found.append(Finding(what="cut", records=((journal, index),), facts=facts))


OUTAGE = Described(
    id="I35",
    name="outage-behaviour",
    title="Was no valid token refused, and did an outage of auth affect only new logins?",
    unit="requests, logins and connections",
    symptom="An outage of auth affected more than new logins",
    fold=OutageBehaviour,
    when=lambda contract: contract.outage_answer_s is not None,
    sentences={
        "rejected": "{who} was refused ({high}) with a valid token, while no fault was on",
        "failing": "{who} was answered {high} while no fault was on (any more)",
        "shut-out": "{who} was answered {high} with a valid token while auth was away",
        "slow": "{who} waited {low} ms for the refusal of a login ({high}) while auth was away",
        "unclear": "{who} was answered {high} to a login while auth was away, not 503 with Retry-After",
        "believed": "{who} was accepted ({high}) with a forged token while auth was away",
        "cut": "the connection of {who} was closed ({high}) while auth was away",
    },
)
