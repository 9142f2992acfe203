"""Abuse of tokens. After a forgery a valid token, which must be accepted, is presented in the same way.

The forged tokens themselves are made in `harness.dialects.reference.forgery`; check I31 judges what became of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from locust.exception import StopUser

from earwitness.checks.history.record import Artefact, Flag, Place, Way
from earwitness.harness.client.flow import Browser, FlowError
from earwitness.harness.dialects.protocol import Credentials
from earwitness.harness.dialects.reference.forgery import NUMBERS, TIMED
from earwitness.harness.dialects.tokens import SigningKey
from earwitness.harness.load.behaviour import Behaviour, Unable, the
from earwitness.harness.load.behaviours.leaving import Leaving
from earwitness.harness.load.behaviours.tokens import Tokens
from earwitness.harness.load.wallet import Held, Login


class Attacks(Behaviour):
    """Behaviour that misuses tokens: forged ones, used ones, and those of another user's login.

    Methods for tasks: `forge`, `refresh_at_once`, `reuse_refresh_token`, `reuse_ticket`, `reuse_login`, `reuse_code`,
    `finish_anothers_login`.
    """

    needs = (Tokens, Leaving)

    def begin(self) -> None:
        """Implement `Behaviour.begin`: replace `Tokens.show_valid` of the user by `show_as_control`."""
        self.tokens = the(Tokens, self.user.behaviours)
        self.leaving = the(Leaving, self.user.behaviours)
        self.tokens.show_valid = self.show_as_control

    def forge(self, count: int = 3) -> None:
        """Present `count` forgeries and then a valid control at one random place, all in the same way.

        No-op if no other person of this process has logged in: some forgeries need the id of another user.
        """
        self.user.begin_action()
        key = self.signing_key()
        with self.tokens.turn:
            login = self.tokens.fresh()
        other = self._somebody_else()
        if other is None:
            return
        place, way = self.user.rng.choice(self.tokens.ability.places)
        for name in self.user.rng.sample(list(self.tokens.ability.forgeries(key)), count):
            self.tokens.show(self._forged(name, login, other, key), place, way)
        secret = self.tokens.ability.control(login.credentials, key)
        made = secret != login.credentials.token
        control = self.user.wallet.add(Artefact.ACCESS, secret, flags=Flag.OWN) if made else login.access
        self.tokens.show(control, place, way, control=True)

    def _forged(self, name: str, login: Login, other: Credentials, key: SigningKey) -> Held:
        """Make and record a forgery of this name."""
        secret = self.tokens.ability.forge(name, login.credentials, other.user_id, key)
        flags = Flag.OWN if name in TIMED else 0
        return self.user.wallet.add(Artefact.ACCESS, secret, forged=NUMBERS[name], flags=flags)

    def show_as_control(self, login: Login) -> list[int]:
        """Present the access token of `login`, which must be accepted, at every place, each time after a forgery.

        Returns the statuses of the valid token, see `Tokens.show`. A place that refuses it cannot pass I31.
        """
        key, other, statuses = self.signing_key(), self._somebody_else(), []
        for place, way in self.tokens.ability.places:
            if other is not None:
                name = self.user.rng.choice(list(self.tokens.ability.forgeries(key)))
                self.tokens.show(self._forged(name, login, other, key), place, way)
            statuses.append(self.tokens.show(login.access, place, way, control=True))
        return statuses

    def refresh_at_once(self, count: int = 2) -> None:
        """Send `count` refreshes with one token at the same time, as two tabs do; at most one may succeed.

        The session may be over then, so the device logs in again.
        """
        self.user.begin_action()
        with self.tokens.turn:
            old = self.tokens.now
            if old.refresh is None:
                return
            self._all(count, lambda: self._present_refresh(old))
            self.tokens.log_in_again()
        self.leaving.try_later(old)

    def reuse_refresh_token(self) -> None:
        """Refresh with a refresh token that was used already, as a thief does. The platform must end the session."""
        self.user.begin_action()
        with self.tokens.turn:
            old = self.tokens.now
            if old.refresh is None or self.tokens.renew() != 200:
                return
            stolen = self.tokens.now
            self._present_refresh(old)
            self.tokens.log_in_again()
        self.leaving.try_later(stolen)

    def reuse_ticket(self, count: int = 2) -> None:
        """Open `count` sockets with one ticket at the same time; at most one may succeed."""
        self.user.begin_action()
        with self.tokens.turn:
            login = self.tokens.fresh()
        ticket = self.tokens.ticket(login)
        self._all(count, lambda: self.tokens.show(ticket, Place.SOCKET, Way.TICKET))

    def reuse_login(self, count: int = 2) -> None:
        """Visit the callback of one login `count` times at the same time, with the browser that began it."""
        self.user.begin_action()
        begun = self.tokens.begun()
        self._all(count, lambda: self.tokens.callback(begun))

    def reuse_code(self) -> None:
        """Present the code of a finished login at the callback of a new one."""
        self.user.begin_action()
        over = self.tokens.begun()
        self.tokens.callback(over)
        replayed = self.tokens.ability.with_code(self.tokens.begun().login, over.code.secret)
        self.tokens.recorded(
            self.tokens.ability.finish_login(replayed, self.user.person), Place.AUTH, Way.QUERY, over.code
        )

    def finish_anothers_login(self) -> None:
        """Visit the callback of another user's login with a browser that did not begin it.

        If it succeeded, an attacker could log in as another user, or log another user in as the attacker.
        """
        self.user.begin_action()
        others = [
            behaviour
            for user in self.part.users
            if user is not self.user and user.ready
            for behaviour in user.behaviours
            if isinstance(behaviour, Tokens) and behaviour.able
        ]
        if others:
            self.tokens.callback(self.user.rng.choice(others).begun(), Browser())

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _present_refresh(self, login: Login) -> None:
        """Refresh with the token of `login`, and record the new tokens, which no client will use.

        They are recorded because they belong to the session.
        """
        assert login.refresh is not None
        flow, sent_ns = self.tokens.ability.refresh(login.credentials), time.monotonic_ns()
        credentials, _ = self.tokens.recorded(flow, Place.AUTH, Way.BODY, login.refresh)
        if credentials is not None:
            self.user.wallet.add_login(credentials, sent_ns, login)

    def _somebody_else(self) -> Credentials | None:
        """Return the credentials of another person of this process, or None if there is none.

        Another device of the same person will not do: its token, "forged" for that person, would be the right one.
        """
        own = self.user.person.number
        others = [
            user.credentials
            for user in self.part.users
            if user.credentials is not None and user.credentials.person.number != own
        ]
        return self.user.rng.choice(others) if others else None

    def signing_key(self) -> SigningKey:
        """Return the platform's signing key.

        Only the reference platform's includes the private half. Raises FlowError.
        """
        given = self.part.secrets.get("signing_key")
        key: SigningKey = SigningKey(**given) if given else self.user.flow(self.tokens.ability.signing_key())
        return key

    @staticmethod
    def _all(count: int, act: Callable[[], object]) -> None:
        """Run `act` `count` times at the same time; the end of the run ends all of them."""

        def one() -> None:
            try:
                act()
            except (StopUser, Unable, FlowError):
                return

        gevent.joinall([gevent.spawn(one) for _ in range(count)])
