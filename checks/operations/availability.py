"""I28: users stay connected and served during a rolling deployment."""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import helper, kernel
from earwitness.checks.engine.fault_windows import NEVER, FaultLog, Window, overlaps, widened
from earwitness.checks.engine.fold import FINDINGS, Described, End, Folding
from earwitness.checks.engine.tables import REC_BITS, Array, Int
from earwitness.checks.engine.world import View, World, grown, unpack
from earwitness.checks.history.kinds import (
    K_CONNECT,
    K_DISCONNECT,
    K_FAIL,
    K_INFO,
    K_INVOKE,
    K_OK,
    K_PHASE,
    K_PROBE,
    K_REQUEST,
)
from earwitness.checks.history.record import FaultKind, Flag, Phase
from earwitness.checks.roster import Roster
from earwitness.checks.tester.health import LAG_BOUND_MS, lag_p99_ms
from earwitness.checks.verdict import Finding, Verdict

DEPLOYMENT = (int(FaultKind.RESTART), int(FaultKind.REPLACE))
"""Types of faults that count as deployments: a service is restarted gracefully, or replaced by a new process."""
OWN = int(Flag.OWN)
DECIDED = int(Flag.ACCEPTED | Flag.REFUSED)
"""Flags of a REQUEST that the platform accepted or refused; a request with neither counts as an error."""
DRAIN = int(Phase.DRAIN)
ABNORMAL = 1006
"""Close code on record for a connection that ended without a close frame."""
REFUSAL, SERVER_ERROR = 400, 500
"""Lowest codes of a refusal and of a server error, as in HTTP."""
SLICE_NS = 100_000_000
"""Width in ns of the slices of time in which good and bad answers are counted."""
UNSERVED, LOST = 0, 1
"""Values of `what` in SPELL: a wait that was too long; a connection that the platform ended."""

PERSON = np.dtype(
    [("first", "<i8"), ("last", "<i8"), ("since", "<i8"), ("rec", "<i8"), ("lost", "<i8"), ("lost_rec", "<i8"),
     ("row", "<i8"), ("asking", "u1")]
)  # fmt: skip
"""State of one client in one journal; times are ns + 1, 0 is none.

first, last     times of its first and last sendings
since, rec      since when it waits to be served, and the record at which that began
row             index + 1 of its LOST row that has no end yet, 0: none
asking          1: it waits for the answer to a message, so a new connection alone does not end the wait
lost, lost_rec  unused
"""

SPELL = np.dtype(
    [("what", "u1"), ("client", "<u4"), ("start", "<i8"), ("end", "<i8"), ("code", "<i8"), ("rec", "<i8"),
     ("end_rec", "<i8")]
)  # fmt: skip
"""Time for which a client was not served, from `start` to `end` (ns).

what          UNSERVED: a wait that was longer than promised; LOST: the platform closed its connection
end           when it was served, or connected again; NEVER: it was not connected again
code          close code of a LOST row
rec, end_rec  records at which the time began and ended, end_rec 0: none
"""

SLICE = np.dtype([("slice", "<i8"), ("good", "<i8"), ("bad", "<i8")])
"""Number of good and bad answers in one slice of time; `slice`: its beginning in units of SLICE_NS."""


@helper
def served(person: Array, client: Int, t: Int, rec: Int, bound: Int, spells: Array, used: Array) -> None:
    """End a client's wait at `t`, and store it as an UNSERVED row of `spells` if it was longer than `bound` (ns).

    `person`: PERSON of the client, updated; `t`: ns + 1, as the times in `person`; `rec`: reference of the record that
    ends the wait; `spells`: SPELL rows, `used[0]` of them in use.
    """
    if person["since"] > 0 and t - person["since"] > bound:
        spell = spells[used[0]]
        used[0] += 1
        spell["what"] = UNSERVED
        spell["client"] = client
        # Times of a PERSON are + 1, so that 0 means that nobody waits.
        spell["start"] = person["since"] - 1
        spell["end"] = t - 1
        spell["rec"] = person["rec"]
        spell["end_rec"] = rec
    person["since"] = 0
    person["asking"] = 0


