"""What people do with tokens who mean no good, each beside something that must succeed."""

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
from earwitness.harness.load.behaviours.leaving import Leaver
from earwitness.harness.load.behaviours.wallet import Held, Login


class Attacker(Leaver):
    """In tasks beside those of Leaver: `forge`, `refresh_at_once`, `reuse_refresh_token`, `reuse_ticket`,
    `reuse_login`, `reuse_code`, `finish_anothers_login`."""

    abstract = True
    _key: SigningKey | None = None

    def forge(self, count: int = 3) -> None:
        """Present some forgeries and then a valid control at one place in one way."""
        self._go_on_or_stop()
        key = self._signing_key()
        with self._turn:
            login = self._fresh()
        other = self._somebody_else()
        if other is None:
            return
        place, way = self.rng.choice(self.tokens.places)
        for name in self.rng.sample(list(self.tokens.forgeries(key)), count):
            self.show(self._forged(name, login, other, key), place, way)
        secret = self.tokens.control(login.credentials, key)
        made = secret != login.credentials.token
        control = self.wallet.add(Artefact.ACCESS, secret, flags=Flag.OWN) if made else login.access
        self.show(control, place, way, control=True)

    def _forged(self, name: str, login: Login, other: Credentials, key: SigningKey) -> Held:
        """A forgery of this name, recorded."""
        secret = self.tokens.forge(name, login.credentials, other.user_id, key)
        flags = Flag.OWN if name in TIMED else 0
        return self.wallet.add(Artefact.ACCESS, secret, forged=NUMBERS[name], flags=flags)

    def _show_as_valid(self, login: Login) -> list[int]:
        """As TokenUser, each as the control of a forgery: a place that refuses it cannot pass I31."""
        key, other, statuses = self._signing_key(), self._somebody_else(), []
        for place, way in self.tokens.places:
            if other is not None:
                name = self.rng.choice(list(self.tokens.forgeries(key)))
                self.show(self._forged(name, login, other, key), place, way)
            statuses.append(self.show(login.access, place, way, control=True))
        return statuses

    def refresh_at_once(self, count: int = 2) -> None:
        """Several refreshes with one token at the same time, as two tabs do it; at most one may succeed. The session
        may be over then, so the device logs in again."""
        self._go_on_or_stop()
        with self._turn:
            old = self.now
            if old.refresh is None:
                return
            self._all(count, lambda: self._present_refresh(old))
            self._log_in_again()
        self.try_later(old)

    def reuse_refresh_token(self) -> None:
        """A thief refreshes with a token that its owner has used already: the whole session must end."""
        self._go_on_or_stop()
        with self._turn:
            old = self.now
            if old.refresh is None or self._refresh() != 200:
                return
            stolen = self.now
            self._present_refresh(old)
            self._log_in_again()
        self.try_later(stolen)

    def reuse_ticket(self, count: int = 2) -> None:
        """Several sockets with one ticket at the same time."""
        self._go_on_or_stop()
        with self._turn:
            login = self._fresh()
        ticket = self.ticket(login)
        self._all(count, lambda: self.show(ticket, Place.SOCKET, Way.TICKET))

    def reuse_login(self, count: int = 2) -> None:
        """Visit the callback of one login several times at the same time, with the browser that began it."""
        self._go_on_or_stop()
        begun = self._begun()
        self._all(count, lambda: self._callback(begun))

    def reuse_code(self) -> None:
        """Carry the code of a login that is over to the callback of a new one."""
        self._go_on_or_stop()
        over = self._begun()
        self._callback(over)
        replayed = self.tokens.with_code(self._begun().login, over.code.secret)
        self.told(self.tokens.finish_login(replayed, self.person), Place.AUTH, Way.QUERY, over.code)

    def finish_anothers_login(self) -> None:
        """Visit the callback of a neighbour's login with the own browser: who does that would be logged in as the
        neighbour, or have somebody logged in as oneself."""
        self._go_on_or_stop()
        others = [user for user in self.part.users if isinstance(user, Attacker) and user is not self and user.ready]
        if others:
            self._callback(self.rng.choice(others)._begun(), Browser())

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _present_refresh(self, login: Login) -> None:
        """A refresh whose tokens nobody will use; they are told, because they belong to the session."""
        assert login.refresh is not None
        flow, sent_ns = self.tokens.refresh(login.credentials), time.monotonic_ns()
        credentials, _ = self.told(flow, Place.AUTH, Way.BODY, login.refresh)
        if credentials is not None:
            self.wallet.add_login(credentials, sent_ns, login)

    def _somebody_else(self) -> Credentials | None:
        """The credentials of another user of this process, None if there is none."""
        others = [user.credentials for user in self.part.users if user is not self and user.credentials is not None]
        return self.rng.choice(others) if others else None

    def _signing_key(self) -> SigningKey:
        """With its private half on a platform of our own."""
        given = self.part.secrets.get("signing_key")
        key: SigningKey = SigningKey(**given) if given else self._flow(self.tokens.signing_key())
        return key

    @staticmethod
    def _all(count: int, act: Callable[[], object]) -> None:
        """The same at the same time; the end of the run ends it for all."""

        def one() -> None:
            try:
                act()
            except (StopUser, FlowError):
                return

        gevent.joinall([gevent.spawn(one) for _ in range(count)])
