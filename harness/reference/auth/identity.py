"""Identity of a user, as the provider states it."""

from __future__ import annotations

from dataclasses import dataclass

PROVIDER = "google"
"""Name of the provider in the accounts: the one in the login route."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Verified statement of the provider.

    `subject` is stable; the rest may change.
    """

    provider: str
    subject: str
    email: str
    name: str
