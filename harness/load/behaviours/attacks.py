"""Behaviour `Attacks`: abuse of tokens, by forged tokens, reused ones, and those of another user's login.

After each forgery a valid token, which must be accepted, is presented in the same way. The forged tokens are made in
`harness.dialects.reference.forgery`; check I31 judges whether the platform accepted them.
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
    """Behaviour that misuses tokens: forged tokens, used ones, and those of another user's login.

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
        """Present `count` forged tokens and then a valid one, the control, at one random place, all in the same way.

        The way is how a request carries a token (`Way`). No-op if no other person of this process has logged in,
        because some forgeries need the id of another user. Raises Unable or FlowError.
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
        """Make the forgery called `name` from the token of `login`, record it, and return it.

        `other`: credentials of another person; `key`: see `signing_key`.
        """
        secret = self.tokens.ability.forge(name, login.credentials, other.user_id, key)
        flags = Flag.OWN if name in TIMED else 0
        return self.user.wallet.add(Artefact.ACCESS, secret, forged=NUMBERS[name], flags=flags)

    def show_as_control(self, login: Login) -> list[int]:
        """Present the access token of `login`, which must be accepted, at every place, each time after a forgery.

        Returns the statuses of the valid token, see `Tokens.show`. I31 does not pass for a place that refuses a valid
        token.
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

        The platform may end the session because of the abuse, so the device then logs in again.
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
        """Refresh with a refresh token that was used already, as a thief would. The platform must end the session."""
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
        """Visit the callback of one login `count` times at the same time, with the browser that began the login."""
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

        If the visit succeeded, an attacker could log in as another user, or log another user in as the attacker.
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
        """Refresh with the refresh token of `login`, and record the new tokens, which no client will use.

        The new tokens are recorded because they belong to the session.
        """
        assert login.refresh is not None
        flow, sent_ns = self.tokens.ability.refresh(login.credentials), time.monotonic_ns()
        credentials, _ = self.tokens.recorded(flow, Place.AUTH, Way.BODY, login.refresh)
        if credentials is not None:
            self.user.wallet.add_login(credentials, sent_ns, login)

    def _somebody_else(self) -> Credentials | None:
        """Return the credentials of another person of this process, or None if there is none.

        Other devices of the same person are excluded, because a token that is forged to name that person would be
        correct.
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

        Only the key of the reference platform includes the private half. Raises FlowError.
        """
        given = self.part.secrets.get("signing_key")
        key: SigningKey = SigningKey(**given) if given else self.user.flow(self.tokens.ability.signing_key())
        return key

    @staticmethod
    def _all(count: int, act: Callable[[], object]) -> None:
        """Run `act` in `count` greenlets at the same time, and wait for them.

        A greenlet in which `act` raises StopUser, Unable or FlowError just ends.
        """

        def one() -> None:
            try:
                act()
            except (StopUser, Unable, FlowError):
                return

        gevent.joinall([gevent.spawn(one) for _ in range(count)])
