"""Old way to `harness.dialects.parts`, until its last users are converted."""

from __future__ import annotations

from earwitness.harness.dialects.parts import Sharing
from earwitness.harness.dialects.protocol import Target

__all__ = ["Sharing", "sharing_of"]


def sharing_of(target: Target) -> Sharing | None:
    """Return the capability, or None if the target does not have it."""
    return target.parts.sharing
