"""Identity of a user, as the provider states it."""

from __future__ import annotations

from dataclasses import dataclass

PROVIDER = "google"
"""Name of the provider in the accounts: the one in the login route."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of a user in a verified id token of the provider.

    `subject` is stable; the other fields may change.
    """

    provider: str
    subject: str
    email: str
    name: str
