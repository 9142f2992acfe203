"""Entrance: optional capability of a target for stories about outages.

It offers the first step of a login, and a token that is signed by an unknown key.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from earwitness.harness.client.flow import Flow
from earwitness.harness.dialects.protocol import Credentials


@runtime_checkable
class Entrance(Protocol):
    """Platform whose logins begin at a page of its own."""

    def begin_login(self) -> Flow[int]:
        """Take the first step of a login, as a visitor does, without credentials; return the HTTP status."""
        ...

    def stranger(self, credentials: Credentials) -> Credentials:
        """Return credentials of the same person with a token signed by an unknown key.

        To judge that token, a service must ask the auth service.
        """
        ...
