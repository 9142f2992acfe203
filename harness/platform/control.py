"""Control socket of a running platform: its server, its client, and the search for its address.

A request and its answer are one line of JSON each. An address is `earwitness://TOKEN@127.0.0.1:PORT`. The token gives
full control of the platform: it is random and stored where only its owner can read it. A connection carries one
request, so that a client may be used from any thread, greenlet or forked child.

`earwitness up` writes the address into `.earwitness-platform.json` (0600) in the folder in which it was started, and
removes the file at its end. `EARWITNESS_PLATFORM` names such a file or a control address; `none` means that no running
platform is used.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import socket
import stat
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from earwitness.harness.errors import EarwitnessError, PlatformError
from earwitness.harness.platform.links import Links
from earwitness.harness.platform.ports import HOST
from earwitness.harness.platform.process import Status, Usage
from earwitness.harness.platform.supervisor import Supervisor
from earwitness.harness.progress import say, show

VARIABLE = "EARWITNESS_PLATFORM"
STATE_FILE = ".earwitness-platform.json"
_NONE = "none"
_SCHEME = "earwitness"
_REQUEST_TIMEOUT_S = 60.0
_HELLO_TIMEOUT_S = 10.0
_MAX_LINE = 1 << 16
_MAX_LOG_LINES = 10_000


class ControlServer:
    """Server on 127.0.0.1 that answers control requests until it is closed.

    `endpoints`: the answer to the request `endpoints`; `shut_down`: called to end the platform; `links`: the links that
    faults can disturb, None for a platform without links.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        endpoints: Mapping[str, object],
        shut_down: Callable[[], None],
        links: Links | None = None,
    ) -> None:
        """Generate the token of the address; `open` starts listening."""
        self._supervisor, self._endpoints, self._shut_down = supervisor, endpoints, shut_down
        self._links = links or Links(())
        self._token = secrets.token_urlsafe(24)
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        """Start listening and return the address."""
        self._server = await asyncio.start_server(self._serve, HOST, 0, limit=_MAX_LINE)
        port = self._server.sockets[0].getsockname()[1]
        return f"{_SCHEME}://{self._token}@{HOST}:{port}"

    def close(self) -> None:
        """Stop listening. No-op if `open` was not called."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readuntil(b"\n"), _HELLO_TIMEOUT_S)
            writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
            await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            return  # the client has disconnected, or sent no request in time
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict) or not secrets.compare_digest(str(request.get("token")), self._token):
                return {"error": "The control socket wants the platform's token."}
            return {"result": await self._do(request)}
        except EarwitnessError as error:
            return {"error": str(error)}
        except OSError as error:
            return {"error": f"That did not work: {error or type(error).__name__}."}
        except (ValueError, TypeError, KeyError) as error:
            return {"error": f"The control socket does not understand this request: {error}."}

    async def _do(self, request: dict[str, Any]) -> object:
        supervisor, verb, name = self._supervisor, request.get("do"), str(request.get("service"))
        looks: dict[str, Callable[[], object]] = {
            "endpoints": lambda: self._endpoints,
            "status": supervisor.status,
            "stats": supervisor.stats,
            "deaths": lambda: [str(death) for death in supervisor.deaths],
            "logs": lambda: supervisor.logs(name, min(int(request.get("lines", 100)), _MAX_LOG_LINES)),
            "shutdown": self._shut_down,
        }
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "kill": lambda: supervisor.kill(name),
            "stop": lambda: supervisor.stop(name),
            "start": lambda: supervisor.start_again(name),
            "pause": lambda: supervisor.pause(name),
            "resume": lambda: supervisor.resume(name),
            "restart": lambda: supervisor.restart(
                name, graceful=bool(request.get("graceful", True)), settings=request.get("settings")
            ),
            "replace": lambda: supervisor.replace(name),
            "wipe": lambda: supervisor.wipe(name),
            "links": lambda: self._links.ask("status"),
            "disturb": lambda: self._links.ask("set", link=request["link"], conditions=request["conditions"]),
            "cut": lambda: self._links.ask("cut", link=request["link"]),
            "try": lambda: self._links.try_out(str(request["link"])),
        }
        if verb in looks:
            return looks[verb]()
        if verb in acts:
            return await acts[verb]()
        raise PlatformError(f"There is no request {verb!r}; there are {', '.join([*looks, *acts])}.")


class ControlClient:
    """Client of a running platform's control socket.

    It uses plain blocking sockets (cooperative where gevent has patched them). Every method that sends a request raises
    PlatformError, with the supervisor's own message (no such service, for example), or if the supervisor does not
    answer.
    """

    def __init__(self, address: str, timeout_s: float = _REQUEST_TIMEOUT_S) -> None:
        """Parse an address of `ControlServer`; nothing is sent. Raises PlatformError if it is malformed.

        `timeout_s` limits each operation on a socket.
        """
        parts = urlsplit(address)
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme != _SCHEME or not parts.username or parts.hostname != HOST or port is None:
            raise PlatformError(
                f"This is no platform's control address: it must look like {_SCHEME}://TOKEN@{HOST}:PORT."
            )
        self.address = address
        self._token, self._port, self._timeout_s = parts.username, port, timeout_s

    def __repr__(self) -> str:
        """Return a text with the address, but without its token."""
        return f"ControlClient({_SCHEME}://…@{HOST}:{self._port})"

    def ask(self, do: str, **arguments: object) -> Any:
        """Send one request and return its result. The other methods call this one.

        `do`: a verb of `ControlServer`, with its `arguments`. Blocks for up to `timeout_s` seconds in each operation on
        the socket. Raises PlatformError if the supervisor refuses, or does not answer.
        """
        line = json.dumps({"token": self._token, "do": do, **arguments}).encode() + b"\n"
        try:
            with socket.create_connection((HOST, self._port), timeout=self._timeout_s) as connection:
                connection.sendall(line)
                answer = _read_line(connection)
        except OSError as error:
            raise PlatformError(f"The platform's supervisor (port {self._port}) does not answer: {error}.") from None
        if not answer:
            raise PlatformError(f"The platform's supervisor (port {self._port}) ended before it had answered {do!r}.")
        reply = json.loads(answer)
        if "error" in reply:
            raise PlatformError(str(reply["error"]))
        return reply["result"]

    def endpoints(self) -> dict[str, Any]:
        """Return the endpoints as `earwitness up --json` prints them: addresses, settings, links."""
        return dict(self.ask("endpoints"))

    def status(self) -> dict[str, Status]:
        """Return service -> its `Status` (see `harness.platform.process`): state, pid, starts, log, death."""
        return dict(self.ask("status"))

    def stats(self) -> dict[str, Usage]:
        """Return service -> its `Usage` (see `harness.platform.process`): pid, processes, rss_bytes, cpu_s, fds."""
        return dict(self.ask("stats"))

    def deaths(self) -> list[str]:
        """Return one text for each service that ended unexpectedly: status, last log lines, log file."""
        return list(self.ask("deaths"))

    def logs(self, service: str, lines: int = 100) -> str:
        """Return the last `lines` lines of a service's log."""
        return str(self.ask("logs", service=service, lines=lines))

    def kill(self, service: str) -> None:
        """Send SIGKILL to a service; return when it has ended."""
        self.ask("kill", service=service)

    def stop(self, service: str) -> None:
        """Send a service its stop signal; return when the service has ended."""
        self.ask("stop", service=service)

    def start(self, service: str) -> None:
        """Start a service that does not run; return when it is ready."""
        self.ask("start", service=service)

    def pause(self, service: str) -> None:
        """Send SIGSTOP to a service, which keeps its connections but sends nothing; return when it has stopped."""
        self.ask("pause", service=service)

    def resume(self, service: str) -> None:
        """Send SIGCONT to a paused service."""
        self.ask("resume", service=service)

    def restart(self, service: str, *, graceful: bool = True, settings: Mapping[str, object] | None = None) -> None:
        """Stop a service and start it with changed `settings`; return when it is ready again.

        `graceful`: stop the service by its stop signal, else by SIGKILL. Later starts use the changed settings too.
        """
        self.ask("restart", service=service, graceful=graceful, settings=dict(settings or {}))

    def replace(self, service: str) -> None:
        """Replace a service by a new process on the same socket; return when the old one has drained and ended."""
        self.ask("replace", service=service)

    def wipe(self, service: str) -> None:
        """Send SIGKILL to a service and start it without its earlier data; return when it is ready again."""
        self.ask("wipe", service=service)

    def links(self) -> dict[str, dict[str, Any]]:
        """Return link -> `{"open", "opened", "cut", "bytes", "conditions"}`, {} for a platform without links.

        open, opened, cut: numbers of connections; bytes: received so far in both directions.
        """
        return dict(self.ask("links"))

    def disturb(self, link: str, **conditions: object) -> None:
        """Set the conditions of a link (fields of `harness.platform.links.Conditions`).

        Without `conditions` the disturbance ends.
        """
        self.ask("disturb", link=link, conditions=conditions)

    def cut(self, link: str) -> int:
        """Reset every connection of a link; return the number of connections."""
        return int(self.ask("cut", link=link))

    def try_out(self, link: str) -> dict[str, Any]:
        """Make a small exchange through a link; return `{"seconds", "bytes"}`, or `{"error"}` without an answer.

        See `harness.platform.links.Links.try_out`.
        """
        return dict(self.ask("try", link=link))

    def shutdown(self) -> None:
        """Order the end of the whole platform; return before it has ended."""
        self.ask("shutdown")


