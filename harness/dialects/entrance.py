"""Optional abilities of a target, for stories about outages: the beginning of a login, a token of an unknown key."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from earwitness.harness.client.flow import Flow
from earwitness.harness.dialects.protocol import Credentials


@runtime_checkable
class Entrance(Protocol):
    """A platform whose logins begin at a page of its own."""

    def begin_login(self) -> Flow[int]:
        """The first step of a login, as a visitor takes it; its HTTP status. Nothing is presented."""
        ...

    def stranger(self, credentials: Credentials) -> Credentials:
        """The same person with a token that is signed by a key of nobody's: to judge it, a service has to ask."""
        ...
