"""Defect of a budget that is smaller than promised."""

from __future__ import annotations

from collections.abc import Mapping

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import found_by_tests
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.limits import Decision, Limiter

PART = 10


@found_by_tests(
    "S22",
    "tenth-of-the-budget",
    "backend",
    breaks="I pasted a long text, and the app told me to slow down.",
    opportunity="one refusal that the budget does not justify",
)
class TenthOfTheBudget:
    """Defect that grants simultaneous messages and requests only up to a tenth of the burst.

    Opportunity: one refusal that the whole budget does not justify. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `take_many` by that of a limiter with a smaller burst and keys of its own."""
        limiter = backend.limiter
        self._chance, self._right = chance, limiter.take_many
        self._tight = Limiter(backend.redis, limiter.rate_per_s, limiter.burst / PART, prefix="rate:tight:").take_many
        vars(limiter)["take_many"] = backend.committer.steps.take_many = self.take_many

    async def take_many(self, wanted: Mapping[str, int]) -> dict[str, Decision]:
        """Implement `Limiter.take_many`: grant what the smaller budget allows, if the defect fires."""
        right, tight = await self._right(wanted), await self._tight(wanted)
        for subject, decision in tight.items():
            if decision.allowed < right[subject].allowed and self._chance.fires():
                self._chance.say(user=subject, refused=right[subject].allowed - decision.allowed, manifest=True)
                right[subject] = decision
        return right
