"""Behaviour `Returning`: users who leave, log out, and come back later."""

from __future__ import annotations

import gevent

from earwitness.harness.load.behaviour import Behaviour, the
from earwitness.harness.load.behaviours.leaving import Leaving
from earwitness.harness.load.behaviours.tokens import Tokens
from earwitness.harness.load.wallet import Login


class Returning(Behaviour):
    """Behaviour that logs the user out, stays offline and logs in again. Method for tasks: `leave_and_return`.

    It exercises check I42, and the checks I15 and I20 across logins. On a target without
    `harness.dialects.tokens.Tokens` users reconnect with their earlier login.

    absent_s  bounds of the time that a user stays away, in seconds; drawn from the user's own `rng`
    """

    needs = (Tokens, Leaving)

    def __init__(self, *, absent_s: tuple[float, float] = (0.5, 2.0)) -> None:
        """Set the bounds in seconds of the time that a user stays away."""
        self.absent_s = absent_s

    def begin(self) -> None:
        """Implement `Behaviour.begin`: store the behaviours `Tokens` and `Leaving`; the user has not left yet."""
        self.tokens = the(Tokens, self.user.behaviours)
        self.leaving = the(Leaving, self.user.behaviours)
        self._goes = False
        self._logged_out: Login | None = None

    def leave_and_return(self) -> None:
        """Abort the socket, log out, stay offline while others chat, then log in again.

        The user returns to an existing account and to the same conversations. The tokens of the ended session are
        presented once more later (`Leaving.try_later`). No-op for a user that is offline.
        """
        self.user.begin_action()
        if self.user.connection is not None and self.user.online:
            self._goes = True
            # No closing handshake: it may last into the drain, and a connected device must receive what follows.
            self.user.connection.abort()
            self.user.come_back()

    def before_reconnect(self) -> None:
        """Implement `Behaviour.before_reconnect`: log out and stay offline if `leave_and_return` aborted the socket."""
        if self._goes:
            self._goes = False
            if self.tokens.able:
                with self.tokens.turn:
                    self._logged_out = self.tokens.now
                    self.leaving.revoke(self.tokens.now)
            gevent.sleep(self.user.rng.uniform(*self.absent_s))

    def before_connect(self) -> None:
        """Implement `Behaviour.before_connect`: log in after a logout.

        If that fails, the next try to connect repeats the login.
        """
        old = self._logged_out
        if old is not None:
            with self.tokens.turn:
                self.tokens.log_in()
            self._logged_out = None
            self.leaving.try_later(old)
