"""Faults planted by a proxy before servers of ours and of PyPI: each is found by the check for it, in each dialect.

The dialects nats, mqtt, stomp, matrix and xmpp have such tests beside their others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from planted_faults import planted
from server_processes import ROOT, Program, found, free_port, running, saying_its_port
from server_trials import finds, planter_of
from story_runs import CHAT, CUTS, example_file

LOST, TWICE, SWAPPED, LEAKED = {"I5b"}, {"I6"}, {"I1", "I2"}, {"I12"}
FAULTS = {"lose": LOST, "duplicate": TWICE, "swap": SWAPPED, "leak": LEAKED, "": set[str]()}
RESUMED = "tests/support/conformance/graphql_resumed.toml"
ORDERED = (("names_sender = true", "names_sender = true\nordered = true"),)


@dataclass(frozen=True)
class Way:
    """A dialect before a server.

    server    script in tests/support, with its options; "" for Puma
    target    target file, in the root of the project or in examples/dialects
    match     text that only deliveries contain
    replaced  changes of the target file
    """

    server: str
    target: str
    match: str
    replaced: tuple[tuple[str, str], ...] = ()
    story: str = CHAT
    needs: tuple[str, ...] = field(default=())


WAYS = {
    "json": Way("../../examples/tiny_chat/server.py", "examples/tiny_chat/chat.toml", '"message"'),
    "socketio": Way("dialect_servers/socketio_app.py", "socketio", '"said"', needs=("socketio", "aiohttp")),
    "signalr": Way("dialect_servers/signalr_hub.py", "signalr", '"Said"'),
    "phoenix": Way("phoenix_server.py", "phoenix", '"new_msg"'),
    "pusher": Way("pusher_server.py", "pusher", "message", needs=("aiohttp",)),
    "graphql_ws": Way("graphql_server.py", "graphql_ws", '"next"', needs=("strawberry",)),
    "graphql_ws resumed": Way("graphql_server.py", RESUMED, '"next"', story=CUTS, needs=("strawberry",)),
    "action_cable": Way("", "action_cable", '"message"', ORDERED),
}
"""Ways by name. Puma has one worker here, which keeps the order of Action Cable: it can be promised, and broken."""


@contextmanager
def served(way: Way, folder: Path) -> Iterator[int]:
    """Run the server of a way; yield its port."""
    for module in way.needs:
        pytest.importorskip(module)
    if way.server.startswith("dialect_servers"):
        port = free_port()
        words = [sys.executable, str(ROOT / "tests/support" / way.server), "--port", str(port)]
        with running(Program(words, [port]), folder):
            yield port
    elif way.server:
        with saying_its_port(sys.executable, str(ROOT / "tests/support" / way.server), "--port", "0") as port:
            yield port
    else:
        puma, port = found("puma", "apt-get install --no-install-recommends ruby-actioncable puma"), free_port()
        words = [puma, "-b", f"tcp://127.0.0.1:{port}", "-t", "8:8", str(ROOT / "tests/support/action_cable/config.ru")]
        with running(Program(words, [port], {"CABLE_WORKERS": "1"}), folder):
            yield port


def target_of(way: Way, folder: Path, direct: int, proxy: int) -> Path:
    """Write the target file of a way: its socket leads to the proxy, its requests directly to the server."""
    if way.target.endswith(".toml"):
        file = folder / Path(way.target).name
        file.write_text((ROOT / way.target).read_text("utf-8"), "utf-8")
    else:
        file = example_file(folder, way.target, *way.replaced)
    lines = []
    for line in file.read_text("utf-8").splitlines():
        to = proxy if line.startswith("socket = ") else direct
        for port in ("8765", "3000", "5000", "4000", "6001", "8000"):
            line = line.replace(f"127.0.0.1:{port}", f"127.0.0.1:{to}")
        lines.append(line.replace("file:key.txt", f"file:{ROOT / 'examples/tiny_chat/key.txt'}"))
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


def trials() -> Iterator[Any]:
    """Yield a parameter for each way and fault; all but one only in campaigns, or with servers of Debian."""
    for name, way in WAYS.items():
        for fault in FAULTS:
            marks = [pytest.mark.campaign] if way.server else [pytest.mark.servers]
            often = (name, fault) == ("graphql_ws resumed", "lose")
            yield pytest.param(name, fault, marks=[] if often else marks, id=f"{name}-{fault or 'none'}")


@pytest.mark.parametrize(("name", "fault"), list(trials()))
def test_a_planted_fault_is_found(name: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the check for it. Without a fault the run passes; in a way that resumes, connections were resumed."""
    monkeypatch.setenv("PUSHER_APP_SECRET", "app-secret")
    way, planter = WAYS[name], planter_of(fault, 31)
    with served(way, tmp_path) as port, planted("ws", f"ws://127.0.0.1:{port}", planter, way.match) as proxy:
        judged = finds(planter, FAULTS[fault], target_of(way, tmp_path, port, proxy), way.story)
    if way.story == CUTS:
        assert judged.examined("I20") > 10, "sessions were resumed"
