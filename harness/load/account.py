"""Account of a user: its login and credentials.

`behaviours.tokens` has the account of users whose tokens are recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic_ns, time
from typing import TYPE_CHECKING

from gevent.lock import RLock

from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.dialects.protocol import Credentials

if TYPE_CHECKING:
    from earwitness.harness.load.users import ChatUser

HOLDS_S = 5.0
"""Credentials that expire within this time, in seconds, are renewed before an action."""


class Account:
    """Account of a user whose tokens are not recorded.

    The user logs in again when the credentials expire soon, or when the platform has refused them.
    """

    def __init__(self, user: ChatUser) -> None:
        """Store the user that this account belongs to. Nothing is sent yet."""
        self.user = user
        self._turn = RLock()
        self._renewing = False

    def log_in(self) -> None:
        """Log in, store the credentials in the user, and record the login. Raises FlowError."""
        user, begin_ns = self.user, monotonic_ns()
        user.credentials = user.flow(user.part.target.login(user.person))
        user.logged_in(user.credentials, begin_ns)

    def hold(self) -> None:
        """Log in again if the platform refused the credentials, or if they expire within HOLDS_S seconds.

        It is called before each message, so it takes no lock while no login is due. Raises FlowError.
        """
        user = self.user
        assert user.credentials is not None
        ends = user.credentials.expires_at
        # By the wall clock each time: a deadline reckoned once would be wrong after the clock was set.
        if self._renewing or user.unauthorized or (ends is not None and ends - time() < HOLDS_S):
            with self._turn:
                self._renew_if_due()

    def _renew_if_due(self) -> None:
        user = self.user
        ends = user.own_credentials().expires_at
        if user.unauthorized or (ends is not None and ends - time() < HOLDS_S):
            self._renewing = True
            try:
                with user.recording():
                    self.log_in()
                user.unauthorized = False
            finally:
                self._renewing = False

    def valid(self) -> Credentials:
        """Return credentials that stay valid for at least HOLDS_S seconds; log in again if necessary.

        Raises FlowError.
        """
        self.hold()
        return self.user.own_credentials()

    def dialogue(self, resume: Mapping[str, int] | None, previous: Dialogue | None) -> Dialogue:
        """Return the dialogue of a new socket with valid credentials; arguments as of `Target.dialogue`.

        Raises FlowError.
        """
        user = self.user
        return user.part.target.dialogue(self.valid(), tuple(dict.fromkeys(user.rooms)), resume, previous)

    def opened(self, status: int) -> None:
        """Process the outcome of a handshake (hook). No-op here; `behaviours.tokens.Tokens` records the outcome.

        `status`: OPENED, an HTTP status, a close code, or 0 if there was no answer.
        """
