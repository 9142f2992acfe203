from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform import ports
from earwitness.harness.platform.ports import ReservedPort

BIND_AND_LISTEN = """
import socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
"""


@pytest.mark.parametrize("guarded", [ports._GUARDED, False])
def test_a_reserved_port_is_given_to_nobody_who_asks_for_any(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While 200 ports are reserved, 2,000 binds to port 0 get none of them; the way of other systems too."""
    monkeypatch.setattr(ports, "_GUARDED", guarded)
    reserved = [ReservedPort("x") for _ in range(200)]
    numbers = {port.number for port in reserved}
    assert len(numbers) == 200
    for _ in range(2000):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", 0))
            assert other.getsockname()[1] not in numbers
    for port in reserved:
        port.close()


def test_a_server_that_takes_no_socket_can_bind_its_reserved_port() -> None:
    """A second process binds and listens on a port while we hold it."""
    port = ReservedPort("x")
    subprocess.run([sys.executable, "-S", "-c", BIND_AND_LISTEN, str(port.number)], check=True)
    port.close()


def test_a_reserved_port_refuses_connections_until_somebody_listens() -> None:
    """The reservation alone never accepts anything."""
    port = ReservedPort("x")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port.number), timeout=2)
    with port.socket(listening=True):
        socket.create_connection(("127.0.0.1", port.number), timeout=2).close()
    port.close()


def test_a_taken_port_is_named_with_whom_has_it() -> None:
    """A port that the user fixed and somebody else uses gives one sentence: what, where, who, what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(PlatformError, match=rf"edge cannot use port {number} of 127.0.0.1: .*--port edge=NUMBER"):
            ReservedPort("edge", number)
