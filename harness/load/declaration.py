"""Declaration of a story: what the runs of a locustfile must exercise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from earwitness.checks.own import OwnCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Declaration of a story, with the arguments of `harness.load.story.story`.

    name         name of the locustfile without its ending
    file         the locustfile; None without one
    judged_by    ids or names of checks that the run must exercise; otherwise it is UNKNOWN
    devices      clients of each person; each is one of Locust's users
    room_sizes   every user is a member of one room of each of these sizes
    thresholds   limits like "fan-out p99 < 250 ms" (`harness.report.thresholds`); options and files override them
    faults       faults of every run, written as for --faults, which replaces them
    platform     settings of the reference platform that the story needs, by service
    checks       own checks (`earwitness.check`) that judge the run in addition
    opportunities  ids of `harness.report.opportunities` that every run creates; the verdict names missing ones
    """

    name: str
    file: Path | None = None
    judged_by: tuple[str, ...]
    room_sizes: tuple[int, ...]
    devices: int = 1
    thresholds: tuple[str, ...] = ()
    faults: str = ""
    platform: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    opportunities: tuple[str, ...] = ()
    checks: tuple[OwnCheck, ...] = ()
