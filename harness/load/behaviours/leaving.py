"""A user whose sessions end, by a logout or a ban; what was held before is tried once more when it must be refused."""

from __future__ import annotations

from contextlib import suppress

import gevent

from earwitness.checks.history.record import Place, Way
from earwitness.harness.client.exchange import Exchange, observed
from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.statements import write_revoke
from earwitness.harness.load.behaviours.tokens import TokenUser
from earwitness.harness.load.behaviours.wallet import Login

LATER_S = 0.2
HOLDS_S = 60.0
"""A token that is to be revoked lives so long: it must not have expired when its revocation is tried."""


class Leaver(TokenUser):
    """In tasks beside those of TokenUser: `log_out`."""

    abstract = True

    def __init__(self, environment: object) -> None:
        super().__init__(environment)
        self._errands: list[gevent.Greenlet] = []

    def log_out(self) -> None:
        """A session that is shown everywhere and then ended; its tokens are tried again after the bound."""
        self._go_on_or_stop()
        with self._turn:
            self._log_in_again(HOLDS_S)
            old = self.now
            self._show_everywhere(old)
            self._revoke(old)
            self._log_in_anew(old)
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
            self._try_everywhere(login)

    def _try_everywhere(self, login: Login) -> None:
        with self._recording():
            for place, way in self.tokens.places:
                self._shown_at(login.access, place, way)
            if login.refresh is not None:
                self.told(self.tokens.refresh(login.credentials), Place.AUTH, Way.BODY, login.refresh)

    def stay_away(self) -> None:
        super().stay_away()
        gevent.killall(self._errands)

    def _log_in_anew(self, ended: Login) -> None:
        """After the end of a session; if nobody can log in now, whatever needs a token next tries again."""
        try:
            self._log_in_again()
        except FlowError as error:
            self.login = ended.over()
            self._failed("LOGIN", "log in anew", error)

    def _revoke(self, login: Login) -> None:
        """Log out, and say so whatever became of it."""

        def saw(exchange: Exchange) -> None:
            self._revoked(exchange, login.access.name[1])

        with self._recording(), suppress(FlowError):
            self._quietly(observed(self.tokens.log_out(login.credentials), saw))

    def _revoked(self, exchange: Exchange, number: int) -> None:
        """The end of a session, or with 0 of all that the user holds."""
        write_revoke(
            self.part.journal, self.number, Place.AUTH, sent_ns=exchange.sent_ns, received_ns=exchange.received_ns,
            status=exchange.status, name=(self.number, number),
        )  # fmt: skip
