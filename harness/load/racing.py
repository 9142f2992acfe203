"""A person whose devices log in at the same time, the first time too."""

from __future__ import annotations

import time

import gevent

from checks.record import Kind, Place
from harness.client.flow import FlowError
from harness.load.attacks import Attacker
from harness.target.protocol import Credentials


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
            self._race()

    def _log_in(self) -> None:
        if self._tokens is None:
            super()._log_in()
            return
        begin_ns = time.monotonic_ns()
        self._race()
        self._logged_in(self.now.credentials, begin_ns)

    def _race(self) -> None:
        """All devices at once; the user goes by the login that was answered last. FlowError if none was answered."""
        greenlets = [gevent.spawn(self._one_device) for _ in range(self.devices)]
        gevent.joinall(greenlets)
        if not any(greenlet.value for greenlet in greenlets):
            raise FlowError("login", "tokens for one of the devices", detail="none")

    def _one_device(self) -> bool:
        begin_ns = time.monotonic_ns()
        try:
            self._log_in_again()
        except FlowError as error:
            self._failed("LOGIN", "a device's login", error)
            return False
        self._tell(self._credentials(), begin_ns)
        return True

    def _tell(self, credentials: Credentials, begin_ns: int) -> None:
        """A login, and whom auth named in it."""
        journal = self.part.journal
        self.part.note(Kind.LOGIN, self.number, counter=200, aux=(time.monotonic_ns() - begin_ns) // 1000)
        said = journal.intern(credentials.user_id)
        self.part.note(Kind.IDENTITY, self.number, counter=int(Place.AUTH), aux=said)
