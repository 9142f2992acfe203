"""A story: what a locustfile promises to exercise, and the one call that ties it to Locust's events."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import locust

from earwitness.checks.own import OwnCheck
from earwitness.harness.errors import Exit
from earwitness.harness.load.users import ChatUser
from earwitness.harness.progress import say

events: Any = locust.events
_told: list[Story] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`judged_by` names the checks that the run must exercise; rooms and limits are the story's own numbers.

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


def story(
    file: str,
    *,
    judged_by: Sequence[str],
    rooms: Sequence[int] = (5, 10, 100),
    devices: int = 1,
    thresholds: Sequence[str] = (),
    faults: str = "",
    platform: Mapping[str, Mapping[str, object]] | None = None,
    opportunities: Sequence[str] = (),
    checks: Sequence[OwnCheck] = (),
) -> Story:
    """Call once in a locustfile as `story(__file__, judged_by=("I1", …))`: from then on its runs are judged."""
    from earwitness.harness.load.hooks import attach

    told = Story(
        name=Path(file).stem,
        judged_by=tuple(judged_by),
        room_sizes=tuple(rooms),
        devices=devices,
        thresholds=tuple(thresholds),
        faults=faults,
        platform=dict(platform or {}),
        opportunities=tuple(opportunities),
        checks=tuple(checks),
    )
    _told.append(told)

    def on_init(environment: Any, **_: Any) -> None:
        attach(environment, told)

    events.init.add_listener(on_init)
    return told


def _add_options(parser: Any) -> None:
    """Listener of Locust's `init_command_line_parser`. Without a story too: else Locust refuses the options before
    anybody can say what is missing."""
    from earwitness.harness.load.options import add_arguments

    add_arguments(parser)


def _refuse_without_story(environment: Any, **_: Any) -> None:
    """Listener of Locust's `init`: a ChatUser without a story would be recorded nowhere and judged by nothing."""
    ours = [kind.__name__ for kind in environment.user_classes if issubclass(kind, ChatUser)]
    if ours and not _told:
        example = 'story(__file__, judged_by=["I1", "I5b"])'
        say(f"{', '.join(ours)}: the locustfile calls no story(); add {example}.")
        sys.exit(Exit.CANNOT_RUN)


events.init_command_line_parser.add_listener(_add_options)
events.init.add_listener(_refuse_without_story)
