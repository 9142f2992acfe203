"""Reserved ports: a port belongs to the platform from its start to its end, so no other program can take it.

The supervisor keeps a socket bound to each port and never lets it listen. Linux lets a second socket bind the same
address when both set SO_REUSEADDR and neither listens yet, while the kernel gives the port to no program that asks for
any free one. So a server that inherits no socket can still bind its port. The port of a killed service refuses
connections, as that of a dead service should, and is still reserved for the restart.
"""

from __future__ import annotations

import errno
import socket
import sys

import psutil

from earwitness.harness.errors import PlatformError

HOST = "127.0.0.1"
BACKLOG = 4096
_GUARDED = sys.platform == "linux"


class ReservedPort:
    """One port of 127.0.0.1, reserved until `close`."""

    def __init__(self, service: str, wanted: int = 0, how: str = "") -> None:
        """Reserve the port `wanted`, or any free one for 0.

        `service`: name of the service, for the error; `how`: text for the error that states how a user chooses another
        port. Raises PlatformError for a port that is in use or not permitted; the error names the program that uses the
        port, if that is visible.
        """
        self.service = service
        try:
            self._guard: socket.socket | None = _bound(wanted)
        except OSError as error:
            raise PlatformError(_refusal(service, wanted, error, how)) from None
        self.number: int = self._guard.getsockname()[1]
        if not _GUARDED:
            _leave_in_time_wait(self._guard)
            self._guard = None

    @property
    def url(self) -> str:
        """Return the http:// address of the port."""
        return f"http://{HOST}:{self.number}"

    def socket(self, *, listening: bool) -> socket.socket:
        """Return a new socket bound to the port, for one start of the service.

        The caller passes the socket to the service and closes its own copy. `listening`: the socket listens already.
        """
        return bound_socket(self.service, self.number, listening=listening)

    def close(self) -> None:
        """Release the port. Idempotent."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None


def bound_socket(service: str, port: int, *, listening: bool) -> socket.socket:
    """Return a socket bound to a reserved port. `listening`: the socket listens already; `service`: name for errors.

    Raises PlatformError if another program listens on the port.
    """
    try:
        bound = _bound(port)
        if listening:
            bound.listen(BACKLOG)
    except OSError as error:
        raise PlatformError(_refusal(service, port, error)) from None
    return bound


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound


def _leave_in_time_wait(bound: socket.socket) -> None:
    """Put the port of the socket into the TCP state TIME_WAIT, to reserve it on systems other than Linux.

    There two sockets cannot share an address, but the system gives such a port to no program that asks for any free
    one.
    """
    with bound:
        bound.listen(1)
        with socket.create_connection(bound.getsockname()) as client:
            accepted, _ = bound.accept()
            accepted.close()
            client.recv(1)


def _refusal(service: str, port: int, error: OSError, how: str = "") -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"{service} cannot use port {port} of {HOST}: {_listener(port)} listens there already; "
            f"stop that program, or choose another port with {how or f'--port {service}=NUMBER'}."
        )
    if error.errno == errno.EACCES:
        return f"{service} may not use port {port} of {HOST}: ports below 1024 need root. Choose a higher one."
    return f"{service} cannot use port {port} of {HOST}: {error.strerror}."


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp4"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        return "another program"  # one whose sockets only root may see
    return "another program"
