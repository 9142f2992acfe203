"""People who go away, log out, and come back another time."""

from __future__ import annotations

import gevent

from earwitness.harness.load.behaviour import Behaviour, the
from earwitness.harness.load.behaviours.leaving import Leaving
from earwitness.harness.load.behaviours.tokens import Tokens
from earwitness.harness.load.wallet import Login


class Returning(Behaviour):
    """Users who come back another time. In tasks: `leave_and_return`; for I42, and for I15 and I20 across logins.

    On a target whose tokens cannot be handled users come back with the login of before.

    absent_s  bounds of how long they stay away, in seconds, drawn from the user's own `rng`
    """

    needs = (Tokens, Leaving)

    def __init__(self, *, absent_s: tuple[float, float] = (0.5, 2.0)) -> None:
        self.absent_s = absent_s

    def begin(self) -> None:
        """Find what it needs; nobody has left yet."""
        self.tokens = the(Tokens, self.user.behaviours)
        self.leaving = the(Leaving, self.user.behaviours)
        self._goes = False
        self._logged_out: Login | None = None

    def leave_and_return(self) -> None:
        """Drop the socket, log out, stay away while others talk; then log in as somebody who has an account already,
        and go on in the conversations of before. The tokens of before are tried once more later."""
        self.user.begin_action()
        if self.user.connection is not None and self.user.online:
            self._goes = True
            # At once: a closing handshake may last into the drain, and who is connected then is owed what follows.
            self.user.connection.abort()
            self.user.come_back()

    def before_reconnect(self) -> None:
        """Log out and stay away, if the socket was dropped for that."""
        if self._goes:
            self._goes = False
            if self.tokens.able:
                with self.tokens.turn:
                    self._logged_out = self.tokens.now
                    self.leaving.revoke(self.tokens.now)
            gevent.sleep(self.user.rng.uniform(*self.absent_s))

    def before_connect(self) -> None:
        """Log in first after a logout, again at the next try if that fails."""
        old = self._logged_out
        if old is not None:
            with self.tokens.turn:
                self.tokens.log_in()
            self._logged_out = None
            self.leaving.try_later(old)
