"""One service as a real process: started, paused, killed and restarted, with its last log lines kept."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import psutil

from earwitness.harness.errors import PlatformError, ServiceDied
from earwitness.harness.platform.children import (
    LAST_LINES,
    Child,
    descendants,
    describe_status,
    end_family,
    family_of,
    popen,
    send,
    stopped,
    tail,
    when_ended,
)
from earwitness.harness.platform.clean_up import DIRECTORY_VARIABLE, KEPT
from earwitness.harness.platform.fork_server import Nursery
from earwitness.harness.platform.ports import bound_socket
from earwitness.harness.platform.spec import FD_VARIABLE, SETTINGS_VARIABLE, TAKEOVER_VARIABLE, ServiceSpec, wait_ready

_Started: TypeAlias = tuple[Child, "asyncio.Future[int]"]
"""A process, and the future of its return code (as of `subprocess.Popen.returncode`)."""


class Status(TypedDict):
    """State of a service.

    state   stopped, starting, ready, paused, killed or died
    pid     process id, None without a process
    starts  number of starts so far
    log     path of its log
    death   text about an unexpected end; None if there was none
    """

    state: str
    pid: int | None
    starts: int
    log: str
    death: str | None


class Usage(TypedDict):
    """Resources of a service and its descendants together.

    pid        process id of the service, None if it has no process
    processes  number of these processes
    rss_bytes  resident memory; shared memory counts once
    cpu_s      CPU time in seconds, user and system
    fds        number of open file descriptors
    """

    pid: int | None
    processes: int
    rss_bytes: int
    cpu_s: float
    fds: int


_STOPPED_WITHIN_S = 5.0
STOPPED, STARTING, READY, PAUSED, KILLED, DIED = "stopped", "starting", "ready", "paused", "killed", "died"


class ServiceProcess:
    """Service of a platform and its present process. It belongs to the event loop of the main thread."""

    def __init__(
        self,
        spec: ServiceSpec,
        root: Path,
        log_dir: Path,
        on_death: Callable[[ServiceDied], None] | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        """Prepare the service; no process runs yet.

        `root`: the platform's directory; `log_dir`: folder of the log. `on_death` is called when the process ends
        unexpectedly. `nursery`: the fork server, used if the spec is `preloaded`.
        """
        self.spec = spec
        self.directory = root / spec.name
        self.log_path = log_dir / f"{spec.name}.log"
        self.state = STOPPED
        self.death: ServiceDied | None = None
        self.starts = 0
        self._root = root
        self._on_death = on_death
        self._nursery = nursery if spec.preloaded else None
        self._process: Child | None = None
        self._ended: asyncio.Future[int] | None = None
        self._log_start = 0
        self._end_expected = False
        self._listener: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Return the id of the running process, None if there is none."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Return whether the service has a process that has not ended, ready or not."""
        return self._ended is not None and not self._ended.done()

    async def start(self) -> None:
        """Prepare the service (the first time) and start its process. Returns before the service is ready.

        Raises PlatformError if the service runs already, or its process cannot be started.
        """
        if self.running:
            raise PlatformError(f"{self.spec.name} runs already.")
        self.directory.mkdir(exist_ok=True)
        if self.starts == 0 and self.spec.prepare is not None:
            await self.spec.prepare(self.directory)
        self.state, self.death, self._end_expected = STARTING, None, False
        self.starts += 1
        self._process, self._ended = await self._spawn()

    async def _spawn(self, ready_pipe: int | None = None) -> _Started:
        """Start a new process of this service; return it and the future of its return code.

        The caller stores it as the service's process. `ready_pipe`: descriptor for `TAKEOVER_VARIABLE`, None for none.
        """
        spec = self.spec
        env = {**spec.env, DIRECTORY_VARIABLE: str(self._root)}
        handed: list[int] = []
        if spec.inherits:
            assert spec.port is not None
            if self._listener is None:
                self._listener = bound_socket(spec.name, spec.port, listening=spec.listening)
            handed = [self._listener.fileno()]
            env[FD_VARIABLE] = str(handed[0])
        if spec.settings is not None:
            env[SETTINGS_VARIABLE] = json.dumps({**spec.settings, **({"fd": handed[0]} if handed else {})})
        if ready_pipe is not None:
            env[TAKEOVER_VARIABLE] = str(ready_pipe)
            handed.append(ready_pipe)
        try:
            with open(self.log_path, "ab") as log:
                self._log_start = log.tell()
                process, ended = await self._forked(env, log.fileno(), handed)
        finally:
            if not spec.takes_over:
                self._let_go()
        ended.add_done_callback(partial(self._on_end, process))
        return process, ended

    async def _forked(self, env: Mapping[str, str], output: int, handed: Sequence[int]) -> _Started:
        spec = self.spec
        if self._nursery is not None:
            return await self._nursery.fork(
                spec.name, spec.argv, env=env, cwd=self.directory, output=output, pass_fds=handed
            )
        process = popen(spec.argv, env=env, cwd=self.directory, output=output, pass_fds=handed, user=spec.user)
        return process, when_ended(process)

    def _let_go(self) -> None:
        """Close this process's copy of the listening socket, which is kept only for a process that takes over.

        If it stayed open, the port of a service that has ended would not refuse connections.
        """
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _on_end(self, process: Child, ended: asyncio.Future[int]) -> None:
        if ended.cancelled() or self._end_expected or process is not self._process:
            return
        self._let_go()
        self.state = DIED
        self.death = self._died(ended.result())
        if self._on_death is not None:
            self._on_death(self.death)

    def _died(self, returncode: int) -> ServiceDied:
        return ServiceDied(self.spec.name, describe_status(returncode), self.last_words(), self._whole_log())

    def _whole_log(self) -> str:
        """Return a sentence: where the whole log will be after the platform's end, or how to keep it next time."""
        if self.log_path.is_relative_to(self._root) and not (self._root / KEPT).exists():
            return "Its log is deleted with the platform. To keep it: earwitness up --keep, or --log-dir DIR."
        return f"Its full log: {self.log_path}"

    async def wait_ready(self) -> None:
        """Wait until all readiness probes succeed.

        Raises ServiceDied if the service ends first, PlatformError after `ready_timeout_s` of the specification.
        """
        ended = self._ended
        assert ended is not None
        waiting_for = ["it was not probed yet"]
        probing: asyncio.Future[None] = asyncio.create_task(wait_ready(self.spec.ready, waiting_for))
        try:
            either: set[asyncio.Future[Any]] = {probing, ended}
            await asyncio.wait(either, timeout=self.spec.ready_timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise self.death or self._died(ended.result())
            if not probing.done():
                words = self.last_words().strip() or "(no output)"
                raise PlatformError(
                    f"{self.spec.name} was not ready within {self.spec.ready_timeout_s:g} s: {waiting_for[0]}. "
                    f"Its last output:\n{words}\n{self._whole_log()}"
                )
            probing.result()
            self.state = READY
        finally:
            probing.cancel()

    async def kill(self) -> None:
        """Send SIGKILL to the process and its descendants; return when they have ended."""
        await self._end(signal.SIGKILL, 0.0)
        self.state = KILLED

    async def stop(self, *, discard: bool = False, timeout_s: float | None = None) -> None:
        """Send the stop signal, SIGKILL after `timeout_s` seconds; return when the process has ended.

        `timeout_s`: None for the time in the specification. `discard`: the service's data is no longer needed, so the
        signal is `discard_signal`.
        """
        number = self.spec.discard_signal if discard else self.spec.stop_signal
        await self._end(number, self.spec.stop_timeout_s if timeout_s is None else timeout_s)
        if self.state != DIED:
            self.state = STOPPED

    async def restart(self, *, graceful: bool = True) -> None:
        """End the service (gracefully or with SIGKILL) and start it again; return when it is ready."""
        if self.running:
            await (self.stop() if graceful else self.kill())
        await self.start()
        await self.wait_ready()

    async def wipe(self) -> None:
        """Kill the service, remove its data and start it again; return when it is ready.

        Raises PlatformError for a service that has no data that it may lose.
        """
        if self.spec.data is None:
            raise PlatformError(f"{self.spec.name} has no data that it could lose and serve without.")
        await self.kill()
        shutil.rmtree(self.directory / self.spec.data, ignore_errors=True)
        await self.start()
        await self.wait_ready()

    def reconfigure(self, changes: Mapping[str, object]) -> None:
        """Change settings of the service; the changes take effect at the next start.

        Raises PlatformError for a service without settings.
        """
        if self.spec.settings is None:
            raise PlatformError(f"{self.spec.name} has no settings that could be changed.")
        self.spec = dataclasses.replace(self.spec, settings={**self.spec.settings, **changes})

    async def replace(self) -> None:
        """Replace the process by a new one that takes over the listening socket; return when the old one has ended.

        The old process gets its stop signal when the new one is ready, and drains. The port accepts connections all the
        time. This works only for services that inherit their socket and report on the pipe of `TAKEOVER_VARIABLE` that
        they are ready. Raises PlatformError for other services and for a service that does not run. Also raises it if
        the new process does not get ready; the old process then continues.
        """
        self._must_run("replaced")
        if not self.spec.takes_over:
            raise PlatformError(f"{self.spec.name} cannot be replaced while it runs: restart it.")
        assert self._process is not None
        assert self._ended is not None
        before = self._process, self._ended
        reading, writing = os.pipe()
        try:
            new = await self._spawn(writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self.starts += 1
        try:
            await self._heard_ready(reading, new[1])
        except PlatformError:
            await end_family(*new, signal.SIGKILL, 0.0)  # the old one still serves
            raise
        except BaseException:  # cancelled: this call cannot wait for its end any more
            new[0].kill()
            raise
        self._process, self._ended = new
        await end_family(*before, self.spec.stop_signal, self.spec.stop_timeout_s)
        self.state = READY
        if new[1].done():  # it ended before it was the serving process, so `_on_end` ignored it
            self._on_end(*new)

    async def _heard_ready(self, reading: int, ended: asyncio.Future[int]) -> None:
        loop = asyncio.get_running_loop()
        said: asyncio.Future[bool] = loop.create_future()

        def hear() -> None:
            loop.remove_reader(reading)
            said.set_result(os.read(reading, 1) != b"")

        loop.add_reader(reading, hear)
        try:
            either: set[asyncio.Future[Any]] = {said, ended}
            await asyncio.wait(either, timeout=self.spec.ready_timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not said.done() or not said.result():
                words = self.last_words().strip() or "(no output)"
                raise PlatformError(f"The process that was to replace {self.spec.name} did not get ready: {words}")
        finally:
            loop.remove_reader(reading)
            os.close(reading)

    async def pause(self) -> None:
        """Send SIGSTOP to the process and its descendants, and wait until all of them have stopped.

        The processes keep their sockets. Raises PlatformError after five seconds.
        """
        self._must_run("paused")
        assert self._process is not None
        await stopped(self._process.pid, _STOPPED_WITHIN_S)
        self.state = PAUSED

    def resume(self) -> None:
        """Send SIGCONT to all processes that `pause` stopped."""
        self._must_run("resumed")
        assert self._process is not None
        for child in descendants(self._process.pid):
            send(child, signal.SIGCONT)
        self._process.send_signal(signal.SIGCONT)
        if self.state == PAUSED:
            self.state = READY

    async def _end(self, number: signal.Signals, timeout_s: float) -> None:
        self._let_go()  # also if it never ran
        if not self.running:
            return
        assert self._process is not None
        assert self._ended is not None
        self._end_expected = True
        if number != signal.SIGKILL and self.state == PAUSED:
            self.resume()
        await end_family(self._process, self._ended, number, timeout_s)

    def _must_run(self, verb: str) -> None:
        if not self.running:
            raise PlatformError(f"{self.spec.name} cannot be {verb}: it does not run ({self.state}).")

    def last_words(self, lines: int = LAST_LINES) -> str:
        """Return the last `lines` lines that the service has logged since its last start."""
        return tail(self.log_path, lines, self._log_start)

    def status(self) -> Status:
        """Return the present `Status` of the service."""
        death = str(self.death) if self.death is not None else None
        return {"state": self.state, "pid": self.pid, "starts": self.starts, "log": str(self.log_path), "death": death}

    def stats(self) -> Usage:
        """Return the `Usage` of the process and its descendants: sums over all of them.

        Shared memory (Postgres's buffers, libraries) counts once: as the largest shared size of any of the processes.
        """
        total: Usage = {"pid": self.pid, "processes": 0, "rss_bytes": 0, "cpu_s": 0.0, "fds": 0}
        if self.pid is None:
            return total
        most_shared = 0
        for process in family_of(self.pid):
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    memory = process.memory_info()
                    shared = getattr(memory, "shared", 0)  # only Linux has it
                    most_shared = max(most_shared, shared)
                    total["rss_bytes"] += memory.rss - shared
                    total["fds"] += process.num_fds()
                    total["cpu_s"] += times.user + times.system
                    total["processes"] += 1
            except psutil.Error:
                continue  # it ended after it was listed
        total["rss_bytes"] += most_shared
        total["cpu_s"] = round(total["cpu_s"], 2)
        return total
