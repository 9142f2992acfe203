"""Servers of other projects in the foreground, on the ports that the files in examples/dialects name.

    python tests/support/serve.py mosquitto

Writes the server's configuration into `build/started/NAME`, which is emptied before, and then replaces this process by
the server: a signal ends the server itself. `earwitness conform` starts servers by this command.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from brokers import amqtt_program, coilmq_program, mosquitto_program, nats_program, rabbitmq_program
from our_servers import PACKAGES, SERVERS
from server_processes import ROOT, Program, free_port
from story_runs import example_file
from synapse_server import SynapseServer
from tied import tied
from xmpp_servers import XmppServer

from earwitness.harness.platform.stores import find_valkey


def ours(folder: Path, script: str, port: int, target: str, beat: str) -> Program:
    """Configure a small server of this project; return its program.

    Its target file gets the option `beat` of the client.

    `script`: name of the server's file in tests/support, and its options.
    """
    example_file(folder, target, ("[options]", f"[options]\n{beat}  #"))
    return Program((sys.executable, *shlex.split(f"{ROOT}/tests/support/{script}")), (port,))


def mqtt(folder: Path, program: Program) -> Program:
    """Write the target file of a broker with the shortest keep-alive time of the client; return `program`."""
    example_file(folder, "mqtt", keepalive_s="2")
    return program


def xmpp(kind: str, folder: Path) -> Program:
    server = XmppServer(kind, folder, 5280)
    (folder / "pid").write_text(str(os.getpid()))  # this process becomes the server
    killed = f'on = "kill -9 $(cat {folder}/pid)"\noff = "{server.restart}"\n'
    file = example_file(folder, "xmpp", socket=f'"{server.url}"')
    file.write_text(f"{file.read_text()}\n[faults.killed]\n{killed}")
    return Program(tuple(shlex.split(server.command)), (5280,), server.environment)


def synapse(folder: Path) -> Program:
    example_file(folder, "matrix", poll_s="2.0")
    return Program(SynapseServer(folder, 8008).configured(), (8008,))


def node(folder: Path, *options: str) -> Program:
    """Configure socket.io in Node; return its program."""
    options = ("--ping", "2000", *options)
    return Program(("node", str(SERVERS / "socketio_app.cjs"), *options), (3000,), {"NODE_PATH": str(PACKAGES)})


def two_processes(folder: Path) -> Program:
    """Start Valkey in this process group, and configure two socket.io processes that share it; return the program."""
    port = free_port()
    with (folder / "valkey.log").open("w") as log:
        tied(
            [str(find_valkey()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    return node(folder, "--redis", f"redis://127.0.0.1:{port}", "--processes", "2")  # its client connects again


def coilmq(folder: Path, **keys: str) -> Program:
    """Configure coilmq, and write its target file; return the program.

    The target file states the machine's full name as host, because coilmq accepts no other.
    """
    example_file(folder, "stomp", host=f'"{socket.getfqdn()}"', ordered="true", **keys)
    return coilmq_program(folder, 61613)


PROGRAMS: dict[str, Callable[[Path], Program]] = {
    "nats": lambda folder: nats_program(folder, 4222, 8080),
    "mosquitto": lambda folder: mqtt(folder, mosquitto_program(folder, 1883, 8083)),
    "amqtt": lambda folder: mqtt(folder, amqtt_program(folder, 1883, 8083)),
    "coilmq": lambda folder: coilmq(folder, heart_beat_s="2.0"),
    "coilmq-silent": lambda folder: coilmq(folder, heart_beat_s="0"),
    "rabbitmq": lambda folder: mqtt(folder, rabbitmq_program(folder, 8083, 15674, 61613)),
    "prosody": lambda folder: xmpp("prosody", folder),
    "ejabberd-mnesia": lambda folder: xmpp("mnesia", folder),
    "ejabberd-sql": lambda folder: xmpp("sql", folder),
    "synapse": synapse,
    "signalr": lambda folder: ours(
        folder, "dialect_servers/signalr_hub.py --keep-alive-s 1.5", 5000, "signalr", "keep_alive_s = 1.0"
    ),
    "phoenix": lambda folder: ours(folder, "phoenix_server.py --timeout 4", 4000, "phoenix", "heartbeat_s = 1.5"),
    "graphql": lambda folder: ours(folder, "graphql_server.py --ping-s 2", 8000, "graphql_ws", "ping_s = 1.5"),
    "socketio": node,
    "socketio-recovery": lambda folder: node(folder, "--recovery"),
    "socketio-two": two_processes,
}


def main() -> None:
    """Write the configuration of the named server, and replace this process by the server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(PROGRAMS))
    name = parser.parse_args().name
    folder = ROOT / "build" / "started" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    program = PROGRAMS[name](folder)
    os.chdir(folder)
    os.execvpe(program.command[0], program.command, {**os.environ, **program.environ})


if __name__ == "__main__":
    main()
