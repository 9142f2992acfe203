"""The verb `earwitness stories`: list the stories that come with the tool, or copy them so that they can be changed."""

from __future__ import annotations

import argparse
import ast
import shutil
from functools import cache
from pathlib import Path

from earwitness.harness.errors import EarwitnessError, Exit
from earwitness.harness.progress import say, show

PACKAGE = Path(__file__).absolute().parents[1]
"""Folder `earwitness`. The path is not resolved, because the subfolders of a checkout are symbolic links."""
STORIES = PACKAGE / "locustfiles"
EXAMPLES = PACKAGE / "examples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `earwitness stories`."""
    parser.add_argument(
        "--copy",
        type=Path,
        metavar="DIR",
        help="copy the stories to DIR/locustfiles and the examples to DIR/examples; existing files are kept",
    )


def run(args: argparse.Namespace) -> int:
    """Print the name and first line of each story, or copy the stories with --copy; return the exit code.

    Raises EarwitnessError if the files cannot be copied.
    """
    if args.copy is None:
        names = {path.stem: first_line(path) for path in story_files()}
        width = max(map(len, names))
        show("\n".join(f"{name:<{width}}  {line}" for name, line in names.items()))
        show("\nRun one:  earwitness run ws_ordering --headless\nChange one:  earwitness stories --copy .")
        return Exit.PASS
    copied = [
        *_copied(STORIES, args.copy / "locustfiles"),
        *(path for folder in _folders(EXAMPLES) for path in _copied(folder, args.copy / "examples" / folder.name)),
    ]
    say(f"copied {len(copied)} files to {args.copy}; next: earwitness run {args.copy / 'locustfiles/ws_ordering.py'}")
    return Exit.PASS


def story_files() -> list[Path]:
    """Return the files of the stories that come with the tool, sorted by name."""
    return sorted(STORIES.glob("*.py"))


def first_line(story: Path) -> str:
    """Return the first line of a story's docstring without its full stop. The story is parsed, not imported."""
    return (ast.get_docstring(ast.parse(story.read_text("utf-8"))) or "").partition("\n")[0].rstrip(".:")


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and path.name != "__pycache__")


def _copied(source: Path, to: Path) -> list[Path]:
    """Copy the files of a folder that do not exist in `to` yet, and return their new paths."""
    made = []
    try:
        to.mkdir(parents=True, exist_ok=True)
        for path in sorted(path for path in source.iterdir() if path.is_file()):
            if not (to / path.name).exists():
                shutil.copyfile(path, to / path.name)
                made.append(to / path.name)
    except OSError as error:
        raise EarwitnessError(f"{to}: the files cannot be copied there: {error.strerror}.") from error
    return made


@cache
def judged_by() -> dict[str, tuple[str, ...]]:
    """Return name of a story -> ids of the checks that must examine something. The stories are parsed, not imported.

    The tuple is empty if a story does not state the ids as `judged_by="I1 I2".split()`.
    """
    return {path.stem: tuple(_judged_by(ast.parse(path.read_text("utf-8")))) for path in story_files()}


def _judged_by(tree: ast.Module) -> list[str]:
    """Return the words of `judged_by="I1 I2".split()` in a call of `story`, [] if there is none in this form."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "story":
            given = next((keyword.value for keyword in node.keywords if keyword.arg == "judged_by"), None)
            words = [part.value for part in ast.walk(given) if isinstance(part, ast.Constant)] if given else []
            return [id for word in words for id in str(word).split()]
    return []
