"""I32, I33: refresh tokens, login states, codes and tickets can be used only once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from earwitness.checks.accounts.credentials import (
    ONE_USE,
    SECOND,
    Credentials,
    Name,
    Request,
    Together,
    Token,
    credentials_of,
)
from earwitness.checks.engine.fold import Described, End
from earwitness.checks.engine.wall_clock import IN_FLIGHT_NS, WallClock, wall_clock_of
from earwitness.checks.engine.world import World
from earwitness.checks.history.record import NONE, Artefact, Kind, State


class Uses(Together):
    """Base class of I32 and I33: of all presentations of one artefact, one may be accepted.

    Subclasses implement `look`.
    """

    def once(self, token: Token, requests: Sequence[Request], grace_ns: int, clock: WallClock) -> Request | None:
        """Return the accepted presentation of an artefact that was answered first, None if none was accepted.

        Add each further accepted presentation as a violation. Of two that were in progress at the same time, one must
        be refused too. Examined: violations, and refused presentations.

        `requests`: all presentations of `token`. `grace_ns`: how long (ns) after the first answer a further
        presentation may be sent and accepted; 0: not at all.
        """
        accepted = sorted((r for r in requests if r.yes), key=lambda r: (r.t, r.rec))
        if not accepted:
            return None
        first = accepted[0]
        for request in accepted[1:]:
            if request.sent > first.t + grace_ns or grace_ns == 0:
                if grace_ns and request.sent <= first.t + grace_ns + clock.backward(first.sent, request.t):
                    self.not_judged += 1
                    continue
                self.wrong("twice", token.rec, first.rec, request.rec, client=request.client, artefact=token.kind)
                self.examined += 1
        self.examined += sum(r.no for r in requests)
        return first


class Refresh(Uses):
    """State of I32: a refresh token is good for one refresh, its reuse ends the session, and the user stays the same.

    A refresh returns tokens of the same user with the same permissions; this is not judged for users whose permissions
    were changed during the run. If the contract has `refresh_reuse_revokes`, a presentation that is refused because the
    token was used before ends the session: after the revocation bound all tokens of the session are refused.
    """

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: look for refresh tokens used twice, surviving sessions, and changed users."""
        known, clock = credentials_of(world), wall_clock_of(world)
        grace_ns = int(self.contract.refresh_grace_s * SECOND)
        reused: dict[Name, Request] = {}
        for token, requests in known.genuine():
            if token.kind != Artefact.REFRESH:
                continue
            if self.contract.refresh_single_use and (first := self.once(token, requests, grace_ns, clock)):
                for request in requests:
                    if self._is_reuse(token, first, request, grace_ns):
                        family = known.families[token.name]
                        if family not in reused or request.t < reused[family].t:
                            reused[family] = request
        if self.contract.refresh_reuse_revokes and self.contract.revocation_bound_s is not None:
            bound_ns += int(self.contract.revocation_bound_s * SECOND)
            for family, reuse in reused.items():
                self._punished(world, family, reuse, bound_ns)
        self._same_person(world, known)

    @staticmethod
    def _is_reuse(token: Token, first: Request, request: Request, grace_ns: int) -> bool:
        """Return whether `request` was probably refused because the token had been used before.

        True if it was refused, was answered after `first`, the first accepted presentation, had been sent, and was
        answered before the token's deadline. With a grace period (`grace_ns`), only if it was sent after that period.
        """
        in_time = request.t > first.sent and (token.deadline == NONE or request.t < token.deadline)
        return request.no and in_time and (grace_ns == 0 or request.sent > first.t + grace_ns)

    def _punished(self, world: World, family: Name, reuse: Request, bound_ns: int) -> None:
        known, clock = credentials_of(world), wall_clock_of(world)
        issued = known.tokens[reuse.name].t - IN_FLIGHT_NS
        for token in known.members[family]:
            for request in known.of.get(token.name, ()) if not token.forged else ():
                if request.sent <= reuse.t + bound_ns:
                    continue
                if request.yes and clock.moved(issued, request.t):  # `reuse` may have been refused for its age
                    self.not_judged += 1
                    continue
                held = token.deadline == NONE or request.t < token.deadline
                self.examined += request.yes or (request.no and held)
                if request.yes:
                    self.wrong("unpunished", reuse.rec, token.rec, request.rec, client=request.client)

    def _same_person(self, world: World, known: Credentials) -> None:
        changed = {known.user(author) for author in _authors(world, State.PERMISSIONS)}
        for members in known.members.values():
            access = sorted(
                (t for t in members if t.kind == Artefact.ACCESS and not t.forged), key=lambda t: (t.t, t.rec)
            )
            if known.user(members[0].name[0]) in changed:
                continue
            for token in access[1:]:
                self.examined += 1
                if token.digest != access[0].digest:
                    self.wrong("changed", access[0].rec, token.rec, client=token.name[0])


class SingleUse(Uses):
    """State of I33: a login's state, a code and a ticket are good for one use.

    A state is valid only for the client that began the login. When a state is accepted, the code that belongs to it is
    used too: this counts as a presentation of the code. An artefact of which no presentation was accepted proves
    nothing.
    """

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: look for artefacts accepted twice, and for states accepted from another client."""
        known, clock = credentials_of(world), wall_clock_of(world)
        for token, requests in known.genuine():
            if token.kind not in ONE_USE or token.kind == Artefact.REFRESH:
                continue
            through = known.of.get((token.name[0], token.belongs_to), ()) if token.kind == Artefact.CODE else ()
            self.once(token, [*requests, *(r for r in through if r.yes)], 0, clock)
            for request in requests if token.kind == Artefact.STATE else ():
                if request.client != token.name[0]:
                    self.examined += request.yes or request.no
                    if request.yes:
                        self.wrong("elsewhere", token.rec, request.rec, client=request.client, owner=token.name[0])


def _authors(world: World, state: State) -> Iterator[int]:
    """Yield the client number named by each record of an attempt to change state of the kind `state`."""
    writes, _ = world.kept.of(Kind.WRITE)
    yield from writes["author"][writes["proc"] == int(state)].tolist()


REFRESH = Described(
    id="I32",
    name="refresh-rotation",
    title="Was every refresh token good for one refresh by the same person, and its reuse punished?",
    unit="uses of refresh tokens",
    symptom="Refresh tokens worked more than once, or for others",
    fold=Refresh,
    when=lambda contract: contract.refresh_single_use,
    sentences={
        "twice": "{who} used one refresh token twice, and both times got new tokens",
        "unpunished": "{person}'s session still works, although one of its refresh tokens had been used twice",
        "changed": "{person}'s refreshed token names another user, or other permissions, than the one before",
    },
)
SINGLE_USE = Described(
    id="I33",
    name="single-use",
    title="Was every state, code and ticket accepted once, and only from its owner?",
    unit="uses of states, codes and tickets",
    symptom="Login states, codes or tickets worked twice, or for others",
    fold=SingleUse,
    sentences={
        "twice": "{who} used one {artefact} twice, and both times it was accepted",
        "elsewhere": "{person}'s browser finished a login that another browser had begun",
    },
)
