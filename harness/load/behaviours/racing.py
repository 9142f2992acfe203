"""Behaviour `Racing`: logins of a person on several devices at the same time, including the first login."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

from earwitness.checks.history.record import Kind, Place
from earwitness.harness.client.flow import FlowError
from earwitness.harness.load.behaviour import Behaviour, the
from earwitness.harness.load.behaviours.tokens import Tokens


class Racing(Behaviour):
    """Behaviour that logs a user in on several devices at once. Method for tasks: `log_in_on_all_devices`.

    devices  number of devices that log in at once; the user continues with one of their logins
    """

    needs = (Tokens,)

    def __init__(self, *, devices: int = 3) -> None:
        """Set the number of devices that log in together."""
        self.devices = devices

    def begin(self) -> None:
        """Implement `Behaviour.begin`: make every login, also the first one, a login on several devices at once."""
        self.tokens = the(Tokens, self.user.behaviours)
        self.tokens.enter = self._enter

    def _enter(self) -> Callable[[], None]:
        named = self._race()
        return lambda: self._tell(named)

    def log_in_on_all_devices(self) -> None:
        """Log in on all devices at once, as a person whom the platform knows already."""
        self.user.begin_action()
        with self.tokens.turn:
            self._tell(self._race())

    def _race(self) -> list[str]:
        """Log in on all devices at once; return the user ids that the auth service stated, one for each login.

        The user continues with the login that was answered last. Raises FlowError if none was answered.
        """
        greenlets = [gevent.spawn(self._one_device) for _ in range(self.devices)]
        gevent.joinall(greenlets)
        named = [greenlet.value for greenlet in greenlets if greenlet.value is not None]
        if not named:
            raise FlowError("login", "tokens for one of the devices", detail="none")
        return named

    def _one_device(self) -> str | None:
        begin_ns = time.monotonic_ns()
        try:
            self.tokens.log_in_again()
        except FlowError as error:
            self.user.failed("LOGIN", "a device's login", error)
            return None
        self.part.note(Kind.LOGIN, self.user.number, counter=200, aux=(time.monotonic_ns() - begin_ns) // 1000)
        return self.user.own_credentials().user_id

    def _tell(self, named: list[str]) -> None:
        for user_id in named:
            said = self.part.journal.intern(user_id)
            self.part.note(Kind.IDENTITY, self.user.number, counter=int(Place.AUTH), aux=said)
