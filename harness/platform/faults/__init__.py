"""Faults that production has: what they do to a platform, how it shows that they did, and when they are to happen."""

from earwitness.harness.platform.faults.schedule import Planned, read_schedule

__all__ = ["Planned", "read_schedule"]
