"""I36, I37: no user is granted more than the promised rate budget, or refused with budget left."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import FINDINGS, PENDING, Described, End, Folding
from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.wall_clock import NEVER, NOT_JUDGED, Step, wall_clock_of
from earwitness.checks.engine.world import View, World, unpack
from earwitness.checks.resources.budget import Budget, Uses
from earwitness.checks.resources.charges import CERTAIN, DISGUISED, POSSIBLE, REFUSED, ledger_of
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict

MS = 1_000_000
"""Nanoseconds in a millisecond."""
LACKS_CHARGES = "a part of the record is missing, and with it perhaps what {} refusals were charged for"


class Budgeted(Folding):
    """Base class of the checks that judge the charges on rate budgets (`charges.Ledger`). Subclasses implement `judge`.

    budget      budget that the contract promises, None: none
    partial     True: a part of the record is missing
    not_judged  number of suspected violations that a step of the wall clock may explain
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Read the budget from `contract`."""
        super().__init__(check, roster, contract)
        self.budget = Budget.of(contract)
        self.partial = False
        self.not_judged = 0
        self._steps: list[Step] = []

    def step(self, view: View) -> None:
        """Implement `Fold.step`: add the chunk to the shared ledger. No-op if the contract states no budget."""
        if self.budget is not None:
            ledger_of(view.world).take(view)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because budgets are judged at the end."""
        return self.conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: return the verdict of `judge`.

        UNKNOWN without a budget, or if it is not known how far the clocks of several hosts differ.
        """
        if self.budget is None:
            return self.conclude(unknown="the contract states no budget")
        clocks = end.clock_bound_ns()
        if clocks is None:
            return self.conclude(unknown="the journals come from several hosts, and their clocks were not compared")
        self.partial = end.partial
        self.not_judged, self._steps = 0, wall_clock_of(end.world).steps
        return self.judge(self.budget, list(by_user(ledger_of(end.world).charges(end.world, clocks))))

    def judge(self, budget: Budget, users: list[Array]) -> Verdict:
        """Return the verdict. Subclasses implement it. `users` holds the CHARGE rows of each user, sorted by start."""
        raise NotImplementedError

    def between_steps(self, charges: Array) -> Iterator[Array]:
        """Yield the charges of each time between two steps of the wall clock, as one array.

        Charges during a step are left out. The parts are judged separately, because a step may have filled a bucket.
        Without a step all charges are yielded as one array.
        """
        begin = -NEVER
        for step in self._steps:
            yield charges[(charges["start"] > begin) & (charges["end"] < step.start)]
            begin = max(begin, step.end)
        yield charges[charges["start"] > begin]

    def stood_still(self, start: Array, end: Array) -> Array:
        """Return for each time span (ns) whether a clock that was set back may have kept buckets from being filled.

        A platform may fill no bucket until its clock shows the time before the step again; after that a bucket needs
        `refill_ns` to be full. `start`, `end`: by span, as the result.
        """
        found = np.zeros(len(start), bool)
        assert self.budget is not None
        for step in self._steps:
            if step.by < 0:
                found |= (end >= step.start) & (start <= step.end - step.by + self.budget.refill_ns)
        return found

    def was_filled(self, end: Array) -> Array:
        """Return by time in `end` (ns) whether an earlier step forward of the clock may have filled the bucket."""
        first = min((step.start for step in self._steps if step.by > 0), default=NEVER)
        filled: Array = end >= first
        return filled

    def spare(self, rows: Array, stepped: Array) -> Array:
        """Return the entries of `rows` that no step of the wall clock may explain; count the others in `not_judged`.

        `stepped`: bool by entry, whether a step may explain it.
        """
        self.not_judged += int(stepped.sum())
        rest: Array = rows[~stepped]
        return rest

    def doubts(self, doubtful: int) -> str:
        """Return the reason for UNKNOWN, "" if there is none.

        `doubtful`: how many suspected violations missing records may explain. Those that a step of the wall clock may
        explain are counted in `not_judged`.
        """
        why = [LACKS_CHARGES.format(doubtful)] if doubtful else []
        return "; ".join([*why, *([NOT_JUDGED.format(self.not_judged)] if self.not_judged else [])])

    def found(self, findings: list[Finding]) -> list[Finding]:
        """Return the first FINDINGS findings, sorted by their records."""
        return sorted(findings, key=lambda finding: finding.records)[:FINDINGS]


def by_user(charges: Array) -> Iterator[Array]:
    """Return an iterator over arrays, one with the charges of each user. `charges` must be sorted by user."""
    cuts = np.flatnonzero(np.diff(charges["user"])) + 1
    return iter(np.split(charges, cuts) if len(charges) else [])


def device_of(roster: Roster, charge: Array) -> int:
    """Return the client number of the first device of the user of `charge`, one CHARGE row."""
    return list(roster.user_of).index(int(charge["user"]))


def overspent(budget: Budget, charges: Array) -> tuple[Array, Array, Array]:
    """Return (excess, first, size), three arrays by charge. `charges`: certain charges of one user.

    `excess`, `first`: as `Budget.excess` returns them; `size`: the sum of excess and burst, in tokens.
    """
    excess, first = budget.excess(charges["start"], charges["end"])
    return excess, first, excess + budget.burst


def widest(roster: Roster, budget: Budget, charges: Array, what: str) -> Finding:
    """Return a finding of kind `what` about the window that exceeds the budget by most.

    Its records are the window's first and last charge. `charges`: certain charges (CHARGE rows) of one user, not empty.
    """
    excess, first, _ = overspent(budget, charges)
    last = int(np.argmax(excess))
    begin, end = charges[first[last]], charges[last]
    inside = (charges["start"] >= begin["start"]) & (charges["end"] <= end["end"])
    length_ms = int(end["end"] - begin["start"]) // MS
    facts = {
        "client": device_of(roster, end),
        "granted": int(inside.sum()),
        "within_ms": length_ms,
        "allowed": int(budget.burst + budget.per_ns * length_ms * MS),
    }
    return Finding(what=what, records=(unpack(int(begin["rec"])), unpack(int(end["rec"]))), facts=facts)


def plain(charges: Array) -> Array:
    """Return the charges that were certainly granted to a user's own address and first token."""
    result: Array = charges[(charges["bits"] & (CERTAIN | DISGUISED)) == CERTAIN]
    return result


