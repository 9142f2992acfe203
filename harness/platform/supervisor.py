"""Supervisor: starts services in the order in which they need each other, watches them, and ends them together."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from earwitness.harness.errors import PlatformError, ServiceDied
from earwitness.harness.platform.children import module_environment, tail
from earwitness.harness.platform.clean_up import PlatformDirectory
from earwitness.harness.platform.fork_server import Nursery
from earwitness.harness.platform.process import ServiceProcess, Status, Usage
from earwitness.harness.platform.spec import ServiceSpec

QUIET_S = 2.0
"""Seconds between messages about services that are still starting."""
_DOWN_TIMEOUT_S = 2.0
"""Seconds that services have to end when the whole platform ends; then they get SIGKILL."""


class Supervisor:
    """Services of one platform, by name.

    It belongs to the event loop of the main thread (see `harness.platform.children.dies_with_parent`). Methods with the
    name of a service raise PlatformError if there is no such service.
    """

    def __init__(
        self,
        specs: Sequence[ServiceSpec],
        directory: PlatformDirectory,
        *,
        log_dir: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare the services, and start the fork server and the reaper.

        `log_dir`: folder of the services' logs, by default in the platform's directory. `say`: called with messages
        about progress and about services that have died. Raises PlatformError if a name occurs twice, or if a service
        needs another one that does not precede it in `specs`.
        """
        self._say = say
        self._directory = directory
        self.log_dir = log_dir or directory.path / "logs"
        self.log_dir.mkdir(parents=True, exist_ok=True)
        known = _checked(specs)
        modules = [spec.argv[2] for spec in known if spec.preloaded]
        self._nursery = Nursery(modules, directory.path, self.log_dir) if modules else None
        self.services = {
            spec.name: ServiceProcess(spec, directory.path, self.log_dir, self._on_death, self._nursery)
            for spec in known
        }
        self.deaths: list[ServiceDied] = []
        self._starting = True
        self._ending = False
        self._locks = {name: asyncio.Lock() for name in self.services}
        self._reaper = _Reaper(directory.path)

    def _on_death(self, death: ServiceDied) -> None:
        self.deaths.append(death)
        if not self._starting and not self._ending:
            self._say(str(death))

    async def start(self) -> None:
        """Start every service as soon as the services that it needs are ready.

        Returns when all services are ready. Raises PlatformError if one fails.
        """
        ready = {name: asyncio.Event() for name in self.services}
        waiting = set(self.services)

        async def bring_up(service: ServiceProcess) -> None:
            for name in service.spec.after:
                await ready[name].wait()
            async with self._locks[service.spec.name]:
                try:
                    await service.start()
                    for name in service.spec.beside:
                        await ready[name].wait()
                    await service.wait_ready()
                except OSError as error:  # a full disk, no more processes, …
                    raise PlatformError(f"{service.spec.name} could not be started: {error}.") from error
            waiting.discard(service.spec.name)
            ready[service.spec.name].set()

        telling = asyncio.create_task(self._tell(waiting))
        failed: BaseExceptionGroup[PlatformError] | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for service in self.services.values():
                    group.create_task(bring_up(service))
        except* PlatformError as failures:
            failed = failures  # raised here, it would leave in a group before Python 3.11.4
        finally:
            telling.cancel()
        if failed is not None:
            raise _worst(failed) from None
        self._starting = False
        if self.deaths:  # a service that was ready ended while others were starting
            raise self.deaths[0]

    async def _tell(self, waiting: set[str]) -> None:
        while True:
            await asyncio.sleep(QUIET_S)
            names = [name for name in self.services if name in waiting]
            self._say(f"starting: waiting for {', '.join(names)} ...")

    @property
    def reaper_pid(self) -> int:
        """Return the process id of the reaper, which cleans up if this process is killed."""
        return self._reaper.pid

    def service(self, name: str) -> ServiceProcess:
        """Return the service `name`.

        Raises PlatformError if there is none.
        """
        try:
            return self.services[name]
        except KeyError:
            raise PlatformError(f"There is no service {name!r}; there are {', '.join(self.services)}.") from None

    async def kill(self, name: str) -> None:
        """Send SIGKILL to a service; return when it has ended. Its port then refuses connections."""
        async with self._holding(name) as service:
            await service.kill()

    async def stop(self, name: str) -> None:
        """Send a service its stop signal; return when it has ended."""
        async with self._holding(name) as service:
            await service.stop()

    async def start_again(self, name: str) -> None:
        """Start a service that does not run; return when it is ready."""
        async with self._holding(name) as service:
            await service.start()
            await service.wait_ready()

    async def restart(self, name: str, *, graceful: bool = True, settings: Mapping[str, object] | None = None) -> None:
        """Stop (or kill) a service and start it with changed `settings`; return when it is ready.

        Later starts use the changed settings too. `graceful`: stop it by its stop signal, else by SIGKILL.
        """
        async with self._holding(name) as service:
            if settings:
                service.reconfigure(settings)
            await service.restart(graceful=graceful)

    async def replace(self, name: str) -> None:
        """Replace a service by a new process on the same socket; return when the old one has drained and ended."""
        async with self._holding(name) as service:
            await service.replace()

    async def wipe(self, name: str) -> None:
        """Kill a service, remove its data and start it; return when it is ready."""
        async with self._holding(name) as service:
            await service.wipe()

    async def pause(self, name: str) -> None:
        """Send SIGSTOP to a service and its descendants; return when all of them have stopped."""
        async with self._holding(name) as service:
            await service.pause()

    async def resume(self, name: str) -> None:
        """Send SIGCONT to a paused service and its descendants."""
        async with self._holding(name) as service:
            service.resume()

    @contextlib.asynccontextmanager
    async def _holding(self, name: str) -> AsyncIterator[ServiceProcess]:
        service = self.service(name)
        async with self._locks[name]:  # two callers must not restart the same service at once
            if self._ending:
                raise PlatformError(f"The platform is going down; {name} is left as it is.")
            yield service

    def status(self) -> dict[str, Status]:
        """Return the present `Status` of each service, by the service's name."""
        return {name: service.status() for name, service in self.services.items()}

    def stats(self) -> dict[str, Usage]:
        """Return the present `Usage` of each service (pid, processes, rss_bytes, cpu_s, fds), by the service's name."""
        return {name: service.stats() for name, service in self.services.items()}

    def logs(self, name: str, lines: int) -> str:
        """Return the last `lines` lines of a service's log, which covers all of its starts."""
        return tail(self.service(name).log_path, lines)

    async def shut_down(self) -> None:
        """End all services within a few seconds, and remove the platform's directory unless it is marked by `keep`."""
        self._ending = True
        for layer in _top_down(self.services):
            await asyncio.gather(
                *(service.stop(discard=True, timeout_s=_DOWN_TIMEOUT_S) for service in layer), return_exceptions=True
            )
        if self._nursery is not None:
            self._nursery.close()
        self._directory.close()  # kills what still runs
        self._reaper.dismiss()


