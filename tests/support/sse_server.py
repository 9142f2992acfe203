"""The chat API of `tests/support/sse_chat` as a process, and target files that point at it."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SSE_CHAT = Path(__file__).parent / "sse_chat"
COPIED = Path(__file__).parents[2] / "examples" / "dialects" / "sse_chat.toml"
START_S = 20.0


@pytest.fixture
def sse_chat(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start a server with some switches; return a target file. `strict`: the one that promises all the server keeps."""
    started: list[subprocess.Popen[str]] = []

    def start(*switches: str, strict: bool = False) -> Path:
        program = [sys.executable, str(SSE_CHAT / "server.py"), "--port", "0", *switches]
        process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_S)
        assert ready, "the chat API did not say that it listens"
        port = json.loads(process.stdout.readline())["port"]
        file = tmp_path / "sse_chat.toml"
        file.write_text((SSE_CHAT / "strict.toml" if strict else COPIED).read_text().replace("8790", str(port)))
        return file

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=10)
        assert process.stdout is not None
        process.stdout.close()
