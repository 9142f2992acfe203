"""Verb `earwitness run STORY [Locust's options]`: runs Locust, with the exit codes of Earwitness."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earwitness.harness.described import near
from earwitness.harness.errors import EarwitnessError, Exit, SettingsError
from earwitness.harness.progress import say
from earwitness.harness.shipped import STORIES, story_files

if TYPE_CHECKING:
    from locust.env import Environment

FOLDER = Path("locustfiles")
"""Folder with stories in the working directory; they take precedence over those that come with the tool."""
USAGE = "earwitness run STORY [options]"
ABOUT = """STORY is a locustfile, or the name of a story; `earwitness stories` lists those that come with the tool.
Without --headless it opens Locust's web UI. All options of Locust and of Earwitness follow.
Exit codes: 0 PASS, 1 FAIL (a promise was broken, and nothing else), 2 could not run, 3 UNKNOWN,
4 a threshold was missed, 130 / 143 interrupted by SIGINT / SIGTERM unless a promise was broken."""
EXAMPLES = """examples:
  earwitness run ws_ordering --headless                          100 users for 30 s on the platform that is started
  earwitness run ws_ordering --headless --target chat.toml       on a platform of your own
  earwitness run ws_ordering --headless --seed 7 --keep-frames   the same users, rooms and texts again
  earwitness run ws_ordering --headless --faults kill:auth@20s+5s --threshold "errors < 1 %"
  earwitness run ws_ordering --headless -u 1000 -r 100 -t 5m --processes 2
"""


def main(arguments: Sequence[str]) -> int:
    """Run a story with Locust; return the exit code. A user's mistake is reported in one sentence, with exit code 2."""
    try:
        if not arguments:
            print(f"usage: {USAGE}\n\n{ABOUT}\n\n{EXAMPLES}", file=sys.stderr)  # noqa: T201 (no words of others)
            return Exit.CANNOT_RUN
        if arguments[0] in ("-h", "--help"):
            return _help(None)
        story = find_story(arguments[0])
        refuse_broken(story)
        if {"-h", "--help"} & set(arguments[1:]):
            return _help(story)
        return _locust(story, arguments[1:])
    except EarwitnessError as error:
        say(str(error))
        return error.exit_code


def find_story(name: str) -> Path:
    """Return the file of the story `name`: a path, a story in locustfiles/, or one that comes with the tool.

    Raises SettingsError if there is none.
    """
    if name.startswith("-"):
        raise SettingsError("earwitness run", [f"the story comes before {name}: earwitness run ws_ordering {name}"])
    for path in (Path(name), FOLDER / f"{name}.py", STORIES / f"{name}.py"):
        if path.is_file():
            return path
    stories = [path.stem for path in (*FOLDER.glob("*.py"), *story_files())]
    raise SettingsError("earwitness run", [f"there is no file {name} and no story of that name{near(name, stories)}"])


def refuse_broken(story: Path) -> None:
    """Raise SettingsError if the story cannot be read or is not valid Python; Locust would exit with 1 for it."""
    try:
        compile(story.read_bytes(), str(story), "exec")
    except (SyntaxError, ValueError) as error:
        place, what = (f"{story}:{error.lineno}", error.msg) if isinstance(error, SyntaxError) else (story, str(error))
        raise SettingsError(str(place), [f"{what}; correct it and run it again"]) from error
    except OSError as error:
        raise SettingsError(str(story), [f"it cannot be read: {error.strerror}"]) from error


def _locust(story: Path, options: Sequence[str]) -> int:
    import locust
    from locust import main as locust_main

    environments: list[Environment] = []
    events: Any = locust.events
    events.init.add_listener(lambda environment, **_: environments.append(environment))
    run_locust: Any = locust_main.main
    sys.argv = ["locust", "-f", str(story), *options]
    try:
        run_locust()
    except SystemExit as end:
        return _code(end.code, environments)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise SettingsError(
            str(story), [f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"]
        ) from error
    return Exit.PASS


def _code(code: str | int | None, environments: Sequence[Environment]) -> int:
    """Convert Locust's exit code `code` to one of `Exit`.

    Locust exits with 1 for many mistakes; such a 1 becomes CANNOT_RUN, unless it is the exit code of the run's verdict.
    """
    judged = bool(environments) and environments[-1].process_exit_code == code
    if code is None or code == Exit.PASS or (isinstance(code, int) and (judged or code > 1)):
        return int(code or 0)
    return Exit.CANNOT_RUN


def _help(story: Path | None) -> int:
    """Print the help with every option, of Locust and of Earwitness; return PASS.

    Locust prints its own help before it loads the locustfile, so it would lack the options of Earwitness.
    """
    from locust import argument_parser

    if story is not None:  # it may have options of its own
        from locust.util.load_locustfile import load_locustfile

        load_locustfile(str(story))
    parser = argument_parser.get_parser()  # calls the listener in `story`, which adds ours
    parser.usage, parser.description, parser.epilog = USAGE, ABOUT, EXAMPLES
    parser._action_groups.sort(key=lambda group: group.title != "Earwitness")  # ours first; the order is stable
    parser.print_help()
    return Exit.PASS
