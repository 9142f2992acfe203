"""Refusals of options and stories that contradict themselves, before anything is started."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Iterable, Sequence
from types import FunctionType

from earwitness.harness.errors import SettingsError
from earwitness.harness.load.declaration import Story
from earwitness.harness.load.users import ChatUser
from earwitness.harness.planning.arrivals import Arrivals
from earwitness.harness.platform.faults import Planned
from earwitness.harness.report.opportunities import BY_ID

MUST_CALL = ("on_start", "on_stop")
"""Methods of ChatUser that an overriding method must call."""


def refuse_contradictions(options: Namespace, classes: Iterable[type]) -> None:
    """Raise SettingsError for options that exclude each other or contradict a user class.

    Also raised for a user class whose own `on_start` or `on_stop` does not call that of ChatUser.
    """
    if options.target and options.defect:
        raise SettingsError(
            "--defect",
            ["only the reference platform has defects, but --target names another one; leave out one of the two"],
        )
    arrivals = Arrivals.parse(options.arrivals)
    ours = [kind for kind in classes if issubclass(kind, ChatUser)]
    if arrivals is not None:
        paced = [kind.__name__ for kind in ours if kind.wait_time is not ChatUser.wait_time]
        if paced:
            names = ", ".join(paced)
            raise SettingsError(
                "--arrivals", [f"it plans when users act, but {names} sets wait_time; leave out one of the two"]
            )
    for kind in ours:
        for name in MUST_CALL:
            _refuse_forgotten_super(kind, name)


def _refuse_forgotten_super(kind: type, name: str) -> None:
    for owner in kind.__mro__:
        if owner.__module__.startswith("earwitness."):
            return
        method = vars(owner).get(name)
        if isinstance(method, FunctionType) and name not in method.__code__.co_names:
            raise SettingsError(
                f"{owner.__name__}.{name}", [f"it does not call super().{name}(), so its users do nothing"]
            )


def refuse_late_faults(plan: Sequence[Planned], seconds: float | None) -> None:
    """Raise SettingsError for faults that would begin after the planned end of the run.

    `seconds`: planned duration of the run, None if it has no planned end.
    """
    late = [planned.text for planned in plan if seconds is not None and planned.start_s >= seconds]
    if late:
        raise SettingsError("--faults", [f"{text} begins after the run of {seconds:g} s (-t)" for text in late])


def refuse_unknown_checks(story: Story, known: Collection[str]) -> None:
    """Raise SettingsError if `judged_by` names a check that does not exist.

    `known`: the ids and the names of all checks.
    """
    faults = [f"there is no check {name!r}" for name in story.judged_by if name not in known]
    if faults:
        ids = ", ".join(name for name in known if name[0] in "IU" and name[1:2].isdigit())
        raise SettingsError(f"judged_by of the story {story.name}", [*faults, f"there are {ids}"])


def refuse_unknown_opportunities(story: Story) -> None:
    """Raise SettingsError if the story's `opportunities` names one that does not exist."""
    faults = [f"there is no opportunity {name!r}" for name in story.opportunities if name not in BY_ID]
    if faults:
        raise SettingsError(f"opportunities of the story {story.name}", [*faults, f"there are {', '.join(BY_ID)}"])
