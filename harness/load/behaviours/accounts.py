"""A user whose account changes, and who looks at what the services show of it; both are recorded."""

from __future__ import annotations

import time
from contextlib import suppress

import gevent
from locust.exception import StopUser

from earwitness.checks.history.record import NONE, Place, State
from earwitness.harness.client.exchange import Exchange, observed
from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.statements import digest_of, write_change, write_seen
from earwitness.harness.dialects.accounts import Accounts, accounts_of
from earwitness.harness.load.behaviours.leaving import LATER_S, Leaver

AGAIN_S = 0.2
"""Pause of a client that asks again."""


class AccountUser(Leaver):
    """In tasks beside those of Leaver: `rename`, `be_banned`, `look_at_the_copy`."""

    abstract = True
    renamed = 0

    @property
    def accounts(self) -> Accounts:
        """What can be done with accounts here; on a target that has no such ability the user only chats."""
        found = accounts_of(self.part.target)
        if found is None or self._tokens is None:
            self.say()
            raise StopUser
        return found

    def rename(self) -> None:
        """Give oneself a new name at auth."""
        self._go_on_or_stop()
        accounts = self.accounts
        with self._turn:
            credentials = self._fresh().credentials
            self.renamed += 1
            name = f"{self.person.name} {self.number}.{self.renamed}"
            outside, status = bool(self.session.outside), 0

            def saw(exchange: Exchange) -> None:
                nonlocal status
                status = exchange.status
                self._changed(exchange, State.PROFILE, digest_of(credentials.user_id, self.person.email, name))

            with self._recording(), suppress(FlowError):
                self._quietly(observed(accounts.rename(credentials, name), saw))
            self.part.occurred["rename-after-removal"] += outside and status == 200

    def be_banned(self) -> None:
        """An administrator closes the account: whatever was held is tried after the bound. Then it is opened again. Of
        a person's devices only the first asks for it; the others lose their sockets and tokens too."""
        self._go_on_or_stop()
        if self.number % self.part.plan.devices:
            self.say()
            return
        accounts, bound_s = self.accounts, self.part.target.contract.revocation_bound_s or 0.0
        with self._turn:
            old = self._fresh()
            self._show_everywhere(old)
            self._set_active(accounts, False)
            with self._recording():
                gevent.sleep(bound_s + LATER_S)
                self._try_everywhere(old)
            self._look(accounts)
            while not self._set_active(accounts, True):
                gevent.sleep(AGAIN_S)
            self._log_in_anew(old)
            self._await_admission(accounts)

    def connect(self) -> None:
        """As Leaver; a device whose token is refused, because the account was closed meanwhile, logs in first."""
        if self._unauthorized and self._tokens is not None:
            with self._turn:
                self._log_in()
            self._unauthorized = False
        super().connect()

    def look_at_the_copy(self) -> None:
        """What the backend shows of the own account."""
        self._go_on_or_stop()
        accounts = self.accounts
        with self._turn:
            self._fresh()
            self._look(accounts)

    def _set_active(self, accounts: Accounts, active: bool) -> bool:
        """Whether it was confirmed. StopUser when the run is ending: the account then stays as it is."""
        self._go_on_or_stop()
        status = 0

        def saw(exchange: Exchange) -> None:
            nonlocal status
            status = exchange.status
            self._changed(exchange, State.ACTIVE, digest_of(int(active)), int(active))
            if not active:
                self._revoked(exchange, 0)

        with self._recording(), suppress(FlowError):
            self._quietly(observed(accounts.set_active(self.now.credentials.user_id, active), saw))
        return status == 200

    def _await_admission(self, accounts: Accounts) -> None:
        """Until the backend has heard that the account is open, or for as long as that may take."""
        end = time.monotonic() + (self.part.target.contract.sync_bound_s or 0.0)
        while not self._look(accounts) and time.monotonic() < end:
            gevent.sleep(AGAIN_S)

    def _look(self, accounts: Accounts) -> bool:
        """What the backend shows of the own account; whether it serves us. What it shows is open: a refusal may have
        other reasons."""
        self._go_on_or_stop()
        seen: list[Exchange] = []
        profile = None
        with self._recording(), suppress(FlowError):
            flow = accounts.profile(self.now.credentials, Place.BACKEND)
            profile = self._quietly(observed(flow, seen.append))
            if profile is not None:
                self._saw(seen[0], State.PROFILE, digest_of(profile.user_id, profile.email, profile.name))
                self._saw(seen[0], State.ACTIVE, digest_of(1), 1)
        return profile is not None

    def _changed(self, exchange: Exchange, state: State, digest: int, value: int = NONE) -> None:
        write_change(
            self.part.journal, self.number, Place.AUTH, state, sent_ns=exchange.sent_ns,
            received_ns=exchange.received_ns, status=exchange.status, of=self.number, digest=digest, value=value,
        )  # fmt: skip

    def _saw(self, exchange: Exchange, state: State, digest: int, value: int = NONE) -> None:
        write_seen(
            self.part.journal, self.number, Place.BACKEND, state, asked_ns=exchange.sent_ns,
            seen_ns=exchange.received_ns, of=self.number, digest=digest, value=value,
        )  # fmt: skip
