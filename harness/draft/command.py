"""The command `earwitness draft SESSION.har`: a first target file from a browser's recording."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from earwitness.harness.draft.recording import read_recording
from earwitness.harness.draft.writing import draft_of
from earwitness.harness.errors import TargetError
from earwitness.harness.progress import say, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `earwitness draft` to its parser."""
    parser.add_argument("file", type=Path, metavar="SESSION.har", help="recording that Chromium exported")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="write the draft to a new file (default: print it); none is overwritten",
    )


def run(args: argparse.Namespace) -> int:
    """Draft a target file, print or write it, and return the exit code 0.

    Raises TargetError if the recording cannot be read or has no socket, or if the output exists or cannot be written.
    """
    if args.write is not None and os.path.lexists(args.write):  # before the work; `x` below holds against a race
        raise TargetError(_exists(args.write))
    text = draft_of(read_recording(args.file), args.file.name)
    if args.write is None:
        show(text.rstrip("\n"))
        return 0
    try:
        with args.write.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise TargetError(_exists(args.write)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TargetError(f"{args.write} cannot be written: {reason}.") from None
    guesses, todos = text.count("guess: "), text.count("TODO: ")
    say(f"{args.write}: {guesses} guesses to check, {todos} TODO. Then run: earwitness probe {args.write}")
    return 0


def _exists(path: Path) -> str:
    return f"{path} exists, and is not overwritten: give --write another name."
