"""The shipped example: its chat passes, its defect is found, with the commands of its page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TINY = Path(__file__).parents[2] / "examples" / "tiny_chat"
STORY = str(TINY / "story.py")


@pytest.fixture
def tiny_chat(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """`tiny_chat(*options)`: start the server on a free port and return the path of a target file for it."""
    servers: list[subprocess.Popen[str]] = []

    def start(*options: str) -> str:
        command = [sys.executable, str(TINY / "server.py"), "--port", "0", *options]
        servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert servers[-1].stdout is not None
        port = json.loads(servers[-1].stdout.readline())["port"]
        (tmp_path / "key.txt").write_text((TINY / "key.txt").read_text())
        file = tmp_path / "chat.toml"
        file.write_text((TINY / "chat.toml").read_text().replace("8765", str(port)))
        return str(file)

    yield start
    for server in servers:
        server.terminate()
        server.communicate(timeout=10)


def test_it_passes(locust: Any, tiny_chat: Callable[..., str]) -> None:
    run = locust("-u", "20", "-t", "5s", "--target", tiny_chat(), story=STORY)
    assert run.code == 0, run.out


def test_lost_deliveries_are_found(locust: Any, tiny_chat: Callable[..., str]) -> None:
    run = locust("-u", "20", "-t", "5s", "--target", tiny_chat("--lose", "200"), story=STORY)
    assert run.code == 1, run.out
    assert {"I4", "I5b"} <= set(run.broken)