class NeverMore(Budgeted):
    """State of I36: no user is granted more than the budget in any window of time.

    Only certain charges count: acknowledged messages, and requests whose answer states what is left of the budget. A
    window contains the charges that were sent and answered inside it. Requests in disguise (another address, another
    token) are judged by I39. Examined: grants that end a window with more than half of the burst.
    """

    def judge(self, budget: Budget, users: list[Array]) -> Verdict:
        """Implement `Budgeted.judge`: look for windows that hold more than the budget."""
        examined, violations, findings = 0, 0, []
        for charges in users:
            granted = plain(charges)
            beyond = 0
            for part in self.between_steps(granted):
                excess, _, _ = overspent(budget, part)
                examined += int((excess > -budget.burst / 2).sum())
                beyond += int((excess > 0).sum())
                if (excess > 0).any():
                    findings.append(widest(self.roster, budget, part, "more"))
            violations += beyond
            self.not_judged += max(0, int((overspent(budget, granted)[0] > 0).sum()) - beyond)
        return self.conclude(self.found(findings), examined=examined, violations=violations, unknown=self.doubts(0))


def refusals(budget: Budget, charges: Array) -> tuple[Array, Array]:
    """Return (refusals that can be judged, least number of tokens that must have been left of the budget at each).

    `charges`: all CHARGE rows of one user. A refusal can be judged if it was sent after the state of the budget was
    known (`Uses.anchor_ns`).
    """
    refused = charges[(charges["bits"] & REFUSED) > 0]
    if not len(refused):
        return refused, np.zeros(0)
    uses = Uses.of(charges[(charges["bits"] & POSSIBLE) > 0], charges, budget)
    refused = refused[refused["start"] > uses.anchor_ns]
    return refused, budget.least_left(uses, refused["start"], refused["end"])


class NeverLess(Budgeted):
    """State of I37: no user is refused (429) while something must be left of the budget.

    The worst case is assumed: that everything that the user had sent by then was charged. Not judged: refusals that
    were sent before anything is known of the user's budget. Examined: all other refusals.
    """

    def judge(self, budget: Budget, users: list[Array]) -> Verdict:
        """Implement `Budgeted.judge`: look for refusals while at least one request was left of the budget."""
        examined, violations, doubtful, findings = 0, 0, 0, []
        for charges in users:
            refused, left = refusals(budget, charges)
            examined += len(refused)
            wrong = np.flatnonzero(left >= 1)
            if self.partial:
                doubtful += len(wrong)
                continue
            wrong = self.spare(wrong, self.stood_still(refused["start"][wrong], refused["end"][wrong]))
            violations += len(wrong)
            findings += [
                Finding(
                    what="less",
                    records=(unpack(int(refused[k]["rec"])),),
                    facts={"client": device_of(self.roster, refused[k]), "left": int(left[k])},
                )
                for k in wrong[:FINDINGS]
            ]
        unknown = self.doubts(doubtful)
        return self.conclude(self.found(findings), examined=examined, violations=violations, unknown=unknown)


def promises_budget(contract: Contract) -> bool:
    """Return whether the contract promises a budget, for `Described.when`."""
    return Budget.of(contract) is not None


NEVER_MORE = Described(
    id="I36",
    name="rate-never-more",
    title="Was no user granted more than the budget?",
    unit="grants",
    symptom="Users were granted more than their budget",
    fold=NeverMore,
    when=promises_budget,
    sentences={
        "more": "{who} was granted {granted} requests and messages within {within_ms} ms; the budget allows {allowed}",
    },
)
NEVER_LESS = Described(
    id="I37",
    name="rate-never-less",
    title="Was no user refused who had budget left?",
    unit="refusals",
    symptom="Users were refused although they had budget left",
    fold=NeverLess,
    when=promises_budget,
    sentences={
        "less": "{who} was refused for the budget with at least {left} left of it",
    },
)
