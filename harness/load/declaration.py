"""Declaration of a story: what a locustfile promises to exercise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from earwitness.checks.own import OwnCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What `story` was called with.

    judged_by    checks that the run must exercise
    devices      sockets of each person; Locust's users are these
    room_sizes   every user is a member of one room of each of these sizes
    thresholds   like "fan-out p99 < 250 ms" (`harness.report.thresholds`); options and files go before them
    faults       what goes wrong during the run, as --faults, which replaces it
    platform     settings by service that our own platform must be started with, else the story has no point
    checks       own checks (`earwitness.check`) that judge the run too
    opportunities  ids of `harness.report.opportunities` that every run of it creates; the verdict names those missing
    """

    name: str
    judged_by: tuple[str, ...]
    room_sizes: tuple[int, ...]
    devices: int = 1
    thresholds: tuple[str, ...] = ()
    faults: str = ""
    platform: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    opportunities: tuple[str, ...] = ()
    checks: tuple[OwnCheck, ...] = ()
