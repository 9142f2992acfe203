"""Options of Earwitness in addition to Locust's own, in `locust --help` and in environment variables."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from earwitness.harness.errors import SettingsError
from earwitness.harness.load.command_line import check_when_parsed
from earwitness.harness.planning.arrivals import FORMS
from earwitness.harness.platform.faults import EXAMPLES, Planned, read_schedule
from earwitness.harness.report.thresholds import METRICS, Threshold, merged, parse_all, read_given
from earwitness.harness.settings import DEFAULT_FILE

if TYPE_CHECKING:
    from earwitness.harness.load.declaration import Story


LOAD: Final[dict[str, object]] = {"num_users": 100, "spawn_rate": 50.0, "run_time": "30s"}
"""Defaults that replace those of Locust (one user, no end). Configuration files and options override them."""

DRAIN_S: Final = 20.0
"""Default of `--drain-s`, in seconds."""
FORM_OPTIONS: Final = ("seed", "faults", "arrivals", "shape", "threshold", "keep_frames")
"""Names of the options that the web UI's form shows and may set for a run.

None of these options may name a file, a host or a command.
"""
SEPARATOR: Final = ";"
"""Separator of several thresholds in one text, as the form sends them; no threshold contains it."""


class _Joined(argparse._AppendAction):
    """Action of a repeatable option that joins all values in one text, because Locust's form cannot hold a list."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, f"{before}{SEPARATOR} {values}" if before else values)


def add_arguments(parser: argparse.ArgumentParser, **_: object) -> None:
    """Add the options and defaults of Earwitness to Locust's parser. Listener of its `init_command_line_parser`."""
    # By default Locust binds its web UI and its master to every interface; a tester must not open the machine.
    parser.set_defaults(web_host="127.0.0.1", master_bind_host="127.0.0.1", **LOAD)
    check_when_parsed(parser)
    group = parser.add_argument_group(
        "Earwitness",
        "Every frame is recorded and judged. "
        "Exit codes: 0 PASS, 1 FAIL, 2 could not run, 3 UNKNOWN, 4 a threshold was missed.",
    )
    group.add_argument(
        "--target",
        env_var="EARWITNESS_TARGET",
        default="",
        metavar="FILE",
        help="target.toml of the platform under test; without it the reference platform is started and tested",
    )
    group.add_argument(
        "--seed",
        env_var="EARWITNESS_SEED",
        default="",
        metavar="N",
        help="decides users, rooms, payloads and think times; chosen and printed if not given",
    )
    group.add_argument(
        "--runs",
        env_var="EARWITNESS_RUNS",
        default="runs",
        metavar="DIR",
        help="folder for run directories; runs/latest points at the newest",
    )
    group.add_argument(
        "--store",
        env_var="EARWITNESS_STORE",
        default="",
        metavar="URL",
        help="keep all records in this object store too, from which `earwitness collect` can judge "
        "the run without its master: file:///DIR, s3://BUCKET/PREFIX",
    )
    group.add_argument(
        "--own-disk",
        env_var="EARWITNESS_OWN_DISK",
        action="store_true",
        help="of a worker: record into its own --runs folder and send the records to the master, as a worker does that "
        "has no access to the master's disk",
    )
    group.add_argument(
        "--drain-s",
        env_var="EARWITNESS_DRAIN_S",
        type=float,
        default=DRAIN_S,
        metavar="SECONDS",
        help="how long the end of a run waits for answers and deliveries that are still in flight",
    )
    group.add_argument(
        "--metrics-port",
        env_var="EARWITNESS_METRICS_PORT",
        type=int,
        default=0,
        metavar="PORT",
        help="serve Prometheus metrics at http://127.0.0.1:PORT/metrics; the web UI does so at its own /metrics too",
    )
    group.add_argument(
        "--web-names",
        env_var="EARWITNESS_WEB_NAMES",
        default="",
        metavar="NAME,…",
        help="further host names by which a proxy or another machine may reach the web UI; "
        "requests with other names, and from pages of other origins, are refused",
    )
    group.add_argument(
        "--threshold",
        action=_Joined,
        default="",
        metavar='"METRIC [of WHAT] [p99] < LIMIT UNIT"',
        help="exit code 4 unless it is met; repeatable, or several in one text with ; between them, e.g. "
        '"fan-out p99 < 250 ms; errors < 1 %%"; '
        f"metrics: {', '.join(METRICS)}. Also `thresholds = [...]` in {DEFAULT_FILE} or [tool.earwitness] of "
        "pyproject.toml",
    )
    group.add_argument(
        "--check",
        action="append",
        default=[],
        metavar="FILE.py",
        help="judge the run also by your own checks in this file; repeatable",
    )
    group.add_argument(
        "--shape",
        env_var="EARWITNESS_SHAPE",
        default="",
        metavar="NAME[:VALUE]",
        help="number of users over the time, up to -u within -t: "
        + "; ".join(f"{name}: {form.text}" for name, form in FORMS.items()),
    )
    group.add_argument(
        "--arrivals",
        env_var="EARWITNESS_ARRIVALS",
        default="",
        metavar='"[poisson ]RATE/s"',
        help="open load: actions of all users together begin at planned times at this rate, evenly or as a Poisson "
        "process, whether or not earlier ones have ended; without it users pause after each action",
    )
    group.add_argument(
        "--faults",
        env_var="EARWITNESS_FAULTS",
        default="",
        metavar="KIND:WHERE@START[+DURATION][=VALUE],…",
        help="faults to inject, or a file with one fault a line; times count from when all users are connected; e.g. "
        "kill:auth@20s+5s,delay:edge@5s+5s=200ms. `none` removes the story's own faults",
    )
    group.add_argument(
        "--stop-on-fail",
        env_var="EARWITNESS_STOP_ON_FAIL",
        action="store_true",
        help="end the run at the first broken promise; what was recorded until then is judged",
    )
    group.add_argument(
        "--keep-frames",
        env_var="EARWITNESS_KEEP_FRAMES",
        action="store_true",
        help="keep every raw frame beside the records, for a finding in detail; at full load a "
        "quarter fewer messages per CPU-second, and their size on disk",
    )
    group.add_argument(
        "--defect",
        env_var="EARWITNESS_DEFECT",
        default="",
        metavar="SERVICE=NAME:P,…",
        help="start the reference platform with planted defects, to see them detected; e.g. backend=drop-push:0.001",
    )
    _show_in_form(group)


