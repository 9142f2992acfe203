"""Stages: for each story that shows defects, the smallest run in which they have enough opportunities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from earwitness.harness.evidence.defect import Defect
from earwitness.harness.shipped import STORIES

ROUGH = "rough"
FOLDERS = (Path(__file__).parent / "stories", STORIES)


@dataclass(frozen=True, slots=True)
class Stage:
    """Size of a story's run in the matrix: number of users, and duration in s.

    `links`: connections between services that its faults disturb (`--link`); `settings`: settings of the platform, by
    service.
    """

    users: int = 16
    seconds: int = 15
    links: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


BUDGET = {"rate_per_s": 20, "rate_burst": 1000}
# The logins of sixteen users take some of the time. Outages, restarts, floods and expiring tokens need time too, and
# their late effects must be observed, so a run ends after the last of them.
STAGES = {
    ROUGH: Stage(seconds=10),
    "jwt_lifecycle": Stage(users=20, seconds=25),
    "auth_outage": Stage(seconds=25, links=("frontend/auth", "auth/postgres")),
    "multi_session": Stage(users=20, seconds=25),
    "rolling_restart": Stage(seconds=25),
    "user_sync": Stage(seconds=25),
    "rate_limits": Stage(users=20, seconds=25, settings={"auth": BUDGET, "backend": {**BUDGET, "abuse_nacks": 200}}),
}


def stage_of(story: str) -> Stage:
    """Return the stage of a story; the default one if STAGES has none for it."""
    return STAGES.get(story, Stage())


def file_of(story: str) -> Path | None:
    """Return the path of a story's locustfile; None if there is none, as for defects that pytest_suite shows."""
    return next((path for folder in FOLDERS if (path := folder / f"{story}.py").exists()), None)


def staged(defects: Sequence[Defect]) -> list[Defect]:
    """Return the defects that a load story shows.

    A defect with further stories occurs again for each, with id `Z9@STORY`.

    Defects without a load story are left out: the functional suite shows them.
    """
    own = [one for one in defects if one.caught_by and file_of(one.story) is not None]
    return own + [replace(one, id=f"{one.id}@{story}", story=story) for one in defects for story in one.also]


def stories_of(defects: Sequence[Defect]) -> list[str]:
    """Return the stories of the defects without repetition, in the order of `defects`."""
    return list(dict.fromkeys(one.story for one in defects))
