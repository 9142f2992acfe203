"""Foreign chat server (`other_chat`) as a process, and users for it."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tied import tied

from earwitness.harness.dialects.protocol import Person, Room

OTHER_CHAT = Path(__file__).parent / "other_chat"
START_S = 20.0


class OtherChat:
    """The running server, and a target file with its address."""

    def __init__(self, process: subprocess.Popen[str], port: int, target_file: Path) -> None:
        self.process, self.port, self.target_file = process, port, target_file


def start_other_chat(folder: Path, *options: str) -> OtherChat:
    process = tied(
        [sys.executable, str(OTHER_CHAT / "server.py"), "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_S)
    assert ready, "the other chat did not say that it listens"
    port = json.loads(process.stdout.readline())["port"]
    file = folder / "target.toml"
    file.write_text((OTHER_CHAT / "target.toml").read_text().replace("8765", str(port)))
    return OtherChat(process, port, file)


def stop(chat: OtherChat) -> None:
    chat.process.terminate()
    chat.process.wait(timeout=10)
    assert chat.process.stdout is not None
    chat.process.stdout.close()


@pytest.fixture(scope="module")
def other_chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherChat]:
    """Yield a server that loses nothing; one for all tests of a module."""
    chat = start_other_chat(tmp_path_factory.mktemp("other-chat"))
    yield chat
    stop(chat)


@pytest.fixture
def losing_chat(tmp_path: Path) -> Iterator[OtherChat]:
    """Yield a server that silently drops its second delivery."""
    chat = start_other_chat(tmp_path, "--lose", "2")
    yield chat
    stop(chat)


@pytest.fixture
def tired_chat(tmp_path: Path) -> Iterator[OtherChat]:
    """Yield a server that closes a user's socket after the user's first message."""
    chat = start_other_chat(tmp_path, "--tire", "1")
    yield chat
    stop(chat)


@pytest.fixture
def person() -> Callable[[int, str], Person]:
    def make(number: int, tag: str = "t0") -> Person:
        name = f"ann-{number}"
        return Person(number=number, name=name, email=f"{name}.{tag}@people.example", secret=f"secret-{tag}-{number}")

    return make


@pytest.fixture
def room(person: Callable[[int, str], Person]) -> Callable[[int, str], Room]:
    """Return a function that makes a room of users 0 and 1."""

    def make(number: int = 0, tag: str = "t0") -> Room:
        return Room(number=number, label=f"{tag}-r{number}", members=(person(0, tag), person(1, tag)))

    return make
