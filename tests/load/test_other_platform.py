"""Somebody else's platform, known only by its target.toml: another envelope, another login, no sequence numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

OTHER = Path(__file__).parents[1] / "target" / "other_chat"


@pytest.fixture
def other_chat(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start the other server; gives its target.toml."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str) -> Path:
        server = subprocess.Popen(
            [sys.executable, str(OTHER / "server.py"), "--port", "0", *args], stdout=subprocess.PIPE, text=True
        )
        started.append(server)
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        file = tmp_path / "chat.toml"
        file.write_text((OTHER / "target.toml").read_text().replace("127.0.0.1:8765", f"127.0.0.1:{port}"))
        return file

    yield start
    for server in started:
        server.terminate()
        server.communicate(timeout=10)


def test_it_passes(locust: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """Order, isolation, loss and identity are judged without one line of Python about it."""
    run = locust("-u", "20", "-r", "20", "-t", "6s", "--target", str(other_chat()))
    assert run.code == 0, run.out
    examined = {c["id"] for c in run.verdict["checks"] if c["examined"] > 0 and c["outcome"] == "PASS"}
    assert {"I1", "I2", "I5a", "I5b", "I6", "I8", "I10", "I12", "I15"} <= examined
    assert "I4" not in examined


def test_one_lost_delivery_is_found(locust: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """One delivery in thousands is dropped: FAIL, by the check of deliveries, and the witness names the message."""
    run = locust("-u", "20", "-r", "20", "-t", "6s", "--target", str(other_chat("--lose", "2000")))
    assert run.code == 1, run.out
    lost = run.check("I5b")
    assert (lost["outcome"], lost["violations"]) == ("FAIL", 1)
    assert [c["id"] for c in run.verdict["checks"] if c["outcome"] == "FAIL"] == ["I5b"]
