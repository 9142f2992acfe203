"""Whole runs against small servers in the shapes of well-known protocols (tests/support/shapes)."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tied import tied

from earwitness.harness.dialects.registry import load_target
from earwitness.harness.probe.rehearsal import Unfit, rehearse, unheard

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ROOT / "tests" / "support" / "shapes"
NAMES = sorted(path.stem for path in SHAPES.glob("*.toml"))
STORY = "examples/tiny_chat/story.py"
OFTEN = ("engine",)
"""Shapes with a whole run in each `make test`; the others have theirs in the campaign.

The sockets of `tutorial` are cut in each `make test`.
"""
START_S = 20.0
CAMPAIGN = pytest.mark.campaign


@pytest.fixture
def shape(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start the server; gives the target file of one shape."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *args: str) -> Path:
        server = tied(
            [sys.executable, str(SHAPES / "server.py"), "--port", "0", *args], stdout=subprocess.PIPE, text=True
        )
        started.append(server)
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        (tmp_path / "key.txt").write_text((SHAPES / "key.txt").read_text())
        (tmp_path / "chat.toml").write_text((SHAPES / f"{name}.toml").read_text().replace(":8766", f":{port}"))
        return tmp_path / "chat.toml"

    yield start
    for server in started:
        server.terminate()
        server.communicate(timeout=10)


@pytest.mark.parametrize("name", NAMES)
def test_two_users_talk(shape: Callable[..., Path], name: str) -> None:
    """`probe` would say that every promise of the file can be judged; texts come unchanged."""
    rehearsal = asyncio.run(rehearse(load_target(shape(name)), 5.0))
    assert (rehearsal.misfits(), rehearsal.notes) == ([], [])
    assert not any(unheard(rehearsal, voice) for voice in rehearsal.voices)


def test_two_users_talk_in_bytes(shape: Callable[..., Path]) -> None:
    """The server refuses text; with `send.binary` everything on the socket is bytes."""
    file = shape("hub", "--bytes")
    file.write_text(file.read_text().replace("[send]\n", "[send]\nbinary = true\n"))
    rehearsal = asyncio.run(rehearse(load_target(file), 5.0))
    assert rehearsal.notes == []
    assert not any(unheard(rehearsal, voice) for voice in rehearsal.voices)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('wait_text = "0"', 'wait_text = "9"', r"no answer to step 1 of socket\.steps \(wait_text = '9'\) within 1 s"),
        ('"sid":{kept.sid:json}', '"sid":"x"', "refused: step 2 of socket.steps was answered with '44.*who are you"),
        ('sid = "sid"', 'sid = "id"', "the answer to step 1 of socket.steps has no value for kept.sid"),
    ],
)
def test_a_wrong_opening_is_said(shape: Callable[..., Path], old: str, new: str, words: str) -> None:
    """The probe, and the rehearsal before each load, name the step and what came."""
    file = shape("engine")
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(Unfit, match=words):
        asyncio.run(rehearse(load_target(file), 1.0))


PART = {
    "engine": ('to = "2"', 'to = "no ping"'),
    "bayeux": ('"/meta/connect", clientId', '"/meta/other", clientId'),
    "counted": ('to = "#1"', 'to = "#9"'),
}


@pytest.mark.parametrize("name", [name if name in OFTEN else pytest.param(name, marks=CAMPAIGN) for name in PART])
def test_what_happens_without_it(locust: Callable[..., Any], shape: Callable[..., Path], name: str) -> None:
    """The server cuts a socket that is quiet: connections end, so the key was really needed."""
    file, (old, new) = shape(name), PART[name]
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    run = locust("-u", "2", "-r", "2", "-t", "5s", "--target", str(file), story=STORY)
    assert 4000 in run.values("DISCONNECT", "counter"), run.out


@pytest.mark.parametrize("name", [name if name in OFTEN else pytest.param(name, marks=CAMPAIGN) for name in NAMES])
def test_it_passes(locust: Callable[..., Any], shape: Callable[..., Path], name: str) -> None:
    """Longer than two times the quiet that these servers stand: nobody is cut, and what they promise holds."""
    run = locust("-u", "8", "-r", "8", "-t", "6s", "--target", str(shape(name)), story=STORY)
    assert run.code == 0, run.out
    examined = {c["id"] for c in run.verdict["checks"] if c["examined"] > 0 and c["outcome"] == "PASS"}
    assert {"I1", "I2", "I5b", "I6", "I10", "I12"} <= examined
    assert set(run.values("DISCONNECT", "counter")) == {1000}
    assert not any(run.values("PHASE", "flags")), "pings were taken for messages that still arrive"
    assert run.check("H1")["outcome"] == "PASS"


@CAMPAIGN
@pytest.mark.parametrize("name", ["tutorial", "engine"])
def test_one_lost_delivery_is_found(locust: Callable[..., Any], shape: Callable[..., Path], name: str) -> None:
    """One of some hundred deliveries is dropped: FAIL, by the checks of deliveries."""
    run = locust("-u", "8", "-r", "8", "-t", "5s", "--target", str(shape(name, "--lose", "60")), story=STORY)
    assert run.code == 1, run.out
    assert set(run.broken) <= {"I5b", "I25"}
    assert run.check("I5b")["violations"] == 1


def test_several_sockets_are_cut_and_come_back(locust: Callable[..., Any], shape: Callable[..., Path]) -> None:
    """Users whose sockets are cut open all of them again; every connection has one begin and one end in the record."""
    story = "locustfiles/ws_reconnect.py"
    run = locust("-u", "6", "-r", "6", "-t", "6s", "--target", str(shape("tutorial")), story=story)
    assert run.code == 0, run.out
    begun, ended = run.values("CONNECT", "conn"), run.values("DISCONNECT", "conn")
    assert len(begun) > 6
    assert sorted(begun) == sorted(ended) == sorted(set(begun))
    assert run.check("H1")["outcome"] == "PASS"


@pytest.fixture
def channels(tmp_path: Path, port: int) -> Iterator[Path]:
    """Start the tutorial of Django Channels on the real library; gives its target file."""
    if importlib.util.find_spec("channels") is None or importlib.util.find_spec("daphne") is None:
        pytest.skip("needs Django Channels: pip install channels daphne")
    with tied([sys.executable, str(ROOT / "tests/support/channels_tutorial.py"), str(port)]) as server:
        (tmp_path / "key.txt").write_text((SHAPES / "key.txt").read_text())
        text = (SHAPES / "tutorial.toml").read_text()
        (tmp_path / "chat.toml").write_text(text.replace(":8766/room/{room}", f":{port}/ws/chat/{{room}}/"))
        end = time.monotonic() + START_S
        while not _listens(port):
            assert server.poll() is None, "the server has ended"
            assert time.monotonic() < end, "the server does not listen"
        yield tmp_path / "chat.toml"
        server.terminate()


def _listens(port: int) -> bool:
    """Return whether somebody accepts connections; wait a moment if nobody does."""
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        select.select([], [], [], 0.05)
        return False
    return True


def test_the_tutorial_of_channels(locust: Callable[..., Any], channels: Path) -> None:
    """The real server, known by its target file alone; it says neither who is there nor who has written."""
    run = locust("-u", "8", "-r", "8", "-t", "5s", "--target", str(channels), story=STORY)
    assert run.code == 0, run.out
    examined = {c["id"] for c in run.verdict["checks"] if c["examined"] > 0 and c["outcome"] == "PASS"}
    assert {"I1", "I2", "I5b", "I6", "I10", "I12"} <= examined
