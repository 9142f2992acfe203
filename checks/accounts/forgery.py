"""I31: no service of the platform accepts an artefact that the platform did not issue."""

from __future__ import annotations

from collections import defaultdict

from earwitness.checks.accounts.credentials import Request, Together, Token, credentials_of
from earwitness.checks.engine.fold import Described, End
from earwitness.checks.engine.wall_clock import WallClock, wall_clock_of
from earwitness.checks.engine.world import World


def holds_by_a_step(token: Token, until: int, clock: WallClock) -> bool:
    """Return whether a step of the wall clock may have made a forgery with wrong times valid on the platform's clock.

    False for a forgery whose times do not come from the tester's wall clock. `until`: time of the presentation (ns).
    """
    return token.own and (token.unproven(clock) or clock.moved(token.issued, until))


class Forgery(Together):
    """State of I31: no forged artefact is accepted, at any place, presented in any way.

    A control is a valid artefact that a client presents after forgeries, at the same place in the same way. A refused
    forgery counts as examined only if the next control was accepted, because a place that refuses everything proves
    nothing. A control that was refused after refused forgeries makes a verdict without violations UNKNOWN.
    """

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: look for accepted forgeries."""
        known, clock = credentials_of(world), wall_clock_of(world)
        forged = {name for name, token in known.tokens.items() if token.forged}
        beside: defaultdict[tuple[int, ...], list[Request]] = defaultdict(list)
        for request in known.requests:
            if request.control or request.name in forged:
                beside[request.journal, request.client, request.place, request.way].append(request)
        refused_controls = 0
        for requests in beside.values():
            waiting = 0
            for request in requests:
                if request.name in forged:
                    waiting += request.no
                    if request.yes:
                        self._accepted(known.tokens[request.name], request, clock)
                    continue
                self.examined += waiting if request.yes else 0
                refused_controls += request.no and waiting > 0
                waiting = 0
        if refused_controls:
            self.doubts.append(f"{refused_controls} valid controls were refused beside forgeries")

    def _accepted(self, token: Token, request: Request, clock: WallClock) -> None:
        if holds_by_a_step(token, request.t, clock):
            self.not_judged += 1
            return
        self.examined += 1
        facts = {"forgery": token.forged, "place": request.place, "artefact": token.kind}
        self.wrong("accepted", token.rec, request.rec, client=request.client, **facts)


FORGERY = Described(
    id="I31",
    name="forgery",
    title="Was nothing accepted that the platform had not issued?",
    unit="forged tokens presented",
    symptom="Forged tokens were accepted",
    fold=Forgery,
    sentences={
        "accepted": "{place} accepted a forged {artefact} of {person}: {forgery}",
    },
)
