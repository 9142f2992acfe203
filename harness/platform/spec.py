"""Specification of a service as data: its command, its readiness probes, its signals and time limits.

Readiness is tested in the way in which others use the service: by a query, a PING, a request, never by its log.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

FD_VARIABLE = "EARWITNESS_FD"
"""Environment variable with the number of the inherited listening socket, for services without JSON settings."""
SETTINGS_VARIABLE = "EARWITNESS_SERVICE"
"""Environment variable with the settings of a reference service: one JSON object, with `fd` added at each start."""
TAKEOVER_VARIABLE = "EARWITNESS_TAKEOVER"
"""Environment variable with the number of a pipe, set for a process that replaces another one.

The process writes to the pipe when it is ready, before it accepts connections.
"""
_ATTEMPT_TIMEOUT_S = 3.0
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.1
_SHOWN_CHARS = 200


class Probe(Protocol):
    """Protocol of a readiness test of a service."""

    async def missing(self) -> str | None:
        """Return None if the service is ready, else a text that fits after "not ready: "."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """Specification of one service.

    The service's working directory is its own folder in the platform's directory; times are in seconds.

    - `argv`: command and arguments.
    - `env`: the whole environment; the supervisor adds variables.
    - `port`: a reserved port (`harness.platform.ports`). With `inherits` the process gets a socket bound to the port,
      which listens already if `listening`.
    - `settings`: sent as JSON in `EARWITNESS_SERVICE`; None for none.
    - `prepare`: called with the working directory once, before the first start.
    - `ready`: probes that must succeed, one after the other, within `ready_timeout_s`.
    - `after`: services that must be ready before this one is started.
    - `beside`: services that must be ready before this one can be ready; its time limit starts when they are.
    - `stop_timeout_s`: time between `stop_signal` and SIGKILL.
    - `discard_signal`: sent instead of `stop_signal` when the service's data is no longer needed.
    - `takes_over`: the process can be replaced while it runs (see `TAKEOVER_VARIABLE`).
    - `preloaded`: `argv` is `python -m MODULE …`, forked from a process that has already imported what MODULE needs.
    - `user`: the account that runs the service, None for the account of the supervisor.
    - `data`: the folder in the working directory that the service can lose (`ServiceProcess.wipe`); None for none.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, object] | None = field(default=None, repr=False)
    port: int | None = None
    inherits: bool = False
    listening: bool = False
    ready: tuple[Probe, ...] = ()
    ready_timeout_s: float = 60.0
    after: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    discard_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0
    takes_over: bool = False
    preloaded: bool = False
    prepare: Callable[[Path], Awaitable[None]] | None = None
    user: str | None = None
    data: str | None = None


@dataclass(frozen=True, slots=True)
class HttpAnswers:
    """Probe that expects `GET url` to answer with `status`."""

    url: str
    status: int = 200

    async def missing(self) -> str | None:
        """Implement `Probe.missing`: send the GET; return the wrong status and the start of the body, or None."""
        status, body = await _http_get(self.url)
        if status == self.status:
            return None
        said = " ".join(body.split())[:_SHOWN_CHARS]
        return f"GET {self.url} answers {status} instead of {self.status}" + (f", {said}" if said else "")


@dataclass(frozen=True, slots=True)
class PostgresAnswers:
    """Probe that runs `SELECT 1` on a database, logged in with its password."""

    dsn: str = field(repr=False)

    async def missing(self) -> str | None:
        """Implement `Probe.missing`: run the query; return None, or a text with the error that the database answers.

        Raises OSError or TimeoutError if the database cannot be reached.
        """
        import asyncpg  # heavy, and only needed once the server is being started

        try:
            connection = await asyncpg.connect(self.dsn, timeout=_ATTEMPT_TIMEOUT_S)
            try:
                await connection.fetchval("SELECT 1")
            finally:
                await connection.close(timeout=_ATTEMPT_TIMEOUT_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return f"its database {_database(self.dsn)} answers: {error}"
        return None


@dataclass(frozen=True, slots=True)
class RedisAnswers:
    """Probe that expects `PONG` for `PING` after AUTH."""

    url: str = field(repr=False)

    async def missing(self) -> str | None:
        """Implement `Probe.missing`: send `PING`; return the wrong answer, or None."""
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            if parts.password:
                writer.write(_redis_command("AUTH", unquote(parts.password)))
            writer.write(_redis_command("PING"))
            answers = [await reader.readline() for _ in range(2 if parts.password else 1)]
        finally:
            writer.close()
        last = answers[-1].decode(errors="replace").strip()
        return None if last == "+PONG" else f"PING is answered with {last!r}"


async def wait_ready(probes: Sequence[Probe], waiting_for: list[str]) -> None:
    """Wait until every probe has succeeded, one after the other.

    The function has no time limit; the caller sets one. After each failed probe, `waiting_for` holds one text: what was
    missing.
    """
    for probe in probes:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(_ATTEMPT_TIMEOUT_S):
                    missing = await probe.missing()
            except TimeoutError:
                missing = f"no answer within {_ATTEMPT_TIMEOUT_S:g} s ({probe})"
            except (OSError, EOFError, asyncio.LimitOverrunError) as error:
                missing = str(error) or type(error).__name__
            if missing is None:
                break
            waiting_for[:] = [missing]
            await asyncio.sleep(pause)  # polling, because a server that has not started yet cannot call back
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)


async def _http_get(url: str) -> tuple[int, str]:
    """Return (status, start of the body) of one HTTP/1.1 GET.

    Raises OSError or EOFError if no HTTP answer came.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.netloc.rpartition("@")[2]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        status_line = await reader.readuntil(b"\r\n")
        words = status_line.split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            raise OSError(f"GET {url} is answered by something that is not HTTP")
        rest = await reader.read(8192)
    finally:
        writer.close()
    return int(words[1]), rest.partition(b"\r\n\r\n")[2].decode(errors="replace")


def _redis_command(*words: str) -> bytes:
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


def _database(dsn: str) -> str:
    return urlsplit(dsn).path.lstrip("/")
