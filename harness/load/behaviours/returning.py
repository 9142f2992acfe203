"""People who go away, log out, and come back another time."""

from __future__ import annotations

import gevent

from earwitness.harness.load.behaviours.leaving import Leaver
from earwitness.harness.load.behaviours.wallet import Login


class Returning(Leaver):
    """In tasks beside those of Leaver: `leave_and_return`; for I42, and for I15 and I20 across logins. On a target
    whose tokens cannot be handled people come back with the login of before.

    absent_s  bounds of how long they stay away, drawn from the user's own `rng`
    """

    abstract = True
    absent_s: tuple[float, float] = (0.5, 2.0)
    _leaving = False
    _logged_out: Login | None = None

    def leave_and_return(self) -> None:
        """Drop the socket, log out, stay away while others talk; then log in as somebody who has an account already,
        and go on in the conversations of before. The tokens of before are tried once more later."""
        self._go_on_or_stop()
        if self._connection is not None and self.online:
            self._leaving = True
            # At once: a closing handshake may last into the drain, and who is connected then is owed what follows.
            self._connection.abort()
            self._back_online()

    def _reconnect(self) -> None:
        if self._leaving:
            self._leaving = False
            if self._tokens is not None:
                with self._turn:
                    self._logged_out = self.now
                    self._revoke(self.now)
            gevent.sleep(self.rng.uniform(*self.absent_s))
        super()._reconnect()

    def connect(self) -> None:
        """As Leaver; whoever has logged out logs in first, again at the next try if that fails."""
        old = self._logged_out
        if old is not None:
            with self._turn:
                self._log_in()
            self._logged_out = None
            self.try_later(old)
        super().connect()
