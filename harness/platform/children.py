"""Child processes that end with their parent, the wait for their end, and the search for their descendants."""

from __future__ import annotations

import asyncio
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.clean_up import DIRECTORY_VARIABLE, is_alive

LAST_LINES = 12
_GONE_TIMEOUT_S = 10.0
_LOOK_S = 0.005
_LAST_BYTES = 16384
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_PACKAGE_ROOT = str(Path(__file__).absolute().parents[3])
"""Folder from which `earwitness` is imported.

The path is not resolved, because in a checkout `earwitness/harness` is a symbolic link.
"""


def dies_with_parent() -> Callable[[], None] | None:
    """Return a function that a child calls before exec so that SIGKILL ends it when this process ends.

    Returns None except on Linux. The kernel watches the *thread* that forked the child, not the process: fork from the
    main thread only.
    """
    if sys.platform != "linux":
        return None
    parent = os.getpid()

    def tie() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # the parent died in between
            os._exit(1)

    return tie


def module_environment() -> dict[str, str]:
    """Return this process's environment with a PYTHONPATH by which `python -m earwitness.…` works in any folder."""
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": _PACKAGE_ROOT + (os.pathsep + inherited if inherited else "")}


class Child(Protocol):
    """Protocol of a child process, started by `Popen` or by the fork server."""

    @property
    def pid(self) -> int:
        """Return the process id."""

    def send_signal(self, number: int, /) -> None:
        """Send the process a signal."""

    def kill(self) -> None:
        """Send the process SIGKILL."""


def popen(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    output: int,
    stdin: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    user: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in its own process group. On Linux it ends when this process ends, even if that is killed.

    `env`, `cwd`: the child's whole environment and its working directory; `output`: descriptor for stdout and stderr;
    `stdin`: descriptor, /dev/null by default; `pass_fds`: descriptors that the child inherits under the same numbers;
    `user`: the account that runs it, None for the account of this process. Call it from the main thread
    (`dies_with_parent`). Raises PlatformError if `argv` cannot be run.
    """
    as_user: dict[str, Any] = {}
    if user is not None:
        as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    try:
        # Its own group, so that Ctrl-C reaches only the supervisor; the same session, so that the kernel wakes
        # a paused child when the supervisor dies.
        return subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
            process_group=0,
            preexec_fn=dies_with_parent(),
            **as_user,
        )
    except OSError as error:
        raise PlatformError(f"{argv[0]} cannot be run: {error.strerror}.") from None


def when_ended(process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """Return a future of the process's return code, in the form of `Popen.returncode`.

    When the future is done, the process has been reaped.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # not Linux, or an old kernel: a thread has to wait
        return asyncio.ensure_future(asyncio.to_thread(process.wait))

    def reap() -> None:
        loop.remove_reader(handle)
        os.close(handle)
        if not ended.done():
            ended.set_result(process.wait())

    loop.add_reader(handle, reap)
    return ended


async def run_tool(
    argv: Sequence[str], *, cwd: Path, stdin: bytes = b"", user: str | None = None, timeout_s: float = 60.0
) -> None:
    """Run a program and wait until it has ended with exit status 0.

    `argv`: the program and its arguments; `cwd`: working directory; `stdin`: bytes for its input; `user`: the account
    that runs it, None for the account of this process. Raises PlatformError with the end of its output if it fails;
    also if it cannot be run, or takes longer than `timeout_s` seconds.
    """
    name = Path(argv[0]).name
    env = {**os.environ, DIRECTORY_VARIABLE: str(cwd)}
    with tempfile.TemporaryFile() as source, tempfile.NamedTemporaryFile() as log:
        source.write(stdin)
        source.seek(0)
        process = popen(argv, env=env, cwd=cwd, output=log.fileno(), stdin=source.fileno(), user=user)
        try:
            ended = when_ended(process)
            await asyncio.wait({ended}, timeout=timeout_s)
            if not ended.done():
                raise PlatformError(f"{name} did not end within {timeout_s:g} s.")
            if ended.result() != 0:
                words = tail(Path(log.name), LAST_LINES)
                raise PlatformError(f"{name} ended with {describe_status(ended.result())}: {words}")
        finally:
            if process.poll() is None:
                process.kill()


def describe_status(returncode: int) -> str:
    """Return a return code as text: `exit status 3` or `SIGKILL`."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def tail(path: Path, lines: int, start: int = 0) -> str:
    """Return the last `lines` lines of a file, not before byte `start`; "" if there is no file.

    Only the last 16 KiB are read.
    """
    try:
        with open(path, "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(start, size - _LAST_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def descendants(pid: int) -> list[psutil.Process]:
    """Return all descendants of a process; [] if it has ended."""
    try:
        children: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return children


def family_of(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants; [] if it has ended."""
    try:
        return [psutil.Process(pid), *descendants(pid)]
    except psutil.NoSuchProcess:
        return []


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process; no-op if it has ended."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it has ended, which is what a signal is for


async def stopped(pid: int, timeout_s: float) -> None:
    """Send SIGSTOP to a process and its descendants, and wait until all of them have stopped.

    A process on another processor continues for a moment after the signal, and may fork meanwhile. So this returns only
    when all were stopped and the next listing shows no others. Raises PlatformError after `timeout_s` seconds.
    """
    stood: set[int] = set()
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                family = family_of(pid)
                moving = [one for one in family if not _stands(one)]
                if not moving and {one.pid for one in family} == stood:
                    return
                stood = {one.pid for one in family} if not moving else set()
                for one in moving:
                    send(one, signal.SIGSTOP)
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise PlatformError(f"Process {pid} is not stopped {timeout_s:g} s after SIGSTOP.") from None


def _stands(process: psutil.Process) -> bool:
    try:
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def _gone(family: Sequence[psutil.Process], timeout_s: float) -> None:
    """Wait until all processes of `family` have ended; a zombie counts as ended.

    Raises TimeoutError after `timeout_s` seconds.
    """
    async with asyncio.timeout(timeout_s):
        while any(is_alive(process) for process in family):
            await asyncio.sleep(_LOOK_S)


async def end_family(process: Child, ended: asyncio.Future[int], number: signal.Signals, timeout_s: float) -> None:
    """Send a process the signal `number`, SIGKILL after `timeout_s` seconds, and kill its remaining descendants.

    `ended`: future of the process's return code. Returns when all of them have ended. Raises TimeoutError if one has
    not ended ten seconds after SIGKILL.
    """
    family = descendants(process.pid)
    if number != signal.SIGKILL:
        process.send_signal(number)
        await asyncio.wait({ended}, timeout=timeout_s)
    if not ended.done():
        family = descendants(process.pid)
        process.kill()
    await asyncio.wait_for(asyncio.shield(ended), _GONE_TIMEOUT_S)
    for child in family:
        send(child, signal.SIGKILL)
    await _gone(family, _GONE_TIMEOUT_S)
