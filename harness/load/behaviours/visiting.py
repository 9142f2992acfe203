"""Behaviour `Visiting`: single HTTP requests besides the chat, with a valid token, a forged one, or none."""

from __future__ import annotations

from earwitness.checks.history.record import CONTROL, Artefact, Place, Way
from earwitness.harness.client.exchange import Exchange, observed
from earwitness.harness.client.flow import Flow, FlowError
from earwitness.harness.client.statements import NOTHING, Name, write_exchange
from earwitness.harness.dialects.reference.forgery import NUMBERS
from earwitness.harness.load.behaviour import Behaviour
from earwitness.harness.load.wallet import Held


class Visiting(Behaviour):
    """Behaviour that sends single HTTP requests besides the chat, and records each.

    Methods for tasks: `begin_login`, `show_token`, `show_forgery`.

    On a target without `harness.dialects.parts.Entrance`, `begin_login` and `show_forgery` are no-ops.
    """

    def begin(self) -> None:
        """Implement `Behaviour.begin`: start with no token presented."""
        self._own: Held | None = None

    def begin_login(self) -> None:
        """Send the first step of a login, as a client that is not logged in."""
        self.user.begin_action()
        entrance = self.part.target.parts.entrance
        if entrance is not None:
            self._ask(entrance.begin_login(), Place.FRONTEND)

    def show_token(self, bits: int = 0) -> None:
        """Send one cheap request with the user's own token, and record it.

        `bits`: CONTROL if the request is the control of a forgery, else 0.
        """
        self.user.begin_action()
        token = self.user.own_credentials().token
        if self._own is None or self._own.secret != token:
            self._own = self.user.wallet.add(Artefact.ACCESS, token)
        self._ask(self.part.target.probe(self.user.own_credentials()), Place.BACKEND, Way.HEADER, self._own.name, bits)

    def show_forgery(self) -> None:
        """Send a cheap request with a token signed by an unknown key, then one with the user's own token. Record both.

        The second one must be accepted: it is the control of the first.
        """
        self.user.begin_action()
        entrance = self.part.target.parts.entrance
        if entrance is not None:
            stranger = entrance.stranger(self.user.own_credentials())
            forged = self.user.wallet.add(Artefact.ACCESS, stranger.token, forged=NUMBERS["foreign_key"])
            self._ask(self.part.target.probe(stranger), Place.BACKEND, Way.HEADER, forged.name)
            self.show_token(CONTROL)

    def _ask(self, flow: Flow[object], place: Place, way: Way | int = 0, name: Name = NOTHING, bits: int = 0) -> None:
        def saw(exchange: Exchange) -> None:
            write_exchange(self.part.journal, self.user.number, place, exchange, way=way, name=name, bits=bits)

        try:
            self.user.flow(observed(flow, saw))
        except FlowError:
            return  # no answer, which is recorded
