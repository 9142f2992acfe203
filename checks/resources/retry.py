"""I38: the waiting times and remainders of rate budgets that the platform states are true."""

from __future__ import annotations

import math

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import FINDINGS, Described
from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.world import unpack
from earwitness.checks.history.record import NONE
from earwitness.checks.resources.budget import CLOCK_RATE, Budget, Uses
from earwitness.checks.resources.charges import CERTAIN, NEVER, POSSIBLE, REFUSED, STATES
from earwitness.checks.resources.limits import Budgeted, device_of
from earwitness.checks.verdict import Finding, Verdict

SLACK_MS = 2
"""Tolerance in ms, because Retry-After and the times of sending are rounded."""


class RetryAfter(Budgeted):
    """State of I38: refusals state when to try again, and that and the stated remainder of the budget are true.

    - *Missing*: a refusal does not state when to try again.
    - *Longer*: it states a longer time than the budget needs to allow one more request, rounded up to whole seconds.
    - *Broken*: a user who retried after the stated time is refused again. If other requests of the user may have been
      charged since the first refusal, the user must have waited for these too.
    - *Overstated*, *understated*: an answer states that more is left of the budget than can be, or less than must be.

    Examined: refusals that have to state a time, and retries after the stated time. UNKNOWN if there was no such retry.
    """

    def judge(self, budget: Budget, users: list[Array]) -> Verdict:
        """Implement `Budgeted.judge`: look for wrong waiting times and wrong remainders.

        Facts: `returns`, retries after the stated time; `stated`, answers that state what is left.
        """
        examined = came_back = violations = stated = doubtful = 0
        findings: list[Finding] = []
        for charges in users:
            bad, returns = _broken(budget, charges)
            asked = charges[(charges["bits"] & STATES) > 0]
            over, under, judged = _misstated(budget, charges)
            if self.partial:
                doubtful += len(bad) + len(under)
                bad, under = bad[:0], under[:0]
            early = np.array([refused["start"] for refused, _ in bad], np.int64)
            late = np.array([again["end"] for _, again in bad], np.int64)
            stepped = self.stood_still(early, late)
            self.not_judged += int(stepped.sum())
            bad = [pair for pair, spared in zip(bad, stepped, strict=True) if not spared]
            longer = asked[asked["wait"] > longest_ms(budget)]
            for what, rows in (
                ("missing", asked[asked["wait"] == NONE]),
                ("longer", self.spare(longer, self.stood_still(longer["start"], longer["end"]))),
                ("overstated", self.spare(over, self.was_filled(over["end"]))),
                ("understated", self.spare(under, self.stood_still(under["start"], under["end"]))),
            ):
                violations += len(rows)
                findings += [self._one(what, row) for row in rows[:FINDINGS]]
            violations += len(bad)
            findings += [self._one("broken", again, refused) for refused, again in bad[:FINDINGS]]
            examined += len(asked) + returns
            came_back += returns
            stated += judged
        silent = "no user retried after the stated time" if examined and not came_back else ""
        return self.conclude(
            self.found(findings),
            examined=examined,
            violations=violations,
            unknown=self.doubts(doubtful) or silent,
            facts={"returns": came_back, "stated": stated},
        )

    def _one(self, what: str, row: Array, *before: Array) -> Finding:
        records = tuple(unpack(int(charge["rec"])) for charge in (*before, row))
        facts = {"client": device_of(self.roster, row), "left": int(row["left"]), "wait_ms": int(row["wait"])}
        return Finding(
            what=what, records=records, facts=facts | ({"wait_ms": int(before[0]["wait"])} if before else {})
        )


def longest_ms(budget: Budget) -> float:
    """Return the longest permitted Retry-After in ms: the time until the budget allows one more request.

    It is rounded up to whole seconds, at least 1 s, and SLACK_MS is added.
    """
    need_s = budget.window_ns / 1e9 if budget.window_ns is not None else 1 / (budget.per_ns * 1e9)
    return max(1, math.ceil(need_s)) * 1000.0 + SLACK_MS


def _broken(budget: Budget, charges: Array) -> tuple[list[tuple[Array, Array]], int]:
    """Return ([(refusal, refused retry after the stated time)], number of retries after the stated time).

    `charges`: all CHARGE rows of one user. A retry counts only if the user also waited for the tokens of other requests
    that may have been charged since the refusal. If a window instead of a bucket is promised, a retry counts only if
    there was no such other request.
    """
    uses = charges[(charges["bits"] & POSSIBLE) > 0]
    ends = np.sort(uses["end"])
    attempts = charges[(charges["bits"] & (CERTAIN | REFUSED)) > 0]
    found: dict[int, tuple[Array, Array]] = {}
    returns: set[int] = set()
    for refused in charges[((charges["bits"] & REFUSED) > 0) & (charges["wait"] != NONE)]:
        due = int(refused["end"]) + int((refused["wait"] + SLACK_MS) * 1e6 * (1 + CLOCK_RATE))
        k = int(np.searchsorted(attempts["start"], due, "left"))
        if k == len(attempts):
            continue
        again = attempts[k]
        touching = np.searchsorted(uses["start"], again["end"], "right") - np.searchsorted(
            ends, refused["start"], "left"
        )
        others = int(touching) - bool(again["bits"] & POSSIBLE)
        refill_ns = others / budget.per_ns * (1 + CLOCK_RATE) if budget.per_ns else others * NEVER
        if again["start"] < due + refill_ns:
            continue
        returns.add(k)
        if again["bits"] & REFUSED:
            found[k] = (refused, again)
    return [found[k] for k in sorted(found)], len(returns)


def _misstated(budget: Budget, charges: Array) -> tuple[Array, Array, int]:
    """Return (overstated, understated, number of answers that state what is left of the budget).

    `overstated`, `understated`: CHARGE rows of answers that state more than can be left, or less than must be left.
    `charges`: all CHARGE rows of one user.
    """
    said = charges[charges["left"] != NONE]
    granted = (said["bits"] & CERTAIN) > 0
    if not len(said):
        return said, said, 0
    certain = charges[(charges["bits"] & CERTAIN) > 0]
    most = budget.most_left(certain["start"], certain["end"], said["start"], said["end"])
    over = np.where(granted, said["left"] > np.maximum(most - 1, 0), said["left"] > 0)
    uses = Uses.of(charges[(charges["bits"] & POSSIBLE) > 0], charges, budget)
    least = budget.least_left(uses, said["start"], said["end"])
    under = granted & (said["start"] > uses.anchor_ns) & (said["left"] < np.floor(least))
    return said[over], said[under], len(said)


def _says_so(contract: Contract) -> bool:
    return contract.retry_after and Budget.of(contract) is not None


RETRY_AFTER = Described(
    id="I38",
    name="retry-after-truthful",
    title="Did refusals state a true time to retry?",
    unit="refusals and returns",
    symptom="Refusals stated no time to retry, or a wrong one",
    fold=RetryAfter,
    when=_says_so,
    sentences={
        "missing": "{who} was refused for the budget without a time to retry",
        "longer": "{who} was refused with {wait_ms} ms until a retry, longer than the budget can need",
        "broken": "{who} was refused, retried after the {wait_ms} ms that the refusal had stated, and was "
        "refused again",
        "overstated": "{who} got an answer that states {left} left of the budget, more than possible",
        "understated": "{who} got an answer that states {left} left of the budget, fewer than there must be",
    },
)
