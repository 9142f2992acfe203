"""`earwitness run`: Locust's options, and exit codes of which 1 means that a promise was broken, nothing else."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from warm_starts import WarmStarts

ROOT = Path(__file__).resolve().parents[2]
STORY = """
from locust import LoadTestShape, constant, task
from earwitness import ChatUser, story
{story}
class Talker(ChatUser):
{body}
    @task
    def talk(self):
        self.say()
{more}
"""
CALL = 'story(__file__, judged_by=["I1"], rooms=(3,))'


@pytest.fixture
def told(
    tmp_path: Path, environment: Callable[..., dict[str, str]], warm: WarmStarts
) -> Callable[..., tuple[int, str]]:
    """`told(STORY or None, *args)`: exit code and output of `earwitness run` of this story."""

    def run(text: str | None, *args: str) -> tuple[int, str]:
        file = tmp_path / "mine.py"
        if text is not None:
            file.write_text(text)
        return warm.run("earwitness.harness.cli", ["run", str(file), *args], environment(), ROOT)

    return run


def story_of(*, call: str = CALL, body: str = "", more: str = "") -> str:
    return STORY.format(story=call, body=body or "    think_s = (0.1, 0.2)", more=more)


@pytest.mark.parametrize(
    ("text", "args", "sentence"),
    [
        (None, (), "there is no file"),
        ("class T(ChatUser:\n  pass\n", (), "mine.py:1: "),
        ("import no_such_module\n", (), "ModuleNotFoundError: No module named 'no_such_module' (mine.py:1)"),
        (story_of(), ("Tolker",), "there is no class 'Tolker' (did you mean Talker?)"),
        (story_of(call=""), (), "the locustfile calls no story()"),
        (story_of(call=""), ("--target", "x.toml", "--seed", "1"), "the locustfile calls no story()"),
        (story_of(call=CALL.replace("I1", "I99")), (), "there is no check 'I99'; there are I1, I2"),
        (story_of(body="    wait_time = constant(1)"), ("--arrivals", "5/s"), "but Talker sets wait_time"),
        (story_of(body="    def on_start(self): pass"), (), "Talker.on_start: it does not call super().on_start()"),
        (story_of(), ("--defect", "backend=drop-push:0.1", "--target", "x.toml"), "leave out one of the two"),
        (story_of(), ("-t", "5s", "--faults", "kill:auth@5s"), "kill:auth@5s begins after the run of 5 s"),
        (story_of(), ("-t", "9" * 20 + "s"), "--run-time: so long a time is not possible"),
        (story_of(), ("--defect", "backend=drop-push:²"), "is not SERVICE=NAME:P with P from 0 to 1"),
        (
            story_of(more="class Odd(LoadTestShape):\n    def tick(self): return self.nothing\n"),
            (),
            "Odd: its users cannot be foreseen (AttributeError",
        ),
    ],
    ids=[
        "no file", "syntax", "import", "class", "no story", "options without story", "check", "wait_time", "super",
        "defect and target", "late", "long", "probability",
        "shape",
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(
    told: Callable[..., tuple[int, str]], text: str | None, args: tuple[str, ...], sentence: str
) -> None:
    """It says what is wrong, without a traceback, and exits with 2."""
    code, said = told(text, "--headless", "-u", "2", *args)
    assert code == 2, said
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line.startswith("earwitness: ")]
    assert sentence in lines[-1]


@pytest.mark.parametrize("option", ["--web-port", "--master-bind-port"])
def test_a_port_that_is_taken(told: Callable[..., tuple[int, str]], option: str) -> None:
    """It is refused before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        master = ("--master", "--headless") if option == "--master-bind-port" else ()
        code, said = told(story_of(), *master, option, port)
    assert code == 2, said
    assert f"earwitness: {option}: 127.0.0.1:{port} cannot be listened on (Address already in use)" in said
    assert "starting the platform" not in said


def test_help_shows_every_option(told: Callable[..., tuple[int, str]]) -> None:
    """Locust's and ours, and what the exit codes mean."""
    code, said = told(story_of(), "--help")
    assert code == 0
    for words in ("--processes", "--arrivals", "--target", "1 FAIL (a promise was broken, and nothing else)"):
        assert words in said


def test_a_shape_of_the_story(locust: Callable[..., Any], platform: Any, tmp_path: Path) -> None:
    """Users whom a later step starts act as well: the plan covers the shape's highest number."""
    steps = "class Stairs(LoadTestShape):\n    def tick(self):\n        passed = self.get_run_time()\n"
    steps += "        return (2, 5) if passed < 2 else (5, 5) if passed < 5 else None\n"
    file = tmp_path / "stairs.py"
    file.write_text(story_of(more=steps))
    run = locust(story=str(file), platform=platform)
    assert run.code == 0, run.out
    facts = run.check("H4")["facts"]
    assert (facts["users"], facts["connected"], facts["acted"]) == (5, 5, 5)


def test_the_time_is_over_while_users_start(locust: Callable[..., Any], platform: Any) -> None:
    """Users who come too late do nothing, without a traceback; fewer than planned is UNKNOWN."""
    run = locust("-u", "8", "-r", "1", "-t", "3s", story="tests/load/stories/talking.py", platform=platform)
    assert run.code == 3, run.out
    assert "Traceback" not in run.out
    assert "of 8 planned users were started" in run.check("H4")["why"]


@pytest.mark.parametrize("arguments", [["--help"], ["ws_ordering", "--help"]], ids=["no story", "a story"])
def test_help_is_the_same_in_any_folder(arguments: list[str], tmp_path: Path) -> None:
    """Ours first, Locust's after them, defaults that are the same in every folder, and examples of ours."""
    command = [sys.executable, "-m", "earwitness.harness.cli", "run", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout
    assert said.index("--faults KIND") < said.index("--spawn-rate")
    assert said.index("examples:") > said.index("--spawn-rate")
    assert "locust -f" not in said.partition("examples:")[2]


def test_the_defaults_are_the_same_in_any_folder(tmp_path: Path) -> None:
    """Not Locust's one user without an end, which would stop no run and reach no plan."""
    code = (
        "import earwitness.harness.load; from locust.argument_parser import get_parser; "
        "found = get_parser().parse_args([]); print(found.num_users, found.spawn_rate, found.run_time)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["100", "50.0", "30"], done.stderr