@kernel
def availability_step(
    records: Array, journal: Int, people: Array, bound: Int, spells: Array, slices: Array, used: Array, drain: Array
) -> None:
    """Record the waits and lost connections of each client, and count answers by slices of time.

    `bound`: the contract's, in ns. Updated are `people` (PERSON by client of this journal), `spells` (SPELL) and
    `slices` (SLICE of this chunk) with the numbers of their rows in `used`, and `drain` (earliest time of DRAIN, ns).

    A wait begins with a sending or a lost connection. It ends with an OK, a refusal of the platform (400 to 499) or, if
    no message waits for an answer, a new connection. A server error does not end it, because the user is still not
    served. So one state by client is enough, and only waits beyond `bound` become rows. When deployments and other
    faults were on is known at the end; therefore answers are counted in slices of 100 ms instead of by deployment.
    Records of a journal come nearly in time order, so only the latest slice is compared and nothing is searched;
    `Availability.step` adds equal slices together.
    """
    for i in range(len(records)):
        r = records[i]
        kind = np.int64(r["kind"])
        good, bad = 0, 0
        if kind == K_PHASE and r["counter"] == DRAIN:
            drain[0] = min(drain[0], r["t"])
        elif kind == K_PROBE:
            bad = 1 if r["counter"] == 0 or r["counter"] >= SERVER_ERROR else 0
            good = 1 - bad
        elif kind == K_REQUEST:
            good = 1 if r["flags"] & DECIDED else 0
            bad = 1 - good
        if kind in (K_INVOKE, K_OK, K_FAIL, K_INFO, K_CONNECT, K_DISCONNECT) and r["client"] < len(people):
            client = np.int64(r["client"])
            person = people[client]
            t = r["t"] + 1
            rec = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
            if kind == K_INVOKE:
                person["first"] = t if person["first"] == 0 else min(person["first"], t)
                person["last"] = max(person["last"], t)
                person["asking"] = 1
                # The wait begins with the first sending that was not served; further ones do not shorten it.
                if person["since"] == 0:
                    person["since"] = t
                    person["rec"] = rec
            elif kind == K_OK:
                good = 1
                served(person, client, t, rec, bound, spells, used)
            elif kind == K_FAIL:
                bad = 1 if r["aux"] >= SERVER_ERROR and r["aux"] < 1000 else 0
                good = 1 - bad
                # A refusal serves the user; after a server error the user still waits.
                if r["aux"] >= REFUSAL and r["aux"] < SERVER_ERROR:
                    served(person, client, t, rec, bound, spells, used)
            elif kind == K_CONNECT:
                if person["row"] > 0:
                    spells[person["row"] - 1]["end"] = r["t"]
                    spells[person["row"] - 1]["end_rec"] = rec
                    person["row"] = 0
                # Nothing was asked while the connection was lost, so to be connected again is to be served.
                if person["since"] > 0 and not person["asking"]:
                    served(person, client, t, rec, bound, spells, used)
            elif kind == K_DISCONNECT and not r["flags"] & OWN:
                spell = spells[used[0]]
                used[0] += 1
                spell["what"] = LOST
                spell["client"] = client
                spell["start"] = r["t"]
                spell["end"] = NEVER
                spell["code"] = r["counter"]
                spell["rec"] = rec
                person["row"] = used[0]
                if person["since"] == 0:
                    person["since"] = t
                    person["rec"] = rec
        if good + bad > 0:
            at = r["t"] // SLICE_NS
            if used[1] == 0 or slices[used[1] - 1]["slice"] != at:
                slices[used[1]]["slice"] = at
                slices[used[1]]["good"] = 0
                slices[used[1]]["bad"] = 0
                used[1] += 1
            slices[used[1] - 1]["good"] += good
            slices[used[1] - 1]["bad"] += bad


