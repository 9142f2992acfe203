"""I29, I30: every service refuses an artefact after its deadline, and after its revocation."""

from __future__ import annotations

from collections.abc import Sequence

from earwitness.checks.accounts.credentials import ONE_USE, SECOND, Request, Revocation, Together, Token, credentials_of
from earwitness.checks.engine.fold import Described, End
from earwitness.checks.engine.wall_clock import forgets, wall_clock_of
from earwitness.checks.engine.world import World
from earwitness.checks.history.record import NONE


def proven(token: Token, request: Request, requests: Sequence[Request]) -> bool:
    """Return whether the refusal `request` counts as examined: the same place had accepted the artefact before.

    Refusals of an artefact that is good for one use always count, because it need not have been accepted before.
    `requests`: all presentations of the artefact.
    """
    return token.kind in ONE_USE or any(r.yes and r.place == request.place and r.t <= request.sent for r in requests)


class Deadline(Together):
    """State of I29: no request is accepted that presents an artefact and was sent after its deadline plus the leeway.

    The time of sending decides. A refusal counts as examined if the artefact was not revoked, and if the same place had
    accepted the artefact before or the artefact is good for one use (see `proven`).
    """

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: look for artefacts that were accepted after their deadline."""
        known, clock = credentials_of(world), wall_clock_of(world)
        ends = known.ends(self.contract)
        leeway_ns = int(self.contract.token_leeway_s * SECOND) + bound_ns
        for token, requests in known.genuine():
            if token.deadline == NONE:
                continue
            for request in requests:
                if request.sent <= token.deadline + leeway_ns:
                    continue
                if request.yes:
                    if request.sent <= token.lasts_to(clock, token.deadline + leeway_ns, request.t):
                        self.not_judged += 1
                        continue
                    self.examined += 1
                    late_ms = (request.sent - token.deadline) // 1_000_000
                    self.wrong("late", token.rec, request.rec, client=request.client, late=late_ms,
                               place=request.place, artefact=token.kind)  # fmt: skip
                elif request.no and token.name not in ends and proven(token, request, requests):
                    self.examined += 1


class RevocationBound(Together):
    """State of I30: a request that presents a revoked artefact is refused, if sent after the revocation bound.

    The bound begins when the revocation is confirmed. Not judged: revocations that were not confirmed, and forged
    artefacts. Examined: accepted requests; and refused ones, if the artefact had not expired, and if the same place had
    accepted the artefact before or the artefact is good for one use (see `proven`).
    """

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: look for revoked artefacts that were accepted after the bound."""
        known, bound_s = credentials_of(world), self.contract.revocation_bound_s
        if bound_s is None:
            return
        for name, revocation in known.ends(self.contract).items():
            token = known.tokens[name]
            if not token.forged:
                self._judge(world, token, revocation, revocation.t + int(bound_s * SECOND) + bound_ns)

    def _judge(self, world: World, token: Token, revocation: Revocation, from_ns: int) -> None:
        known, clock = credentials_of(world), wall_clock_of(world)
        requests = known.of.get(token.name, [])
        for request in requests:
            if request.sent <= from_ns:
                continue
            if request.yes:
                if forgets(clock, revocation.asked, request.t):
                    self.not_judged += 1
                    continue
                self.examined += 1
                late_ms = (request.sent - revocation.t) // 1_000_000
                self.wrong(
                    "revoked", token.rec, revocation.rec, request.rec, client=request.client, late=late_ms,
                    place=request.place, artefact=token.kind,
                )  # fmt: skip
            elif request.no and proven(token, request, requests):
                self.examined += token.deadline == NONE or request.t < token.deadline


DEADLINE = Described(
    id="I29",
    name="deadline",
    title="Was nothing accepted after its deadline?",
    unit="expired tokens presented",
    symptom="Tokens were accepted after their deadline",
    fold=Deadline,
    sentences={
        "late": "{place} accepted {person}'s {artefact} {late} ms after its deadline",
    },
)
REVOCATION_BOUND = Described(
    id="I30",
    name="revocation-bound",
    title="Was what had been revoked refused everywhere within the bound?",
    unit="tokens presented",
    symptom="Revoked tokens were accepted",
    fold=RevocationBound,
    when=lambda contract: contract.revocation_bound_s is not None,
    sentences={
        "revoked": "{place} accepted {person}'s {artefact} {late} ms after it had been revoked",
    },
)
