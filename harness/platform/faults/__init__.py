"""Faults that occur in production: their effect on a platform, the proof of that effect, and their schedule."""

from earwitness.harness.platform.faults.schedule import Planned, read_schedule

__all__ = ["Planned", "read_schedule"]