def _show_in_form(group: Any) -> None:
    """Mark the options FORM_OPTIONS so that Locust's form shows them.

    The marks are set afterwards, because only Locust's parser takes them as arguments, and an argument group does not.
    """
    for action in group._group_actions:
        if action.dest in FORM_OPTIONS:
            action.include_in_web_ui = True
            action.is_secret = action.is_required = action.is_multiple = False


def seed_of(options: Namespace) -> int | None:
    """Return the seed of `--seed`, None if it is not given. Raises SettingsError."""
    text = str(getattr(options, "seed", "") or "").strip()
    if not text:
        return None
    try:
        seed = int(text)
    except ValueError:
        raise SettingsError("--seed", [f"{text!r} is no whole number; give one like --seed 42"]) from None
    if not 0 <= seed < 1 << 63:
        raise SettingsError("--seed", [f"{seed} is out of range; give a number from 0 to 2**63 - 1"])
    return seed


def read_faults(options: Namespace, story: Story) -> tuple[Planned, ...]:
    """Return the planned faults of `--faults`, or else those of the story; () for `none`. Raises SettingsError."""
    text = str(getattr(options, "faults", "") or "").strip() or story.faults
    return () if text in ("", "none") else read_schedule(text, named=bool(options.target))


def faults_in_form(options: Namespace, story: Story) -> tuple[Planned, ...]:
    """Return the faults of a form, like `read_faults`, but never from a file.

    Raises SettingsError.
    """
    text = str(options.faults).strip()
    if text not in ("", "none") and "@" not in text:  # `read_schedule` takes such a text for the path of a file
        fault = f"{text!r} is no fault like {EXAMPLES['kill']}; a file can be named only when the process starts"
        raise SettingsError("--faults", [fault])
    return read_faults(options, story)


def standing_thresholds(options: Namespace, story: Story) -> list[Threshold]:
    """Return the thresholds from the story, then those from pyproject.toml, then those from earwitness.toml.

    `standing` in other functions is this list. A story's thresholds for memory apply to the reference platform only,
    and are left out for another one. Raises SettingsError.
    """
    own = parse_all(f"the story {story.name}", story.thresholds)
    if options.target:
        own = [one for one in own if one.metric != "memory"]
    project, local, _ = read_given(_texts(options))
    return [*own, *project, *local]


def read_thresholds(options: Namespace, standing: Sequence[Threshold]) -> list[str]:
    """Return `standing` followed by the thresholds of `--threshold`; for the same figure the later one applies.

    Raises SettingsError.
    """
    return merged(standing, parse_all("--threshold", _texts(options)))


def _texts(options: Namespace) -> list[str]:
    """Return the texts of the thresholds that the option `--threshold` joins in one text."""
    return [text for text in map(str.strip, str(options.threshold or "").split(SEPARATOR)) if text]
