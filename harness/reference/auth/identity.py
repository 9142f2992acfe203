"""Who the provider says somebody is."""

from __future__ import annotations

from dataclasses import dataclass

PROVIDER = "google"
"""Name under which accounts are kept: the login route's own."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified statement of the provider. `subject` is stable; the rest may change."""

    provider: str
    subject: str
    email: str
    name: str
