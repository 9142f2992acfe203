"""Our options beside Locust's own, in `locust --help` and in environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import SettingsError
from harness.platform.faults import Planned, read_schedule

if TYPE_CHECKING:
    from harness.load.story import Story


def add_arguments(parser: Any, **_: Any) -> None:
    """Listener of Locust's init_command_line_parser."""
    # Locust binds its web UI and its master to every interface unless told; a tester must not open the machine.
    parser.set_defaults(web_host="127.0.0.1", master_bind_host="127.0.0.1")
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
        help="where run directories are made; runs/latest points at the newest",
    )
    group.add_argument(
        "--drain-s",
        env_var="EARWITNESS_DRAIN_S",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="how long the end of a run waits for answers and deliveries that are still on their way",
    )
    group.add_argument(
        "--faults",
        env_var="EARWITNESS_FAULTS",
        default="",
        metavar="KIND:WHERE@START[+DURATION][=VALUE],…",
        help="what is to go wrong, or a file with one fault a line; times count from when everybody is there; e.g. "
        "kill:auth@20s+5s,delay:edge@5s+5s=200ms. `none`: nothing, where the story has faults of its own",
    )
    group.add_argument(
        "--defect",
        env_var="EARWITNESS_DEFECT",
        default="",
        metavar="SERVICE=NAME:P,…",
        help="start the reference platform with defects, to see them caught; e.g. backend=drop-push:0.001",
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
