"""Base class of every service of the reference platform: settings, socket, readiness, errors, graceful shutdown.

    @dataclass(frozen=True, slots=True)
    class Settings:
        name: str
        fd: int
        dsn: str

    class Echo(Service):
        def __init__(self, settings: Settings) -> None:
            super().__init__(settings.name)
            self.app.add_routes([web.get("/echo", self.echo)])

    if __name__ == "__main__":
        run(Settings, Echo)

The socket listens before the dependencies answer: `/ready` returns what is still missing (503), every other path waits
up to HELD_S seconds for the return of `start()`, and then answers 503 `starting`. A process that takes over from
another one (`handover`) starts first and listens then.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, TypeAlias, TypeVar

import asyncpg
import redis.exceptions
import uvloop
from aiohttp import WSCloseCode, web

from earwitness.harness.errors import EarwitnessError, SettingsError
from earwitness.harness.reference import clock, handover
from earwitness.harness.reference.answers import ApiError, error_response, json_response
from earwitness.harness.reference.settings import SETTINGS_VARIABLE, read_settings

SERVICE_RESTART = WSCloseCode.SERVICE_RESTART
"""Close code 1012, sent to WebSockets when their service goes down for a restart."""
SHUTDOWN_TIMEOUT_S = 10.0
START_PAUSE_S = 0.1
READY_TIMEOUT_S = 2.0
CANCEL_AGAIN_S = 0.5
HELD_S = 1.0
"""Seconds for which a request waits while its service starts: a load balancer may send requests that early."""
BACKLOG = 2048
MAX_BODY_BYTES = 1 << 20

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

DEPENDENCY_DOWN: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # raised for a connection that dies during a query
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
)
"""Exceptions of a database, Redis or another service that is down: answered with 503 and Retry-After."""


class CommonSettings(Protocol):
    """Protocol of the settings that `run` itself reads."""

    @property
    def name(self) -> str:
        """Return the name of the service."""

    @property
    def fd(self) -> int:
        """Return the number of the inherited socket's descriptor."""


S = TypeVar("S", bound=CommonSettings)


@dataclass(frozen=True, slots=True)
class DefectOrder:
    """Order of a defect: one `--defect NAME:PROBABILITY` of the command line."""

    name: str
    probability: float


