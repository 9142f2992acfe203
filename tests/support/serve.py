"""Foreign servers in the foreground, on the ports that the files in examples/dialects name.

    python tests/support/serve.py mosquitto

Each writes its configuration into `build/started/NAME`, which is emptied before, and then becomes the server: a signal
ends the server itself. `earwitness conform` starts servers by this command.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from brokers import amqtt_program, coilmq_program, mosquitto_program, nats_program, rabbitmq_program
from our_servers import PACKAGES, SERVERS
from server_processes import ROOT, Program, free_port
from story_runs import example_file
from synapse_server import SynapseServer
from xmpp_servers import XmppServer

from earwitness.harness.platform.stores import find_valkey


def xmpp(kind: str, folder: Path) -> Program:
    server = XmppServer(kind, folder, 5280)
    return Program(tuple(shlex.split(server.command)), (5280,), server.environment)


def synapse(folder: Path) -> Program:
    return Program(SynapseServer(folder, 8008).configured(), (8008,))


def node(folder: Path, *options: str) -> Program:
    """Configure socket.io in Node."""
    return Program(("node", str(SERVERS / "socketio_app.cjs"), *options), (3000,), {"NODE_PATH": str(PACKAGES)})


def two_processes(folder: Path) -> Program:
    """Start Valkey in the same group of processes, and configure two processes of socket.io that share it."""
    port = free_port()
    with (folder / "valkey.log").open("w") as log:
        subprocess.Popen(
            [str(find_valkey()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    return node(folder, "--redis", f"redis://127.0.0.1:{port}", "--processes", "2")  # its client connects again


def coilmq(folder: Path, **keys: str) -> Program:
    """Configure coilmq, and write the target file for it: it accepts only the full name of its machine as host."""
    example_file(folder, "stomp", host=f'"{socket.getfqdn()}"', ordered="true", **keys)
    return coilmq_program(folder, 61613)


PROGRAMS: dict[str, Callable[[Path], Program]] = {
    "nats": lambda folder: nats_program(folder, 4222, 8080),
    "mosquitto": lambda folder: mosquitto_program(folder, 1883, 8083),
    "amqtt": lambda folder: amqtt_program(folder, 1883, 8083),
    "coilmq": coilmq,
    "coilmq-silent": lambda folder: coilmq(folder, heart_beat_s="0"),
    "rabbitmq": lambda folder: rabbitmq_program(folder, 8083, 15674, 61613),
    "prosody": lambda folder: xmpp("prosody", folder),
    "ejabberd-mnesia": lambda folder: xmpp("mnesia", folder),
    "ejabberd-sql": lambda folder: xmpp("sql", folder),
    "synapse": synapse,
    "socketio": node,
    "socketio-recovery": lambda folder: node(folder, "--recovery"),
    "socketio-two": two_processes,
}


def main() -> None:
    """Write the configuration, and become the server."""
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
