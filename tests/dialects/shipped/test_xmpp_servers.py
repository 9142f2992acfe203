"""Prosody and ejabberd: the dialect xmpp against real servers, with cuts, kills and planted faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from planted_faults import planted
from server_trials import finds, passes, planter_of
from story_runs import CUTS, ORDERING, example_file, run_story
from xmpp_servers import XmppServer, missing

pytestmark = pytest.mark.servers

KINDS = ("prosody", "mnesia", "sql")
ACK_S = 3
"""The servers end a connection that does not answer their request for an acknowledgement within so many seconds."""


@contextmanager
def running(kind: str, folder: Path) -> Iterator[XmppServer]:
    if why := missing(kind):
        pytest.skip(why)
    server = XmppServer(kind, folder / kind, ack_s=ACK_S)
    server.start()
    try:
        yield server
    finally:
        server.end()


def target(folder: Path, address: str, more: str = "", *, managed: bool = True) -> Path:
    """Write the example's target file with another address, without its resuming unless `managed`."""
    file = example_file(folder, "xmpp", socket=f'"{address}"', **({} if managed else {"resume": "false"}))
    file.write_text(file.read_text() + ("" if managed else "\n[contract]\nresume = false\n") + more)
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_server_passes(kind: str, tmp_path: Path) -> None:
    """It is probed, then judged for longer than two of its deadlines, with sockets that are cut and resumed."""
    with running(kind, tmp_path) as server:
        file = target(tmp_path, server.url)
        judged = passes(file, CUTS, 2 * ACK_S + 4, unknown=True)
    assert {"I1", "I2", "I5a", "I5b", "I6", "I8", "I10", "I12", "I15", "I43"} <= judged.held


@pytest.mark.parametrize("kind", ["prosody", "sql"])
def test_streams_over_tcp(kind: str, tmp_path: Path) -> None:
    """The same without WebSocket."""
    with running(kind, tmp_path) as server:
        judged = run_story(CUTS, target(tmp_path, server.tcp), 8)
    assert judged.code == 0, judged.out
    assert {"I1", "I2", "I5a", "I5b", "I6", "I12", "I15"} <= judged.held


@pytest.mark.parametrize(("kind", "broken"), [("mnesia", {"I5a"}), ("sql", set()), ("prosody", set())])
def test_what_a_kill_loses(kind: str, broken: set[str], tmp_path: Path) -> None:
    """SIGKILL under load: ejabberd with mnesia loses what it sent back; with SQL it loses nothing, as prosody."""
    with running(kind, tmp_path) as server:
        commands = f'on = "kill -9 $(cat {server.folder}/pid)"\noff = "{server.restart}"\n'
        file = target(tmp_path, server.url, f"\n[faults.killed]\n{commands}")
        judged = run_story(ORDERING, file, 15, "--faults", "killed@6s+1s")
    assert judged.broken == broken, judged.out
    assert judged.code == (1 if broken else 0), judged.out


@pytest.mark.parametrize("kind", ["prosody", "sql"])
@pytest.mark.parametrize(
    ("fault", "checks"),
    [("lose", {"I5b"}), ("duplicate", {"I6"}), ("swap", {"I1", "I2"}), ("leak", {"I12"}), ("", set())],
)
def test_a_planted_fault_is_found(kind: str, fault: str, checks: set[str], tmp_path: Path) -> None:
    """A proxy spoils one delivery in forty; without a fault it passes."""
    planter = planter_of(fault, 40)
    with ExitStack() as stack:
        server = stack.enter_context(running(kind, tmp_path))
        at = urlsplit(server.url)
        port = stack.enter_context(planted("ws", f"ws://{at.netloc}", planter, "<message"))
        finds(planter, checks, target(tmp_path, f"ws://127.0.0.1:{port}{at.path}", managed=False))
