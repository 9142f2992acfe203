"""Users who also try a platform's doors: the beginning of a login, a token that holds, one of nobody's key."""

from __future__ import annotations

from typing import Any

from checks.record import Artefact, Place, Way
from harness.client.exchange import Exchange, observed
from harness.client.flow import FlowError
from harness.client.statements import NOTHING, Name, write_exchange, write_token
from harness.load.users import ChatUser
from harness.target.entrance import Entrance

OWN, FORGED = 1, 2
"""Numbers of a user's artefacts here: the own access token, and the one of an unknown key."""
UNKNOWN_KEY = 1
"""How it was forged."""


class Visitor(ChatUser):
    """In tasks: `begin_login`, `show_token`, `show_forgery`; each is one recorded request. On a target without an
    entrance only `show_token` does anything."""

    abstract = True
    _tokens_told = False

    def begin_login(self) -> None:
        """As somebody who is not logged in: the first step of a login."""
        self._go_on_or_stop()
        target: Any = self.part.target
        if isinstance(target, Entrance):
            self._ask(target.begin_login(), Place.FRONTEND)

    def show_token(self) -> None:
        """One cheap request with the own token."""
        self._go_on_or_stop()
        self._tell_tokens()
        self._ask(self.part.target.probe(self._credentials()), Place.BACKEND, Way.HEADER, (self.number, OWN))

    def show_forgery(self) -> None:
        """The same with a token that nobody issued."""
        self._go_on_or_stop()
        target: Any = self.part.target
        if isinstance(target, Entrance):
            self._tell_tokens()
            forged = target.stranger(self._credentials())
            self._ask(self.part.target.probe(forged), Place.BACKEND, Way.HEADER, (self.number, FORGED))

    def _tell_tokens(self) -> None:
        if not self._tokens_told:
            self._tokens_told = True
            write_token(self.part.journal, Artefact.ACCESS, self.number, OWN)
            write_token(self.part.journal, Artefact.ACCESS, self.number, FORGED, forged=UNKNOWN_KEY)

    def _ask(self, flow: Any, place: Place, way: Way | int = 0, name: Name = NOTHING) -> None:
        def saw(exchange: Exchange) -> None:
            write_exchange(self.part.journal, self.number, place, exchange, way=way, name=name)

        try:
            self._flow(observed(flow, saw))
        except FlowError:
            return  # no answer: it is on record
