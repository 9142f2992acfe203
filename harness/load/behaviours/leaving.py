"""Behaviour `Leaving`: ends of sessions by logout.

The tokens are presented again when the platform must refuse them.
"""

from __future__ import annotations

from contextlib import suppress

import gevent

from earwitness.checks.history.record import Place, Way
from earwitness.harness.client.exchange import Exchange, observed
from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.statements import write_revoke
from earwitness.harness.load.behaviour import Behaviour, the
from earwitness.harness.load.behaviours.tokens import Tokens
from earwitness.harness.load.wallet import Login

LATER_S = 0.2
HOLDS_S = 60.0
"""Lifetime in seconds of a token that will be revoked, so that the token does not expire before it is presented."""


class Leaving(Behaviour):
    """Behaviour that logs the user out and in again. Method for tasks: `log_out`."""

    needs = (Tokens,)

    def begin(self) -> None:
        """Implement `Behaviour.begin`: store the user's `Tokens`; no try of revoked tokens is scheduled yet."""
        self.tokens = the(Tokens, self.user.behaviours)
        self._errands: list[gevent.Greenlet] = []

    def log_out(self) -> None:
        """Log in again, present the token at all places, log out, and log in again.

        The tokens of the ended session are presented once more after the revocation bound.
        """
        self.user.begin_action()
        with self.tokens.turn:
            self.tokens.log_in_again(HOLDS_S)
            old = self.tokens.now
            self.tokens.show_everywhere(old)
            self.revoke(old)
            self.log_in_anew(old)
        self.try_later(old)

    def try_later(self, login: Login) -> None:
        """Schedule one try of the revoked tokens of `login` at all places, shortly after the revocation bound.

        No-op if the contract states no bound. The try is left out if the run is ending by then. The end of the run does
        not wait for the try: meanwhile tokens would expire and sockets with them, and no client would receive the last
        messages.
        """
        bound_s = self.part.target.contract.revocation_bound_s
        if bound_s is not None:
            self._errands = [errand for errand in self._errands if not errand.dead]
            self._errands.append(gevent.spawn_later(bound_s + LATER_S, self._try_in_time, login))

    def _try_in_time(self, login: Login) -> None:
        if not self.part.draining:
            self.try_everywhere(login)

    def try_everywhere(self, login: Login) -> None:
        """Present the access token of `login` at all places, and try to refresh with its refresh token.

        Both are recorded.
        """
        with self.user.recording():
            for place, way in self.tokens.ability.places:
                self.tokens.shown_at(login.access, place, way)
            if login.refresh is not None:
                self.tokens.recorded(
                    self.tokens.ability.refresh(login.credentials), Place.AUTH, Way.BODY, login.refresh
                )

    def stay_away(self) -> None:
        """Implement `Behaviour.stay_away`: cancel the scheduled tries."""
        gevent.killall(self._errands)

    def log_in_anew(self, ended: Login) -> None:
        """Log in after the session `ended` is over.

        If the login fails, a failure is counted, and the next action that needs a token logs in.
        """
        try:
            self.tokens.log_in_again()
        except FlowError as error:
            self.tokens.login = ended.over()
            self.user.failed("LOGIN", "log in anew", error)

    def revoke(self, login: Login) -> None:
        """Log out the session of `login`, and record the answer or its absence. Never raises FlowError."""

        def saw(exchange: Exchange) -> None:
            self.revoked(exchange, login.access.name[1])

        with self.user.recording(), suppress(FlowError):
            self.user.quietly(observed(self.tokens.ability.log_out(login.credentials), saw))

    def revoked(self, exchange: Exchange, number: int) -> None:
        """Record the end of a session by `exchange`.

        `number`: number of the session's access token, 0 for all tokens of the user.
        """
        write_revoke(
            self.part.journal, self.user.number, Place.AUTH, sent_ns=exchange.sent_ns, received_ns=exchange.received_ns,
            status=exchange.status, name=(self.user.number, number),
        )  # fmt: skip
