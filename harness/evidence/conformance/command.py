"""The verb `earwitness conform`: run stories against every server that is installed, and write one page."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from math import ceil
from pathlib import Path

from earwitness.harness.errors import Exit, PlatformError, SettingsError
from earwitness.harness.evidence.conformance.guard import Guard
from earwitness.harness.evidence.conformance.kept import keep, kept
from earwitness.harness.evidence.conformance.page import Tried, lacks, page_text, summary
from earwitness.harness.evidence.conformance.servers import (
    Server,
    missing,
    of_dialects,
    read_servers,
    running,
    version_of,
)
from earwitness.harness.evidence.conformance.trials import Load, Trial, try_story
from earwitness.harness.evidence.published import publish
from earwitness.harness.progress import say, show

WORK = Path("runs/conformance")
PAGE = Path("docs/conformance.md")
FIRST_SEED = 701
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", re.ASCII)
REST_S = 3
"""Seconds that a run lasts in addition to two heartbeat timeouts of its server."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `earwitness conform`."""
    parser.add_argument("dialects", nargs="*", metavar="DIALECT", help="dialects or servers, instead of all")
    parser.add_argument("--list", action="store_true", help="list the servers, and how to get those that are missing")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each story (default 3)")
    parser.add_argument("-u", "--users", type=int, default=10, metavar="N", help="users of a run (default 10)")
    parser.add_argument(
        "-t", "--duration", default="12s", metavar="TIME",
        help="least duration of a run (default 12s); it is longer where two heartbeat timeouts of the server are",
    )  # fmt: skip
    parser.add_argument("--servers", type=Path, metavar="FILE", help="another list of servers")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help=f"folder for results (default {WORK})")
    parser.add_argument(
        "--continue", dest="goes_on", action="store_true",
        help="take servers from the folder for results that were tried before, in the same way and with verdicts",
    )  # fmt: skip
    parser.add_argument(
        "--page", type=Path, default=PAGE, metavar="FILE",
        help=f"the page to write, unless the existing one shows more (default {PAGE})",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the trials and write the page; return the exit code.

    It is 3 if a run gave no verdict, or lacked a heartbeat, cut or resume that it should have, or if no run was made;
    else 0. A broken promise of a foreign server is a result, not an error, and does not change the exit code. With
    `--list`, only print the servers, and return 0. Raises SettingsError for a dialect without a server, and for an
    invalid duration.
    """
    root = Path.cwd()
    servers = of_dialects(read_servers(args.servers), args.dialects)
    if not servers:
        known = ", ".join(sorted({one.dialect for one in read_servers(args.servers)}))
        raise SettingsError("earwitness conform", [f"no server of {' '.join(args.dialects)} is listed; known: {known}"])
    if args.list:
        for server in servers:
            absent = ", ".join(missing(server, root))
            show(
                f"{server.dialect:<14} {server.name:<34} {f'missing {absent}: {server.get}' if absent else 'installed'}"
            )
        return Exit.PASS
    seconds_of(args.duration)  # a mistake is said before anything is started
    all_tried = _all_tried(servers, args, root)
    names = shlex.join(args.dialects)
    command = (
        f"earwitness conform{f' {names}' if names else ''} --seeds {args.seeds} -u {args.users} -t {args.duration}"
    )
    show(publish(args.page, page_text(all_tried, command), args.work / args.page.name))
    without = any(lacks(tried) or any(trial.trouble for trial in tried.trials) for tried in all_tried)
    return Exit.UNKNOWN if without or not any(tried.trials for tried in all_tried) else Exit.PASS


def _all_tried(servers: Sequence[Server], args: argparse.Namespace, root: Path) -> list[Tried]:
    """Try one server after the other and return the results.

    On an interrupt a message says what is kept, no page is written, and KeyboardInterrupt is raised again.
    """
    done: list[Tried] = []
    try:
        for server in servers:
            done.append(_tried(server, args, root))
    except KeyboardInterrupt:
        say(
            f"interrupted after {len(done)} of {len(servers)} servers, so no page was written. "
            f"The server and its run have ended; what was recorded is in {args.work}. --continue goes on from there."
        )
        raise
    return done


def _tried(server: Server, args: argparse.Namespace, root: Path) -> Tried:
    """Start a server, run the stories with all seeds, stop the server, and print how it went; return the result."""
    absent = ", ".join(missing(server, root))
    if absent:
        say(f"{server.name}: not run, {absent} is missing: {server.get}")
        return Tried(server=server, absent=f"{absent} is missing")
    work = args.work / server.name.replace(" ", "-").replace("/", "-")
    work.mkdir(parents=True, exist_ok=True)
    asked = {"seeds": args.seeds, "users": args.users, "seconds": seconds_of(args.duration, server)}
    if args.goes_on and (before := kept(work, server, asked)) is not None:
        say(f"{server.name}: tried before")
        return before
    try:
        with Guard() as guard, running(server, root, work / "server.log", guard):
            trials = _trials(server, args, work, guard)
    except PlatformError as error:
        say(str(error))
        return Tried(server=server, absent=f"did not start ({error})")
    tried = Tried(server=server, version=version_of(server, root), trials=tuple(trials))
    keep(work, tried, asked)
    say(f"{server.name} {tried.version}: {summary(tried)}")
    return tried


def seconds_of(text: str, server: Server | None = None) -> int:
    """Return the duration of a run in s: the longest of the duration `text` (90, 90s, 1m30s) and what its server needs.

    A server needs two heartbeat timeouts and REST_S, and at least its `least_s`. Raises SettingsError if the text is no
    duration.
    """
    match = DURATION.fullmatch(text)
    if match is None or not text:
        raise SettingsError("earwitness conform", [f"-t {text} is no duration; for example -t 30s"])
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    asked = 3600 * hours + 60 * minutes + seconds
    if server is None:
        return asked
    return max(asked, ceil(server.least_s), ceil(2 * server.timeout_s) + REST_S if server.timeout_s else 0)


def _trials(server: Server, args: argparse.Namespace, work: Path, guard: Guard) -> Sequence[Trial]:
    done = []
    seconds = seconds_of(args.duration, server)
    for story in server.stories:
        for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
            load = Load(users=args.users, seconds=seconds, seed=seed)
            trial = try_story(server, story, load, runs=work, environ=guard.environ)
            say(f"  {server.name}, {trial.story}, seed {seed}: exit code {trial.exit_code} {trial.trouble}".rstrip())
            done.append(trial)
    return done