class Service:
    """Base class of a process of the reference platform.

    Subclasses override `start`, `waiting_for`, `drain` and `stop`. `__init__` makes all parts and adds the routes,
    inside the running loop but without I/O; `start` connects. Between the two a defect may replace a part.
    """

    def __init__(self, name: str) -> None:
        """Make the web application, with the middleware that answers errors, and the route `/ready`."""
        self.name = name
        self.log = logging.getLogger(name)
        self._started = asyncio.Event()
        self.missing = "its start"
        self.broken: str | None = None
        self.websockets: set[web.WebSocketResponse] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.app = web.Application(middlewares=[self._errors], client_max_size=MAX_BODY_BYTES)
        self.app.router.add_get("/ready", self._ready)

    @property
    def started(self) -> bool:
        """Return whether the service has connected to its dependencies and answers requests."""
        return self._started.is_set()

    async def start(self) -> None:
        """Connect to the dependencies (hook).

        The method runs while the socket already listens, and is called again after one of DEPENDENCY_DOWN.
        """

    async def waiting_for(self) -> str | None:
        """Return the name of a dependency that does not answer now, None if all do (hook).

        An exception of the dependency may be raised instead.
        """
        return None

    async def drain(self) -> None:
        """Close WebSockets (hook).

        It is called right after the listening socket was closed. HTTP requests in progress still finish.
        """
        closing = [ws.close(code=SERVICE_RESTART, message=b"restart") for ws in list(self.websockets)]
        await asyncio.gather(*closing, return_exceptions=True)

    async def stop(self) -> None:
        """Close pools and clients, as the last step (hook)."""

    def background(self, work: Awaitable[None], what: str) -> asyncio.Task[None]:
        """Start a task that is cancelled when the service stops; return it. `what`: its name, for the log.

        If it ends by an exception, that is logged and `/ready` answers 503.
        """
        task = asyncio.ensure_future(self._watched(work, what))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _watched(self, work: Awaitable[None], what: str) -> None:
        try:
            await work
        except Exception:
            self.log.exception("%s ended", what)
            self.broken = what

    async def run_until_stopped(self, listener: socket.socket, stopped: asyncio.Event) -> None:
        """Serve on the socket until the event `stopped` is set, then end gracefully.

        Raises what `start` raises, unless that is one of DEPENDENCY_DOWN.
        """
        self.app.on_shutdown.append(self._on_shutdown)
        runner = web.AppRunner(
            self.app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_TIMEOUT_S, keepalive_timeout=75.0
        )
        await runner.setup()
        starting = asyncio.create_task(self._start())
        try:
            with handover.taking_over() as ready:
                if ready is not None:  # the previous process serves until this one can
                    await asyncio.wait({starting})
                await web.SockSite(runner, listener, backlog=BACKLOG).start()
                if ready is not None:
                    ready()
            await _first(stopped, starting)
        finally:
            starting.cancel()
            await runner.cleanup()
            await _cancelled({starting, *self._tasks})
            await self.stop()

    async def _start(self) -> None:
        said = ""
        while True:
            try:
                await self.start()
                break
            except DEPENDENCY_DOWN as error:
                self.missing = f"{type(error).__name__}: {error}"
                if self.missing != said:
                    said = self.missing
                    self.log.info("waiting: %s", said)
            # Polling, because a dependency does not notify when it is up.
            await asyncio.sleep(START_PAUSE_S)
        gc.collect()
        gc.freeze()
        self._started.set()
        self.log.info("started, pid %d", os.getpid())

    async def _on_shutdown(self, _: web.Application) -> None:
        await self.drain()

    async def _ready(self, _: web.Request) -> web.Response:
        missing: str | None
        if not self.started:
            missing = self.missing
        elif self.broken is not None:
            missing = f"{self.broken}, which has ended"
        else:
            try:
                async with asyncio.timeout(READY_TIMEOUT_S):
                    missing = await self.waiting_for()
            except DEPENDENCY_DOWN as error:
                missing = f"{type(error).__name__}: {error}"
        if missing is None:
            return json_response({"ready": True, "service": self.name, "pid": os.getpid(), "at": clock.now()})
        return json_response({"waiting_for": missing, "service": self.name}, status=503)

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn every refusal into JSON: `{"error": code, "message": sentence}`."""
        try:
            if not self.started and request.path != "/ready":
                await self._until_started()
            return await handler(request)
        except ApiError as error:
            return error.response()
        except web.HTTPException as error:
            if error.status < 400:
                raise
            code = (error.reason or "error").lower().replace(" ", "_")
            return error_response(error.status, code, error.text or error.reason)
        except DEPENDENCY_DOWN as error:
            self.log.warning("%s %s: %s: %s", request.method, request.path, type(error).__name__, error)
            message = "Something that this service needs does not answer; try again."
            return error_response(503, "dependency_unavailable", message, retry_after_s=1)
        except Exception:
            self.log.exception("%s %s", request.method, request.path)
            return error_response(500, "internal_error", "This is a fault of the service; its log says more.")

    async def _until_started(self) -> None:
        """Wait until the service has started. Raises ApiError 503 if that takes more than HELD_S seconds."""
        try:
            async with asyncio.timeout(HELD_S):
                await self._started.wait()
        except TimeoutError:
            raise ApiError(503, "starting", f"{self.name} is still starting.", retry_after_s=1) from None


async def _cancelled(tasks: set[asyncio.Task[None]]) -> None:
    """Wait until all tasks have ended, cancelling them repeatedly.

    Before Python 3.12 `wait_for` can swallow a cancellation.
    """
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)


async def _first(stopped: asyncio.Event, starting: asyncio.Task[None]) -> None:
    """Wait for the event `stopped`. Raise the exception of the task `starting` if it fails before."""
    stop = asyncio.create_task(stopped.wait())
    await asyncio.wait({stop, starting}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done() and not stop.done():
        starting.result()
    await stop


def run(settings_type: type[S], make: Callable[[S], Service], argv: Sequence[str] | None = None) -> None:
    """Run a service until a signal ends it: read settings, install defects, serve. Each `__main__` calls it.

    `settings_type`: dataclass of the settings; `make`: makes the service of them; `argv`: None for those of this
    process. A wrong setting prints one sentence and raises SystemExit 2.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s",
        datefmt="%H:%M:%S",
    )
    try:
        orders = defect_orders(argv)
        settings = read_settings(settings_type, os.environ.get(SETTINGS_VARIABLE, ""))
        clock.offset = getattr(settings, "clock_offset", 0.0)
        listener = _inherited(settings.fd)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_main(make, settings, orders, listener))
    except EarwitnessError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


async def _main(make: Callable[[S], Service], settings: S, orders: list[DefectOrder], listener: socket.socket) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    service = make(settings)
    if orders:
        # Only a process that was started with --defect ever loads one.
        import_module("earwitness.harness.defects").install(service, orders)
    await service.run_until_stopped(listener, stopped)
    service.log.info("stopped")


def _inherited(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
    except OSError as error:
        raise SettingsError(
            SETTINGS_VARIABLE, [f"fd is {fd}, which is no socket that this process has inherited ({error.strerror})"]
        ) from None
    listener.setblocking(False)
    return listener


def defect_orders(argv: Sequence[str] | None = None) -> list[DefectOrder]:
    """Return the defects that the command line orders by `--defect NAME` (probability 1) or `NAME:PROBABILITY`.

    Raises SettingsError for an empty name and for a probability that is no number from 0 to 1.
    """
    parser = argparse.ArgumentParser(description="A service of the reference platform; settings in EARWITNESS_SERVICE.")
    parser.add_argument("--defect", action="append", default=[], metavar="NAME[:PROBABILITY]")
    orders = []
    for text in parser.parse_args(argv).defect:
        name, _, chance = text.partition(":")
        try:
            probability = float(chance or 1)
        except ValueError:
            probability = -1.0
        if not name or not 0 <= probability <= 1:
            raise SettingsError("--defect", [f"{text!r} must be a name and a probability from 0 to 1, like Z1:0.01"])
        orders.append(DefectOrder(name, probability))
    return orders


__all__ = ["DEPENDENCY_DOWN", "SERVICE_RESTART", "DefectOrder", "Service", "run"]
