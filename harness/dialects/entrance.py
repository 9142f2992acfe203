"""Old way to `harness.dialects.parts`, until its last users are converted."""

from __future__ import annotations

from earwitness.harness.dialects.parts import Entrance

__all__ = ["Entrance"]
