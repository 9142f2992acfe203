"""Ends of sessions, by a logout or a ban; what was held before is tried once more when it must be refused."""

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
"""A token that is to be revoked lives so long: it must not have expired when its revocation is tried."""


class Leaving(Behaviour):
    """Logouts. In tasks: `log_out`."""

    needs = (Tokens,)

    def begin(self) -> None:
        """Find the tokens; nothing is to be tried later yet."""
        self.tokens = the(Tokens, self.user.behaviours)
        self._errands: list[gevent.Greenlet] = []

    def log_out(self) -> None:
        """A session that is shown everywhere and then ended; its tokens are tried again after the bound."""
        self.user.begin_action()
        with self.tokens.turn:
            self.tokens.log_in_again(HOLDS_S)
            old = self.tokens.now
            self.tokens.show_everywhere(old)
            self.revoke(old)
            self.log_in_anew(old)
        self.try_later(old)

    def try_later(self, login: Login) -> None:
        """Show what must be refused by then at all places, a little after the revocation bound, if the run still goes
        on. Its end does not wait: in the meantime tokens and with them sockets would end, and nobody would be there to
        hear the last messages."""
        bound_s = self.part.target.contract.revocation_bound_s
        if bound_s is not None:
            self._errands = [errand for errand in self._errands if not errand.dead]
            self._errands.append(gevent.spawn_later(bound_s + LATER_S, self._try_in_time, login))

    def _try_in_time(self, login: Login) -> None:
        if not self.part.draining:
            self.try_everywhere(login)

    def try_everywhere(self, login: Login) -> None:
        with self.user.recording():
            for place, way in self.tokens.ability.places:
                self.tokens.shown_at(login.access, place, way)
            if login.refresh is not None:
                self.tokens.recorded(
                    self.tokens.ability.refresh(login.credentials), Place.AUTH, Way.BODY, login.refresh
                )

    def stay_away(self) -> None:
        """Give up what was to be tried later."""
        gevent.killall(self._errands)

    def log_in_anew(self, ended: Login) -> None:
        """After the end of a session; if nobody can log in now, whatever needs a token next tries again."""
        try:
            self.tokens.log_in_again()
        except FlowError as error:
            self.tokens.login = ended.over()
            self.user.failed("LOGIN", "log in anew", error)

    def revoke(self, login: Login) -> None:
        """Log out, and say so whatever became of it."""

        def saw(exchange: Exchange) -> None:
            self.revoked(exchange, login.access.name[1])

        with self.user.recording(), suppress(FlowError):
            self.user.quietly(observed(self.tokens.ability.log_out(login.credentials), saw))

    def revoked(self, exchange: Exchange, number: int) -> None:
        """The end of a session, or with 0 of all that the user holds."""
        write_revoke(
            self.part.journal, self.user.number, Place.AUTH, sent_ns=exchange.sent_ns, received_ns=exchange.received_ns,
            status=exchange.status, name=(self.user.number, number),
        )  # fmt: skip
