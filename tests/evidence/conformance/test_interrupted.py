"""`earwitness conform` that is interrupted or killed: its server and its run end, and nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from server_processes import free_port

from earwitness.harness.errors import Exit
from earwitness.harness.evidence.conformance.guard import Guard
from earwitness.harness.platform.children import module_environment

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 60.0
DAEMON = """
import subprocess, sys
server = [sys.executable, "examples/tiny_chat/server.py", "--port", sys.argv[1]]
subprocess.Popen(server, start_new_session=True).wait()
"""
"""Starts its server in another session, as servers in Erlang do: a signal to its group does not reach that."""


class Conform:
    """Command in the middle of a run, on a port of its own. All its processes have `folder` as TMPDIR."""

    def __init__(self, folder: Path) -> None:
        self.port, self.folder, self.work = free_port(), folder / "tmp", folder / "work"
        self.folder.mkdir()
        (folder / "daemon.py").write_text(DAEMON)
        tiny = ROOT / "examples/tiny_chat"
        target = (tiny / "chat.toml").read_text().replace("8765", str(self.port))
        (folder / "chat.toml").write_text(target.replace("file:key.txt", f"file:{tiny / 'key.txt'}"))
        (folder / "servers.toml").write_text(
            f'[[server]]\nname = "one"\ndialect = "json"\ntarget = "{folder}/chat.toml"\nversion = ""\n'
            f'start = "python {folder}/daemon.py {self.port}"\nready = "127.0.0.1:{self.port}"\n'
        )
        words = ["conform", "--servers", str(folder / "servers.toml"), "--page", str(folder / "page.md")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "earwitness.harness.cli", *words, "--work", str(self.work), "-t", "60s", "-u", "4"],
            cwd=ROOT, env={**module_environment(), "TMPDIR": str(self.folder)}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def until_the_run_records(self) -> None:
        """Return when the load has written records of messages."""
        end = time.monotonic() + DEADLINE_S
        while not any(path.stat().st_size > 8192 for path in self.work.rglob("journals/*")):
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)  # the run notifies nobody

    def left(self) -> list[str]:
        """Return the command lines of its processes that still run."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                mine = process.environ().get("TMPDIR") == str(self.folder)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
        return found


@pytest.fixture
def conform(tmp_path: Path) -> Iterator[Conform]:
    one = Conform(tmp_path)
    try:
        yield one
    finally:
        with suppress(ProcessLookupError):
            one.process.kill()
        one.process.wait()


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_nothing_is_left(conform: Conform, tmp_path: Path, number: signal.Signals, code: int) -> None:
    """To the command alone: its exit code, one sentence, no process, no open port, no temporary file, and no page."""
    conform.until_the_run_records()
    assert len(conform.left()) >= 4  # the command, the server and who started it, the run: they can be found
    conform.process.send_signal(number)
    _, said = conform.process.communicate(timeout=DEADLINE_S)
    assert conform.process.returncode == code, said
    end = time.monotonic() + DEADLINE_S
    while conform.left() and number == signal.SIGKILL:  # the guard ends them when it finds the command gone
        assert time.monotonic() < end, conform.left()
        time.sleep(0.05)
    assert conform.left() == []
    with socket.socket() as one:
        assert one.connect_ex(("127.0.0.1", conform.port)) != 0
    assert list(conform.folder.iterdir()) == []
    assert not (tmp_path / "page.md").exists()
    if number != signal.SIGKILL:
        assert "interrupted after 0 of 1 servers, so no page was written" in said
        assert "Traceback" not in said


def test_the_guard_ends_only_what_it_covers() -> None:
    """A process with its mark, and one of a session that it was told; another one lives on."""
    waits = [sys.executable, "-c", "import signal; signal.pause()"]
    bare = {"PATH": os.environ["PATH"]}
    with Guard() as guard:
        marked = subprocess.Popen(waits, env={**bare, **guard.environ})
        member = subprocess.Popen(waits, env=bare, start_new_session=True)
        other = subprocess.Popen(waits, env=bare, start_new_session=True)
        guard.cover(member.pid)
    try:
        assert (marked.wait(DEADLINE_S), member.wait(DEADLINE_S)) == (-signal.SIGKILL, -signal.SIGKILL)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
