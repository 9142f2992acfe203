"""Behaviour `Accounts`: changes of a user's account, and reads of the profile that services show; both are recorded."""

from __future__ import annotations

import time
from contextlib import suppress

import gevent

from earwitness.checks.history.record import NONE, Place, State
from earwitness.harness.client.exchange import Exchange, observed
from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.statements import digest_of, write_change, write_seen
from earwitness.harness.dialects.parts import Accounts as Ability
from earwitness.harness.load.behaviour import Behaviour, Unable, the
from earwitness.harness.load.behaviours.leaving import LATER_S, Leaving
from earwitness.harness.load.behaviours.tokens import Tokens

AGAIN_S = 0.2
"""Pause in seconds before a client repeats a request."""


class Accounts(Behaviour):
    """Behaviour that changes the user's own account. Methods for tasks: `rename`, `be_banned`, `look_at_the_copy`."""

    needs = (Tokens, Leaving)

    def begin(self) -> None:
        """Implement `Behaviour.begin`: store the behaviours `Tokens` and `Leaving` of the user."""
        self.tokens = the(Tokens, self.user.behaviours)
        self.leaving = the(Leaving, self.user.behaviours)
        self.renamed = 0

    @property
    def ability(self) -> Ability:
        """Return the target's operations on accounts.

        On a target without such operations the user sends a message instead, and the task ends (raises `Unable`).
        """
        found = self.part.target.parts.accounts
        if found is None or not self.tokens.able:
            self.user.say()
            raise Unable
        return found

    def rename(self) -> None:
        """Change the user's name at the auth service, and record the change with the platform's answer.

        Raises Unable.
        """
        self.user.begin_action()
        accounts = self.ability
        with self.tokens.turn:
            credentials = self.tokens.fresh().credentials
            self.renamed += 1
            name = f"{self.user.person.name} {self.user.number}.{self.renamed}"
            outside, status = bool(self.user.session.outside), 0

            def saw(exchange: Exchange) -> None:
                nonlocal status
                status = exchange.status
                self._changed(exchange, State.PROFILE, digest_of(credentials.user_id, self.user.person.email, name))

            with self.user.recording(), suppress(FlowError):
                self.user.quietly(observed(accounts.rename(credentials, name), saw))
            self.part.occurred["rename-after-removal"] += outside and status == 200

    def be_banned(self) -> None:
        """Disable the account as an administrator, present its tokens after the revocation bound, then enable it.

        Only the first of a person's devices does so. On the other devices the call only sends a message; their sockets
        and tokens end with the account.
        """
        self.user.begin_action()
        if self.user.number % self.part.plan.devices:
            self.user.say()
            return
        accounts, bound_s = self.ability, self.part.target.contract.revocation_bound_s or 0.0
        with self.tokens.turn:
            old = self.tokens.fresh()
            self.tokens.show_everywhere(old)
            self._set_active(accounts, False)
            with self.user.recording():
                gevent.sleep(bound_s + LATER_S)
                self.leaving.try_everywhere(old)
            self._look(accounts)
            while not self._set_active(accounts, True):
                gevent.sleep(AGAIN_S)
            self.leaving.log_in_anew(old)
            self._await_admission(accounts)

    def before_connect(self) -> None:
        """Implement `Behaviour.before_connect`: log in again if the platform refused the token with 401.

        The account may have been disabled meanwhile.
        """
        if self.user.unauthorized and self.tokens.able:
            with self.tokens.turn:
                self.tokens.log_in()
            self.user.unauthorized = False

    def look_at_the_copy(self) -> None:
        """Read the user's own profile from the backend, and record what it shows. Raises Unable."""
        self.user.begin_action()
        accounts = self.ability
        with self.tokens.turn:
            self.tokens.fresh()
            self._look(accounts)

    def _set_active(self, accounts: Ability, active: bool) -> bool:
        """Enable or disable the account and record that; return whether the platform answered with status 200.

        Raises StopUser when the run is ending: the account then stays as it is.
        """
        self.user.begin_action()
        status = 0

        def saw(exchange: Exchange) -> None:
            nonlocal status
            status = exchange.status
            self._changed(exchange, State.ACTIVE, digest_of(int(active)), int(active))
            if not active:
                self.leaving.revoked(exchange, 0)

        with self.user.recording(), suppress(FlowError):
            self.user.quietly(observed(accounts.set_active(self.tokens.now.credentials.user_id, active), saw))
        return status == 200

    def _await_admission(self, accounts: Ability) -> None:
        """Wait until the backend serves the account again, but no longer than the contract's `sync_bound_s`."""
        end = time.monotonic() + (self.part.target.contract.sync_bound_s or 0.0)
        while not self._look(accounts) and time.monotonic() < end:
            gevent.sleep(AGAIN_S)

    def _look(self, accounts: Ability) -> bool:
        """Read the user's own profile from the backend, and record it; return whether the backend served the request.

        A served request shows that the account is active. A refusal is not recorded, because it may have other reasons.
        """
        self.user.begin_action()
        seen: list[Exchange] = []
        profile = None
        with self.user.recording(), suppress(FlowError):
            flow = accounts.profile(self.tokens.now.credentials, Place.BACKEND)
            profile = self.user.quietly(observed(flow, seen.append))
            if profile is not None:
                self._saw(seen[0], State.PROFILE, digest_of(profile.user_id, profile.email, profile.name))
                self._saw(seen[0], State.ACTIVE, digest_of(1), 1)
        return profile is not None

    def _changed(self, exchange: Exchange, state: State, digest: int, value: int = NONE) -> None:
        write_change(
            self.part.journal, self.user.number, Place.AUTH, state, sent_ns=exchange.sent_ns,
            received_ns=exchange.received_ns, status=exchange.status, of=self.user.number, digest=digest, value=value,
        )  # fmt: skip

    def _saw(self, exchange: Exchange, state: State, digest: int, value: int = NONE) -> None:
        write_seen(
            self.part.journal, self.user.number, Place.BACKEND, state, asked_ns=exchange.sent_ns,
            seen_ns=exchange.received_ns, of=self.user.number, digest=digest, value=value,
        )  # fmt: skip
