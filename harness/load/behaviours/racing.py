"""A person whose devices log in at the same time, the first time too."""

from __future__ import annotations

import time

import gevent

from earwitness.checks.history.record import Kind, Place
from earwitness.harness.client.flow import FlowError
from earwitness.harness.load.behaviours.attacks import Attacker


class Racer(Attacker):
    """In tasks beside those of Attacker: `log_in_on_all_devices`.

    devices  how many log in at once; one of them goes on as the user
    """

    abstract = True
    devices: int = 3

    def log_in_on_all_devices(self) -> None:
        """Logins of a person whom the platform knows by now."""
        self._go_on_or_stop()
        with self._turn:
            self._tell(self._race())

    def _log_in(self) -> None:
        if self._tokens is None:
            super()._log_in()
            return
        begin_ns = time.monotonic_ns()
        named = self._race()
        self._logged_in(self.now.credentials, begin_ns)
        self._tell(named)  # not before: who this user is had not been said

    def _race(self) -> list[str]:
        """All devices at once; whom auth named in their logins. The user goes by the one that was answered last.
        FlowError if none was answered."""
        greenlets = [gevent.spawn(self._one_device) for _ in range(self.devices)]
        gevent.joinall(greenlets)
        named = [greenlet.value for greenlet in greenlets if greenlet.value is not None]
        if not named:
            raise FlowError("login", "tokens for one of the devices", detail="none")
        return named

    def _one_device(self) -> str | None:
        begin_ns = time.monotonic_ns()
        try:
            self._log_in_again()
        except FlowError as error:
            self._failed("LOGIN", "a device's login", error)
            return None
        self.part.note(Kind.LOGIN, self.number, counter=200, aux=(time.monotonic_ns() - begin_ns) // 1000)
        return self._credentials().user_id

    def _tell(self, named: list[str]) -> None:
        for user_id in named:
            said = self.part.journal.intern(user_id)
            self.part.note(Kind.IDENTITY, self.number, counter=int(Place.AUTH), aux=said)
