"""Our options beside Locust's own, in `locust --help` and in environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from earwitness.harness.errors import SettingsError
from earwitness.harness.load.command_line import check_when_parsed
from earwitness.harness.planning.arrivals import FORMS
from earwitness.harness.platform.faults import Planned, read_schedule
from earwitness.harness.report.thresholds import METRICS, merged, parse_all, read_given
from earwitness.harness.settings import DEFAULT_FILE

if TYPE_CHECKING:
    from earwitness.harness.load.story import Story


LOAD: Final[dict[str, Any]] = {"num_users": 100, "spawn_rate": 50.0, "run_time": "30s", "only_summary": True}
"""Defaults in place of Locust's (one user, without an end): in any directory, and under every file and option."""


def add_arguments(parser: Any, **_: Any) -> None:
    """Add our options and defaults to Locust's parser; listener of its `init_command_line_parser`."""
    # Locust binds its web UI and its master to every interface unless told; a tester must not open the machine.
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
        "--drain-s",
        env_var="EARWITNESS_DRAIN_S",
        type=float,
        default=20.0,
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
        action="append",
        default=[],
        metavar='"METRIC [of WHAT] [p99] < LIMIT UNIT"',
        help='exit code 4 unless it is met; repeatable, e.g. "fan-out p99 < 250 ms", "errors < 1 %%"; '
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


def seed_of(options: Any) -> int | None:
    """The seed given, or None. Raises SettingsError."""
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


def read_faults(options: Any, story: Story) -> tuple[Planned, ...]:
    """The schedule given, else the story's own. Raises SettingsError."""
    text = str(getattr(options, "faults", "") or "").strip() or story.faults
    return () if text in ("", "none") else read_schedule(text, named=bool(options.target))


def read_thresholds(options: Any, story: Story) -> list[str]:
    """The story's, then pyproject.toml's, then earwitness.toml's, then the options': on the same figure the later one
    wins. What a story says of our own platform's memory is left out for another platform. Raises SettingsError."""
    own = parse_all(f"the story {story.name}", story.thresholds)
    if options.target:
        own = [one for one in own if one.metric != "memory"]
    return merged(own, *read_given(options.threshold or ()))