class _Reaper:
    """Reaper process: waits for the supervisor's end, then kills remaining processes and removes the directory."""

    def __init__(self, directory: Path) -> None:
        """Start the reaper, which cleans up `directory` when its standard input ends, however this process ends."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "earwitness.harness.platform.clean_up", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=module_environment(),
            cwd="/",
            start_new_session=True,  # a signal to our group must not reach it
        )

    @property
    def pid(self) -> int:
        """Return the process id of the reaper."""
        return self._process.pid

    def dismiss(self) -> None:
        """End the reaper after the directory was cleaned up, and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _top_down(services: Mapping[str, ServiceProcess]) -> list[list[ServiceProcess]]:
    """Return two layers of services, in the order in which they are ended: services that need others, then all others.

    So no service logs errors about a database that has ended.
    """
    users = [service for service in services.values() if service.spec.after or service.spec.beside]
    return [users, [service for service in services.values() if service not in users]]


def _checked(specs: Iterable[ServiceSpec]) -> list[ServiceSpec]:
    """Return `specs` as a list, after checking that names are unique and each service needs only earlier services.

    So there is an order in which to start them. Raises PlatformError otherwise.
    """
    known: list[ServiceSpec] = []
    for spec in specs:
        names = {other.name for other in known}
        unknown = [name for name in (*spec.after, *spec.beside) if name not in names]
        if spec.name in names or unknown:
            raise PlatformError(f"The service {spec.name} is named twice or needs one that is not named before it.")
        known.append(spec)
    return known


def _worst(failures: BaseExceptionGroup[PlatformError]) -> PlatformError:
    """Return the failure that explains most: that of a service that died, else the first one."""
    flat: list[PlatformError] = []

    def collect(group: BaseExceptionGroup[PlatformError]) -> None:
        for error in group.exceptions:
            if isinstance(error, BaseExceptionGroup):
                collect(error)
            else:
                flat.append(error)

    collect(failures)
    return next((error for error in flat if isinstance(error, ServiceDied)), flat[0])
