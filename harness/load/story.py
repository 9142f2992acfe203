"""Function `story`, by which a locustfile declares what it exercises; it also registers with Locust's events."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import locust
from locust.env import Environment

from earwitness.checks.own import OwnCheck
from earwitness.harness.errors import Exit
from earwitness.harness.load.declaration import Story
from earwitness.harness.load.hooks import attach
from earwitness.harness.load.options import add_arguments
from earwitness.harness.load.users import ChatUser
from earwitness.harness.progress import say

events: Any = locust.events
_told: list[Story] = []


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
    """Declare what the locustfile exercises, so that its runs are judged.

    Call it once in a locustfile, as `story(__file__, judged_by=("I1", …))`. `harness.load.declaration.Story` describes
    the arguments; `rooms` become its `room_sizes`. Returns the declaration.
    """
    told = Story(
        name=Path(file).stem,
        file=Path(file),
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

    def on_init(environment: Environment, **_: object) -> None:
        attach(environment, told)

    events.init.add_listener(on_init)
    return told


def _add_options(parser: ArgumentParser) -> None:
    """Add the options of Earwitness, as a listener of Locust's `init_command_line_parser`.

    They are added even without a story: otherwise Locust would refuse them before the missing story can be reported.
    """
    add_arguments(parser)


def _refuse_without_story(environment: Environment, **_: object) -> None:
    """Exit with CANNOT_RUN if there is a ChatUser but no story: its users would be neither recorded nor judged.

    Listener of Locust's event `init`.
    """
    ours = [kind.__name__ for kind in environment.user_classes if issubclass(kind, ChatUser)]
    if ours and not _told:
        example = 'story(__file__, judged_by=["I1", "I5b"])'
        say(f"{', '.join(ours)}: the locustfile calls no story(); add {example}.")
        sys.exit(Exit.CANNOT_RUN)


events.init_command_line_parser.add_listener(_add_options)
events.init.add_listener(_refuse_without_story)
