"""Chat API of `tests/support/sse_chat` as a process, and target files with its address."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from server_processes import saying_its_port
from story_runs import example_file

SSE_CHAT = Path(__file__).parent / "sse_chat"


@pytest.fixture
def sse_chat(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Yield a function that starts a server with some switches and returns a target file.

    `strict`: the target file whose contract has every promise that the server keeps.
    """
    with ExitStack() as started:

        def start(*switches: str, strict: bool = False) -> Path:
            command = (sys.executable, str(SSE_CHAT / "server.py"), "--port", "0", *switches)
            port = started.enter_context(saying_its_port(*command))
            if not strict:
                return example_file(tmp_path, "sse_chat", port=port)
            file = tmp_path / "sse_chat.toml"
            file.write_text((SSE_CHAT / "strict.toml").read_text().replace("8790", str(port)))
            return file

        yield start
