"""Starts services in the order of their needs, watches them, and takes them down together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from earwitness.harness.errors import PlatformError, ServiceDied
from earwitness.harness.platform.children import tail
from earwitness.harness.platform.clean_up import PlatformDirectory
from earwitness.harness.platform.forking import Nursery
from earwitness.harness.platform.parent_death import Warden
from earwitness.harness.platform.process import ServiceProcess
from earwitness.harness.platform.spec import ServiceSpec

QUIET_S = 2.0
"""Nothing is said about a start that takes no longer."""
DOWN_TIMEOUT_S = 2.0
"""How long services may take to end when the whole platform goes down; then SIGKILL."""


class Supervisor:
    """The services of one platform, by name. Lives in the event loop of the main thread (see `tether`)."""

    def __init__(
        self,
        specs: Sequence[ServiceSpec],
        directory: PlatformDirectory,
        *,
        log_dir: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`log_dir`: where service logs go, by default into the directory. `say`: told of progress and of deaths."""
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
        self._warden = Warden(directory.path)

    def _on_death(self, death: ServiceDied) -> None:
        self.deaths.append(death)
        if not self._starting and not self._ending:
            self._say(str(death))

    async def start(self) -> None:
        """Start every service as soon as those it needs are ready. The first failure ends it: PlatformError."""
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
            failed = failures  # raised in here it would come out in a group, before Python 3.11.4
        finally:
            telling.cancel()
        if failed is not None:
            raise _worst(failed) from None
        self._starting = False
        if self.deaths:  # one that was ready ended while others were starting
            raise self.deaths[0]

    async def _tell(self, waiting: set[str]) -> None:
        while True:
            await asyncio.sleep(QUIET_S)
            names = [name for name in self.services if name in waiting]
            self._say(f"starting: waiting for {', '.join(names)} ...")

    @property
    def warden_pid(self) -> int:
        """The process that cleans up should we be killed."""
        return self._warden.pid

    def service(self, name: str) -> ServiceProcess:
        """PlatformError for a name that is none."""
        try:
            return self.services[name]
        except KeyError:
            raise PlatformError(f"There is no service {name!r}; there are {', '.join(self.services)}.") from None

    async def kill(self, name: str) -> None:
        """SIGKILL; returns when it is gone. Its port then refuses connections."""
        async with self._holding(name) as service:
            await service.kill()

    async def stop(self, name: str) -> None:
        """Its stop signal; returns when it has ended."""
        async with self._holding(name) as service:
            await service.stop()

    async def start_again(self, name: str) -> None:
        """Start a service that does not run; returns when it is ready."""
        async with self._holding(name) as service:
            await service.start()
            await service.wait_ready()

    async def restart(self, name: str, *, graceful: bool = True, settings: Mapping[str, object] | None = None) -> None:
        """Stop (or kill) and start it, from now on with changed settings; returns when it is ready."""
        async with self._holding(name) as service:
            if settings:
                service.reconfigure(settings)
            await service.restart(graceful=graceful)

    async def replace(self, name: str) -> None:
        """A new process takes over its socket, the old one drains and ends; returns then."""
        async with self._holding(name) as service:
            await service.replace()

    async def wipe(self, name: str) -> None:
        """Kill it, remove what it has written, and start it; returns when it is ready."""
        async with self._holding(name) as service:
            await service.wipe()

    async def pause(self, name: str) -> None:
        """SIGSTOP to it and its children."""
        async with self._holding(name) as service:
            await service.pause()

    async def resume(self, name: str) -> None:
        """SIGCONT to it and its children."""
        async with self._holding(name) as service:
            service.resume()

    @contextlib.asynccontextmanager
    async def _holding(self, name: str) -> Any:
        service = self.service(name)
        async with self._locks[name]:  # two callers must not restart the same service at once
            if self._ending:
                raise PlatformError(f"The platform is going down; {name} is left as it is.")
            yield service

    def status(self) -> dict[str, dict[str, Any]]:
        """`ServiceProcess.status` of each."""
        return {name: service.status() for name, service in self.services.items()}

    def stats(self) -> dict[str, dict[str, Any]]:
        """`ServiceProcess.stats` of each: pid, processes, rss_bytes, cpu_s, fds."""
        return {name: service.stats() for name, service in self.services.items()}

    def logs(self, name: str, lines: int) -> str:
        """The last lines of one service's log, over all of its starts."""
        return tail(self.service(name).log_path, lines)

    async def shut_down(self) -> None:
        """End everything within a few seconds and remove the directory, unless it is to be kept."""
        self._ending = True
        for layer in _top_down(self.services):
            await asyncio.gather(
                *(service.stop(discard=True, timeout_s=DOWN_TIMEOUT_S) for service in layer), return_exceptions=True
            )
        if self._nursery is not None:
            self._nursery.close()
        self._directory.close()  # ends what would not go
        self._warden.dismiss()


def _top_down(services: Mapping[str, ServiceProcess]) -> list[list[ServiceProcess]]:
    """Two layers: those who use others first, so that none of them complains about a database that has gone."""
    users = [service for service in services.values() if service.spec.after or service.spec.beside]
    return [users, [service for service in services.values() if service not in users]]


def _checked(specs: Iterable[ServiceSpec]) -> list[ServiceSpec]:
    """Names are unique and needs name earlier services, so that there is always an order."""
    known: list[ServiceSpec] = []
    for spec in specs:
        names = {other.name for other in known}
        unknown = [name for name in (*spec.after, *spec.beside) if name not in names]
        if spec.name in names or unknown:
            raise PlatformError(f"The service {spec.name} is named twice or needs one that is not named before it.")
        known.append(spec)
    return known


def _worst(failures: BaseExceptionGroup[PlatformError]) -> PlatformError:
    """Of several failures the one that explains most: a death before a deadline."""
    flat: list[PlatformError] = []

    def collect(group: BaseExceptionGroup[PlatformError]) -> None:
        for error in group.exceptions:
            if isinstance(error, BaseExceptionGroup):
                collect(error)
            else:
                flat.append(error)

    collect(failures)
    return next((error for error in flat if isinstance(error, ServiceDied)), flat[0])
