"""Users who also try a platform's doors: the beginning of a login, a token that holds, one of nobody's key."""

from __future__ import annotations

from typing import Any

from earwitness.checks.history.record import CONTROL, Artefact, Place, Way
from earwitness.harness.client.exchange import Exchange, observed
from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.statements import NOTHING, Name, write_exchange
from earwitness.harness.dialects.entrance import Entrance
from earwitness.harness.dialects.reference.forgery import NUMBERS
from earwitness.harness.load.behaviours.wallet import Held, Wallet
from earwitness.harness.load.users import ChatUser


class Visitor(ChatUser):
    """In tasks: `begin_login`, `show_token`, `show_forgery`; each is one recorded request. On a target without an
    entrance only `show_token` does anything."""

    abstract = True

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._wallet = Wallet(self.part.journal, self.number)
        self._own: Held | None = None

    def begin_login(self) -> None:
        """As somebody who is not logged in: the first step of a login."""
        self._go_on_or_stop()
        target: Any = self.part.target
        if isinstance(target, Entrance):
            self._ask(target.begin_login(), Place.FRONTEND)

    def show_token(self, bits: int = 0) -> None:
        """One cheap request with the own token."""
        self._go_on_or_stop()
        token = self._credentials().token
        if self._own is None or self._own.secret != token:
            self._own = self._wallet.add(Artefact.ACCESS, token)
        self._ask(self.part.target.probe(self._credentials()), Place.BACKEND, Way.HEADER, self._own.name, bits)

    def show_forgery(self) -> None:
        """The same with a token that nobody issued, and then with the own one, which must be accepted beside it."""
        self._go_on_or_stop()
        target: Any = self.part.target
        if isinstance(target, Entrance):
            stranger = target.stranger(self._credentials())
            forged = self._wallet.add(Artefact.ACCESS, stranger.token, forged=NUMBERS["foreign_key"])
            self._ask(self.part.target.probe(stranger), Place.BACKEND, Way.HEADER, forged.name)
            self.show_token(CONTROL)

    def _ask(self, flow: Any, place: Place, way: Way | int = 0, name: Name = NOTHING, bits: int = 0) -> None:
        def saw(exchange: Exchange) -> None:
            write_exchange(self.part.journal, self.number, place, exchange, way=way, name=name, bits=bits)

        try:
            self._flow(observed(flow, saw))
        except FlowError:
            return  # no answer: it is on record