def _read_line(connection: socket.socket) -> bytes:
    parts: list[bytes] = []
    while not parts or not parts[-1].endswith(b"\n"):
        data = connection.recv(65536)
        if not data:
            return b""
        parts.append(data)
    return b"".join(parts)


def write_state(path: Path, endpoints: Mapping[str, object]) -> None:
    """Write the endpoints of a platform to a new state file that only its owner can read.

    Raises PlatformError if there is a file at `path` that names a platform that still answers, or that is no state file
    of this user.
    """
    if path.exists():
        if _answers(_read_state(path)):
            raise PlatformError(
                f"A platform runs here already ({path}); stop it, or name another file with --state FILE."
            )
        path.unlink()
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with open(handle, "w") as file:
        json.dump(endpoints, file)


def remove_state(path: Path, address: str) -> None:
    """Remove the state file at `path` if it still names the platform with the control address `address`."""
    try:
        if _read_state(path) == address:
            path.unlink()
    except PlatformError:
        return


def find_offer(folder: Path | None = None) -> str | None:
    """Return the control address of a running platform to use, or None.

    The address comes from the environment variable EARWITNESS_PLATFORM, or if that is unset, from the state file in the
    folder. A state file whose platform is gone is ignored. Raises PlatformError if the variable names a platform that
    does not answer, and for a state file that is damaged or belongs to another user. `folder`: None for the working
    directory.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted == _NONE:
        return None
    if wanted:
        address = address_of(wanted)
        if not _answers(address):
            raise PlatformError(f"{VARIABLE} names a platform that does not answer; start it again or unset it.")
        return address
    path = (folder or Path.cwd()) / STATE_FILE
    if not path.exists():
        return None
    address = _read_state(path)
    return address if _answers(address) else None


def stale_state(folder: Path) -> Path | None:
    """Return the path of the state file in `folder` if its platform does not answer, else None. It removes nothing."""
    path = folder / STATE_FILE
    try:
        return path if path.exists() and not _answers(_read_state(path)) else None
    except PlatformError:
        return None  # another user's file, or not a state file


def address_of(place: str) -> str:
    """Return the control address that `place` names: a control address, or the path of a state file.

    Raises PlatformError if the file cannot be read, or is no state file that only this user can read.
    """
    return place if place.startswith(f"{_SCHEME}://") else _read_state(Path(place))


def _read_state(path: Path) -> str:
    try:
        with open(path) as file:
            info = os.fstat(file.fileno())
            if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
                raise PlatformError(f"{path} must belong to you and be readable by you only (chmod 600).")
            return str(json.load(file)["control"])
    except OSError as error:
        raise PlatformError(f"{path} cannot be read as a platform's state file: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise PlatformError(f"{path} is not the state file of a platform.") from None


def _answers(address: str) -> bool:
    parts = urlsplit(address)
    if parts.hostname != HOST:  # a variable must not make this machine connect to another
        return False
    try:
        socket.create_connection((HOST, parts.port), timeout=2).close()
    except (OSError, ValueError):
        return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Send VERB to the running platform: `python -m earwitness.harness.platform.control VERB [SERVICE]`."""
    parser = argparse.ArgumentParser(prog="python -m earwitness.harness.platform.control", description=main.__doc__)
    parser.add_argument("--platform", metavar="ADDRESS", help="state file or control address of the platform")
    parser.add_argument(
        "do",
        metavar="VERB",
        help="endpoints, status, stats, deaths, logs, kill, stop, start, pause, resume, restart, replace, wipe, links "
        "or shutdown",
    )
    parser.add_argument("service", nargs="?", default="")
    args = parser.parse_args(argv)
    try:
        address = address_of(args.platform) if args.platform else find_offer()
        if address is None:
            raise PlatformError(
                "No platform is running here: start one with `earwitness up`, or name it by --platform."
            )
        result = ControlClient(address).ask(args.do, service=args.service)
    except EarwitnessError as error:
        say(str(error))
        return error.exit_code
    if result is not None:
        show(result if isinstance(result, str) else json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
