"""The verb `earwitness completion`: print a script that completes verbs and options at the TAB key."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from earwitness.harness import cli
from earwitness.harness.errors import Exit
from earwitness.harness.progress import show
from earwitness.harness.shipped import story_files

SHELLS = ("bash", "zsh", "fish")
FILES = {"FILE", "PATH", "STORY"}
FOLDERS = {"DIR", "FOLDER", "RUN"}
INSTALL = """where the script goes (a new shell reads it):
  earwitness completion bash > ~/.local/share/bash-completion/completions/earwitness
  earwitness completion zsh > ~/.zfunc/_earwitness      with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  earwitness completion fish > ~/.config/fish/completions/earwitness.fish"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `earwitness completion`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = INSTALL
    parser.add_argument("shell", choices=SHELLS, help="whose script to print")


def run(args: argparse.Namespace) -> int:
    """Print the completion script of a shell; return the exit code 0. The script starts no Python when it completes."""
    show(script(args.shell))
    return Exit.PASS


def script(shell: str) -> str:
    """Return the completion script for `shell`, one of SHELLS."""
    import shtab

    import earwitness.harness.load.hooks  # noqa: F401 (declares our options; first, as Locust patches sockets)

    parser = cli.parser_of(cli.VERBS)
    verbs = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    _add_run(verbs.choices[cli.RUN])
    for verb in verbs.choices.values():
        for action in _values(verb):
            named = action.metavar or action.dest.upper()
            if isinstance(named, str) and named in FOLDERS:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            elif action.type is Path or (isinstance(named, str) and named in FILES):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _values(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments that take a value which is not one of fixed choices."""
    return (one for one in parser._actions if one.nargs != 0 and one.choices is None)


def _add_run(parser: argparse.ArgumentParser) -> None:
    """Add to the parser of `run` the names of the stories, and all options of Locust and of this tool."""
    from locust import argument_parser

    parser.add_argument("story", choices=[path.stem for path in story_files()])
    for action in argument_parser.get_parser()._actions:
        if action.option_strings and action.dest not in ("help", "locustfile") and action.help != argparse.SUPPRESS:
            parser._add_action(action)
