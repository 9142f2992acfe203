"""Settings of one run: the options of the process, perhaps changed by the values of the web UI's form.

The process reads its options once. A run that the form starts uses the form's values for `FORM_OPTIONS`, as far as the
form has them; the next run uses the options of the process again. A wrong value is refused before Locust reads the
form.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locust.util.timespan import parse_timespan

from earwitness.harness.errors import SettingsError
from earwitness.harness.load.command_line import refuse_impossible
from earwitness.harness.load.contradictions import refuse_contradictions, refuse_late_faults
from earwitness.harness.load.declaration import Story
from earwitness.harness.load.options import (
    DRAIN_S,
    FORM_OPTIONS,
    faults_in_form,
    read_faults,
    read_thresholds,
    seed_of,
    standing_thresholds,
)
from earwitness.harness.load.shapes import ScaledShape, foreseen_of, shape_of
from earwitness.harness.platform.faults import Planned
from earwitness.harness.shipped import STORIES

SWITCH = {"true": True, "false": False}
"""Values that the form sends for a checkbox."""

DEFAULT_SHAPE = "Default"
"""Value of the form's field for shape classes if the user chose none (Locust's --class-picker)."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Checked settings of one run.

    values   the options as text, as the command line or the form gave them
    seed     seed of the run; None: one is chosen when the run begins
    seconds  planned duration; None: the run lasts until it is stopped, or as long as the story's own shape lasts
    """

    values: Namespace
    seed: int | None
    thresholds: list[str]
    shape: ScaledShape | None
    faults: tuple[Planned, ...]
    seconds: float | None

    @property
    def keep_frames(self) -> bool:
        """Return whether raw frames are kept."""
        return bool(self.values.keep_frames)

    @property
    def stated(self) -> dict[str, Any]:
        """Return the options that `run.json` states nowhere else, by name, so that a report can show the whole command.

        No option holds a secret: `--target` is the path of a file, and `--defect` names planted defects.
        """
        given = vars(self.values)
        stated = {name: given.get(name) for name in ("target", "defect", "check") if given.get(name)}
        if given.get("drain_s") not in (None, DRAIN_S):
            stated["drain_s"] = given["drain_s"]
        if str(given.get("faults")).strip() == "none":
            stated["faults"] = "none"
        story = Path(str(given.get("locustfile") or ""))
        if story.suffix == ".py" and story.absolute().parent not in (Path("locustfiles").absolute(), STORIES):
            stated["story_file"] = os.path.relpath(story)
        return stated


class RunOptions:
    """Source of the settings of each run; one for each process.

    own      settings from the options of the process, for every run that no form has started
    present  settings of the latest run
    """

    def __init__(self, environment: Any, story: Story) -> None:
        """Check the options of the process.

        Raises SettingsError.
        """
        self._environment = environment
        self._options = options = environment.parsed_options
        self._story = story
        self._values = Namespace(**vars(options))
        self._standing = standing_thresholds(options, story)
        self._story_shape = environment.shape_class
        timed = bool(options.run_time and (options.headless or options.autostart))
        faults = read_faults(options, story)
        self.own = self._checked(self._values, float(options.run_time) if timed else None, faults)
        if timed:
            refuse_late_faults(faults, self.own.seconds)
        refuse_contradictions(options, environment.user_classes)
        if self.own.shape is not None:
            environment.shape_class = self.own.shape
        self.present = self.own
        self._from_form: RunSettings | None = None

    @property
    def _picks_shapes(self) -> bool:
        """Return whether Locust's form has its own field for the shape (--class-picker)."""
        return self._environment.web_ui is not None and bool(self._options.class_picker)

    def of_form(self, form: Mapping[str, str]) -> RunSettings:
        """Return the settings of a run that this form of the web UI would start; this object does not change.

        Raises SettingsError that names the first wrong value.
        """
        values = Namespace(**vars(self._values))
        vars(values).update(_given(form))
        seconds = _seconds(form.get("run_time", ""))
        if seconds is not None:
            values.run_time = seconds
        for field, name, kind in (("user_count", "num_users", int), ("spawn_rate", "spawn_rate", float)):
            number = _number(form.get(field, ""), kind)
            if number is not None:
                setattr(values, name, number)
        if values.shape and self._picks_shapes:
            fault = "with --class-picker the form has a field for shape classes; leave out one of the two"
            raise SettingsError("--shape", [fault])
        if values.shape:
            refuse_impossible(values)  # without a shape Locust does it
        if form.get("shape_class", DEFAULT_SHAPE) != DEFAULT_SHAPE:
            seconds = None
        same = values.faults == self._values.faults
        faults = self.own.faults if same else faults_in_form(values, self._story)
        settings = self._checked(values, seconds, faults)
        refuse_late_faults(faults, settings.seconds)
        refuse_contradictions(values, self._environment.user_classes)
        return settings

    def _checked(self, values: Namespace, seconds: float | None, faults: tuple[Planned, ...]) -> RunSettings:
        seed, thresholds, shape = seed_of(values), read_thresholds(values, self._standing), shape_of(values)
        if shape is not None:
            seconds = float(values.run_time)
        elif self._story_shape is not None and not self._picks_shapes:
            seconds = foreseen_of(self._story_shape).seconds  # a shape that cannot be foreseen is refused now
        return RunSettings(values, seed, thresholds, shape, faults, seconds)

    def await_form(self, settings: RunSettings) -> None:
        """Use these `settings` of a form for the next run. Call it before Locust reads the form and starts the run."""
        self._reset()
        self._from_form = settings
        self._use_shape(settings)

    def forget_form(self) -> None:
        """Discard the settings of a form that Locust has refused; the next run uses those of the process."""
        self._reset()
        self._from_form = None
        self._use_shape(self.own)

    def next(self) -> RunSettings:
        """Return the settings of the run that begins now: those of its form, or else `own`.

        Call it once for each run, because it stores them as `present` and discards those of the form.
        """
        self.present, self._from_form = self._from_form or self.own, None
        self._use_shape(self.present)
        return self.present

    def refuse_changes(self, form: Mapping[str, str]) -> None:
        """Raise SettingsError for values of a form that differ from those of the run that is in progress."""
        given, present = _given(form), vars(self.present.values)
        changed = [name for name, value in given.items() if value != present[name]]
        if changed:
            raise SettingsError(
                ", ".join(changed), ["fixed while a run is in progress; stop it, then start one with other values"]
            )

    def shown(self, running: bool) -> dict[str, object]:
        """Return the value that the web page shows for each option of FORM_OPTIONS, by name.

        `running`: show the values of the latest run; otherwise those of the process.
        """
        values = vars((self.present if running else self.own).values)
        return {name: values[name] for name in FORM_OPTIONS}

    def _reset(self) -> None:
        """Restore the options of the process that Locust has overwritten from an earlier form."""
        for name in (*FORM_OPTIONS, "run_time"):
            setattr(self._options, name, getattr(self._values, name))

    def _use_shape(self, settings: RunSettings) -> None:
        if not self._picks_shapes:
            self._environment.shape_class = settings.shape or self._story_shape


def _given(form: Mapping[str, str]) -> dict[str, str | bool]:
    """Return the form's values of FORM_OPTIONS, by name.

    Raises SettingsError for a switch that is neither on nor off.
    """
    given: dict[str, str | bool] = {name: form[name].strip() for name in FORM_OPTIONS if name in form}
    if "keep_frames" in given:
        sent = str(given["keep_frames"])
        if sent not in SWITCH:
            raise SettingsError("--keep-frames", [f"{sent!r} is neither true nor false"])
        given["keep_frames"] = SWITCH[sent]
    return given


def _number(text: str, kind: type[int] | type[float]) -> float | None:
    """Return the number in `text`; None if it is not a number, which Locust then refuses."""
    try:
        return kind(text)
    except ValueError:
        return None


def _seconds(text: str) -> float | None:
    """Return the duration in seconds that `text` states; None if it is empty, or wrong, which Locust then refuses."""
    try:
        return float(parse_timespan(text)) if text else None
    except (ValueError, OverflowError):
        return None
