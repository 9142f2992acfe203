"""I39: a rate budget belongs to one user: another address or token gives no further budget, and nobody else uses it."""

from __future__ import annotations

import numpy as np

from earwitness.checks.engine.fold import Described
from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.world import unpack
from earwitness.checks.resources.budget import Budget
from earwitness.checks.resources.charges import CERTAIN, DISGUISED, REFUSED
from earwitness.checks.resources.limits import Budgeted, device_of, overspent, plain, promises_budget, refusals, widest
from earwitness.checks.verdict import Finding, Verdict


class KeyIntegrity(Budgeted):
    """State of I39: requests in disguise get no further budget, and no user is charged for another.

    A request is in disguise if it claims another address, or presents another token than the user's first.

    *Widened*: all grants of a user together exceed the budget, and those without a disguise do not. *Charged*: a user
    was refused with budget left, after another user had used up theirs.

    Examined: answers to requests in disguise after the user's first refusal (fact `disguised`); and, once a user was
    refused with nothing left, the answers to users to whom that never happened (fact `neighbours`). Where no request
    was in disguise, only *charged* is judged.
    """

    def judge(self, budget: Budget, users: list[Array]) -> Verdict:
        """Implement `Budgeted.judge`: look for widened budgets, and for users charged for others."""
        attempts = violations = 0
        findings = []
        for charges in users:
            attempts += _in_disguise(charges)
            granted, beyond = charges[(charges["bits"] & CERTAIN) > 0], 0
            for part in self.between_steps(granted):
                if _exceeds(budget, part) and not _exceeds(budget, plain(part)):
                    excess, _, _ = overspent(budget, part)
                    beyond += int((excess > 0).sum())
                    findings.append(widest(self.roster, budget, part, "widened"))
            violations += beyond
            self.not_judged += not beyond and _exceeds(budget, granted) and not _exceeds(budget, plain(charges))
        neighbours, charged = self._neighbours(budget, users)
        doubtful = len(charged) if self.partial else 0
        charged = [] if doubtful else charged
        return self.conclude(
            self.found([*findings, *charged]),
            examined=attempts + neighbours,
            violations=violations + len(charged),
            unknown=self.doubts(doubtful),
            facts={"disguised": attempts, "neighbours": neighbours},
        )

    def _neighbours(self, budget: Budget, users: list[Array]) -> tuple[int, list[Finding]]:
        judged = [(charges, *refusals(budget, charges)) for charges in users]
        over = [
            (int(refused["end"][left < 1].min()), n) for n, (_, refused, left) in enumerate(judged) if (left < 1).any()
        ]
        examined, findings = 0, []
        abusers = {n for _, n in over}
        for n, (charges, refused, left) in enumerate(judged):
            since = min((at for at, other in over if other != n), default=None)
            if since is None:
                continue
            if n not in abusers:
                answered = (charges["bits"] & (CERTAIN | REFUSED)) > 0
                examined += int((answered & (charges["start"] > since)).sum())
            wrong = np.flatnonzero((left >= 1) & (refused["start"] > since))
            for k in self.spare(wrong, self.stood_still(refused["start"][wrong], refused["end"][wrong])):
                facts = {"client": device_of(self.roster, refused[k]), "left": int(left[k])}
                findings.append(Finding(what="charged", records=(unpack(int(refused[k]["rec"])),), facts=facts))
        return examined, findings


def _exceeds(budget: Budget, charges: Array) -> bool:
    return bool(len(charges)) and bool((overspent(budget, charges)[0] > 0).any())


def _in_disguise(charges: Array) -> int:
    refused = charges[(charges["bits"] & REFUSED) > 0]
    if not len(refused):
        return 0
    answered = (charges["bits"] & (CERTAIN | REFUSED)) > 0
    disguised = answered & ((charges["bits"] & DISGUISED) > 0)
    return int((disguised & (charges["start"] > refused["end"].min())).sum())


KEY_INTEGRITY = Described(
    id="I39",
    name="rate-key-integrity",
    title="Did no disguise widen a budget, and was no user charged for another?",
    unit="answers to disguised attempts",
    symptom="Disguises widened budgets, or charged others",
    fold=KeyIntegrity,
    when=promises_budget,
    sentences={
        "widened": "{who} was granted {granted} requests and messages within {within_ms} ms by other "
        "addresses or tokens; the budget allows {allowed}",
        "charged": "{who} was refused with at least {left} left of the budget, while others had used up theirs",
    },
)
