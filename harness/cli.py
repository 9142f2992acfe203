"""The `earwitness` command: each verb is a module with add_arguments(parser), and run(args) -> exit code.

The module of the verb `run` has main(arguments) -> exit code instead, because Locust parses its options.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import threading
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from types import FrameType
from typing import NoReturn

from earwitness.harness.errors import EarwitnessError, Exit
from earwitness.harness.progress import say, write_anything

RUN = "run"
"""Verb whose options are passed on to Locust, so none of them is parsed here."""
COMPARE = "compare"
"""Verb whose arguments are divided into two sides by `--`, which argparse would drop."""
SIDES = "--"
VERBS = {
    RUN: ("earwitness.harness.load.command", "run a story under load and judge it (Locust with all its options)"),
    "stories": ("earwitness.harness.shipped", "list the stories that come with the tool, or copy them"),
    "up": ("earwitness.harness.platform.up", "start the whole platform in the foreground and print its endpoints"),
    "check": ("earwitness.harness.report.check", "judge a run directory again"),
    "collect": (
        "earwitness.harness.report.collecting",
        "bring the parts of a run together from a store or other hosts, and judge it",
    ),
    "report": ("earwitness.harness.report.page.command", "write report.html of a run again"),
    "verify": ("earwitness.harness.record.verify", "verify that the evidence of a run is complete and unchanged"),
    COMPARE: (
        "earwitness.harness.report.comparison.command",
        "compare runs of two states: is one slower, beyond what differs from run to run?",
    ),
    "baseline": (
        "earwitness.harness.report.comparison.baselines",
        "keep the figures of a set of runs, and compare new runs with them",
    ),
    "probe": ("earwitness.harness.probe.command", "run two users against a target file and list what can be judged"),
    "draft": ("earwitness.harness.draft.command", "draft a target file from a browser's recording (HAR)"),
    "schema": ("earwitness.harness.dialects.schemas", "print the JSON schema of a target file or of the settings"),
    "defects": (
        "earwitness.harness.evidence.command",
        "list the defects of the reference platform; with --matrix show that they are detected",
    ),
    "conform": (
        "earwitness.harness.evidence.conformance.command",
        "run stories against every chat server that is installed, and write what each one kept of its promises",
    ),
    "export": ("earwitness.harness.record.exporter", "write a run's history as Parquet or JSON lines, or as a trace"),
    "clean": ("earwitness.harness.report.clean", "list and remove what runs left behind on disk"),
    "import": ("earwitness.harness.record.importer", "create a run directory from a history recorded by any client"),
    "completion": ("earwitness.harness.completion", "print a script that completes commands in bash, zsh or fish"),
}
"""Name of a verb -> (its module, what it does)."""

EPILOG = """exit codes: 0 PASS, 1 FAIL (a promise was broken), 2 could not run, 3 UNKNOWN (too little evidence),
4 a threshold was missed, 130 or 143 interrupted. The main job: earwitness run ws_ordering --headless"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that `argv` names and return its exit code.

    `argv`: the arguments, without the name of the command; None: those of this process. A user's mistake is printed as
    one sentence and returns its exit code, usually 2, never a traceback. Wrong options, `--help` and `--version` raise
    SystemExit, as argparse does.
    """
    write_anything()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == [RUN]:
        return int(importlib.import_module(VERBS[RUN][0]).main(arguments[1:]))
    wanted = next((a for a in arguments if a in VERBS), None)
    if wanted == COMPARE:
        arguments = _divided(arguments)
    args = parser_of([wanted] if wanted else []).parse_args(arguments)
    try:
        with _ended_like_an_interrupt():
            return int(importlib.import_module(VERBS[args.verb][0]).run(args))
    except BrokenPipeError:
        return Exit.CANNOT_RUN
    except KeyboardInterrupt as end:
        return Exit.TERMINATED if isinstance(end, _Terminated) else Exit.INTERRUPTED
    except EarwitnessError as error:
        say(str(error))
        return error.exit_code
    except Exception:  # a defect of earwitness; exit code 1 would mean that a promise was broken
        traceback.print_exc()
        say("this is a defect of earwitness; please report it with the lines above.")
        return Exit.CANNOT_RUN


def parser_of(wanted: Collection[str]) -> argparse.ArgumentParser:
    """Return the parser of the command, with the options of the verbs in `wanted`. Other verbs are not imported.

    The options of `run` are Locust's and are left out.
    """
    parser = argparse.ArgumentParser(
        prog="earwitness", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"earwitness {version('earwitness')}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (path, text) in VERBS.items():
        sub = verbs.add_parser(name, help=text, description=text)
        if name in wanted and name != RUN:
            importlib.import_module(path).add_arguments(sub)
    return parser


def _divided(arguments: Sequence[str]) -> list[str]:
    """Return the command line with the first `--` doubled: argparse drops one, and the other divides the sides."""
    at = arguments.index(SIDES) if SIDES in arguments else len(arguments)
    return [*arguments[:at], *([SIDES] if at < len(arguments) else []), *arguments[at:]]


class _Terminated(KeyboardInterrupt):
    """Interrupt by SIGTERM."""


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


@contextmanager
def _ended_like_an_interrupt() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C within this context, so that the verb cleans up in the same way.

    A verb may install a handler of its own instead. No-op outside of the main thread, or if SIGTERM is ignored.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:  # the parent process ignores it on purpose
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
