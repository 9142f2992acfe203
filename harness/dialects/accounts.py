"""Old way to `harness.dialects.parts`, until its last users are converted."""

from __future__ import annotations

from earwitness.harness.dialects.parts import Accounts
from earwitness.harness.dialects.protocol import Target

__all__ = ["Accounts", "accounts_of"]


def accounts_of(target: Target) -> Accounts | None:
    """Return the capability, or None if the target does not have it."""
    return target.parts.accounts