class Availability(Folding):
    """State of I28: while a service is restarted gracefully or replaced, every user continues to be served.

    Violations are a connection that is cut without a close code, a client that is not connected again in time, a wait
    to be served that is too long, and too large a share of errors among the answers. They count only while no other
    fault is on. Not a violation: what DRAIN cut off; a connection that the tester closed; waits of a user who sends no
    request. Examined: devices that sent something during a deployment, and connections that were cut.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Read the longest permitted wait (ns) from `contract.unavailable_s`. Nothing is judged if that is None."""
        super().__init__(check, roster, contract)
        self._bound = _ns(contract.unavailable_s)
        self._people: dict[int, Array] = {}
        self._spells = np.zeros(256, SPELL)
        self._slices = np.zeros(256, SLICE)
        self._answers: dict[int, list[int]] = {}
        self._used = np.zeros(2, np.int64)
        self._drain = np.array([NEVER], np.int64)
        self._faults = FaultLog()

    def step(self, view: View) -> None:
        """Implement `Fold.step`: record waits, lost connections and answers. Do nothing without a bound."""
        if self._bound is None:
            return
        self._faults.step(view)
        people = self._people.setdefault(view.journal, np.zeros(len(self.roster.user_of), PERSON))
        self._spells = grown(self._spells, int(self._used[0]) + len(view.records))
        self._slices = grown(self._slices, len(view.records))
        self._used[1] = 0
        state = self._spells, self._slices, self._used, self._drain
        availability_step(view.records, view.journal, people, self._bound, *state)
        for at, good, bad in self._slices[: int(self._used[1])].tolist():
            answers = self._answers.setdefault(at, [0, 0])
            answers[0] += good
            answers[1] += bad

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because waits are judged at the end."""
        return self.conclude(unknown="waits are decided at the end")

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: judge waits, lost connections and errors during deployments.

        Waits that seem too long make the verdict UNKNOWN instead, if the tester's loop lag was above its bound.
        """
        if self._bound is None:
            return self.conclude(unknown="the contract states no bound")
        clocks, lag = end.clock_bound_ns(), lag_p99_ms(end)
        if clocks is None:
            return self.conclude(unknown="the journals come from several hosts, and their clocks were not compared")
        # A finding needs a deployment that was certainly on, and any other fault that may have been on excuses it.
        windows = widened(self._faults.windows(_deployment), -clocks)
        others = widened(self._faults.windows(lambda window: not _deployment(window)), clocks)
        spells = self._all_spells()
        cut = spells[(spells["what"] == LOST) & ~overlaps(others, spells["start"], spells["start"])]
        cut = cut[overlaps(windows, cut["start"], cut["start"])]
        bare = cut[(cut["code"] == ABNORMAL) | (cut["code"] == 0)]
        found = [_finding("cut", spell) for spell in bare]
        lag_bound = float(end.facts.get("lag_bound_ms", LAG_BOUND_MS))
        late = self._late(cut, clocks) + self._unserved(spells, windows, others, clocks) if windows else []
        examined = len(cut) + self._talkers(windows)
        ratio, errors, answers = self._error_ratio(windows, others)
        facts = {"deployments": len(windows), "cut": len(cut), "errors": errors, "answers": answers}
        if errors and ratio > self.contract.deploy_error_ratio:
            found.append(Finding(what="errors", facts={"low": errors, "high": answers}))
        why = ""
        if late and lag is not None and lag > lag_bound:
            why = f"loop lag p99 was {lag:.0f} ms (bound {lag_bound:.0f} ms); {len(late)} waits seem too long"
            late = []
        found += late
        return self.conclude(found[:FINDINGS], examined=examined, violations=len(found), unknown=why, facts=facts)

    def _all_spells(self) -> Array:
        """Return all SPELL rows sorted by `rec`, with waits that have not ended as if they ended at DRAIN."""
        spells = self._spells[: int(self._used[0])].copy()
        drain = int(self._drain[0])
        open_ones = []
        assert self._bound is not None
        for people in self._people.values():
            for client in np.flatnonzero(people["since"] > 0):
                person = people[client]
                if drain < NEVER and drain + 1 - person["since"] > self._bound:
                    open_ones.append((UNSERVED, client, person["since"] - 1, drain, 0, person["rec"], 0))
        spells = np.concatenate([spells, np.array(open_ones, SPELL)])
        return spells[np.argsort(spells["rec"], kind="stable")]

    def _late(self, cut: Array, clocks: int) -> list[Finding]:
        """Return a finding for each LOST row of `cut` whose client was not back within `contract.reconnect_s`.

        A wait must be longer than that by more than `clocks`, the bound of the hosts' clocks in ns. Without the promise
        the list is empty.
        """
        bound = _ns(self.contract.reconnect_s)
        if bound is None:
            return []
        ended = np.minimum(cut["end"], int(self._drain[0]))
        slow = cut[(ended < NEVER) & (ended - cut["start"] > bound + clocks)]
        return [_finding("away", spell) for spell in slow]

    def _unserved(self, spells: Array, windows: list[Window], others: list[Window], clocks: int) -> list[Finding]:
        assert self._bound is not None
        waits = spells[spells["what"] == UNSERVED]
        waits = waits[waits["end"] - waits["start"] > self._bound + clocks]
        disturbed = overlaps(others, waits["start"], waits["end"])
        return [
            _finding("unserved", spell) for spell in waits[overlaps(windows, waits["start"], waits["end"]) & ~disturbed]
        ]

    def _talkers(self, windows: list[Window]) -> int:
        """Return the number of clients whose time from first to last sending overlaps a deployment."""
        return sum(
            int(overlaps(windows, people["first"] - 1, people["last"] - 1)[people["first"] > 0].sum())
            for people in self._people.values()
        )

    def _error_ratio(self, windows: list[Window], others: list[Window]) -> tuple[float, int, int]:
        """Return (share of errors 0 … 1, errors, answers) while deployments were on and no other fault was."""
        starts = np.array(sorted(self._answers), np.int64) * SLICE_NS
        ends = starts + SLICE_NS - 1
        inside = overlaps(windows, starts, ends) & ~overlaps(others, starts, ends)
        rows = [self._answers[int(start) // SLICE_NS] for start in starts[inside]]
        good, bad = sum(row[0] for row in rows), sum(row[1] for row in rows)
        return (bad / (good + bad) if good + bad else 0.0), bad, good + bad


def _deployment(window: Window) -> bool:
    """Return whether the fault of `window` is a graceful restart or replacement of a service.

    A restart of a database is none, because it is an outage.
    """
    return window.kind in DEPLOYMENT and window.place > 0


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1e9)


def _finding(what: str, spell: Array) -> Finding:
    records = tuple(unpack(int(spell[name])) for name in ("rec", "end_rec") if spell[name])
    took = 0 if spell["end"] == NEVER else (int(spell["end"]) - int(spell["start"])) // 1_000_000
    return Finding(what=what, records=records, facts={"client": int(spell["client"]), "low": took})


AVAILABILITY = Described(
    id="I28",
    name="deploy-availability",
    title="Were all users served while services were replaced?",
    unit="devices in use and connections cut while services were replaced",
    symptom="Users were cut off or not served while services were replaced",
    fold=Availability,
    when=lambda contract: contract.unavailable_s is not None,
    sentences={
        "cut": "{who} was disconnected without a close code while a service was replaced",
        "away": "{who} was disconnected while a service was replaced, and did not reconnect in time "
        "({low} ms; 0: never)",
        "unserved": "{who} waited {low} ms to be served while a service was replaced",
        "errors": "{low} of {high} answers were errors while services were replaced",
    },
)
