"""The verb `earwitness up`: runs the platform in the foreground, until Ctrl-C, SIGTERM or the end of its owner."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earwitness.harness.described import whole_number
from earwitness.harness.errors import EarwitnessError, Exit, PlatformError, SettingsError
from earwitness.harness.platform.clean_up import PlatformDirectory, remove_stale
from earwitness.harness.platform.control import STATE_FILE, ControlServer, remove_state, write_state
from earwitness.harness.platform.stack import REPLICAS, Stack, StackOptions, require_platform, with_settings
from earwitness.harness.platform.stores import UserMode
from earwitness.harness.platform.supervisor import Supervisor
from earwitness.harness.progress import say, show
from earwitness.harness.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `earwitness up`.

    `--owner-*` and `--report-fd` are for programs that own the platform.
    """
    parser.add_argument("--json", action="store_true", help="print the endpoints as one line of JSON when ready")
    parser.add_argument("--replicas", type=int, default=REPLICAS, metavar="N", help="number of backends (default 2)")
    parser.add_argument(
        "--defect", action="append", default=[], metavar="SERVICE=NAME:P",
        help="start a service with a planted defect (repeatable); SERVICE `backend` means every replica",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="SERVICE.KEY=VALUE",
        help="change a setting of a service (repeatable), like backend.rate_per_s=5",
    )  # fmt: skip
    parser.add_argument(
        "--port", action="append", default=[], metavar="SERVICE=N", help="fix a service's port (repeatable)"
    )
    parser.add_argument(
        "--link", action="append", default=[], metavar="CALLER/CALLEE",
        help="route this link through a proxy, so that faults can disturb it (repeatable; `all`, or a service: "
        "every link that leads to it)",
    )  # fmt: skip
    parser.add_argument(
        "--postgres-user", choices=[str(mode) for mode in UserMode], default=str(UserMode.AUTO),
        help="the user that Postgres runs as; as root itself it refuses to run (default auto)",
    )  # fmt: skip
    parser.add_argument("--log-dir", type=Path, metavar="DIR", help="folder for the services' logs")
    parser.add_argument("--keep", action="store_true", help="keep the platform's directory at the end")
    parser.add_argument(
        "--state", type=Path, metavar="FILE",
        help=f"state file by which others find the running platform (default {STATE_FILE}, unless it has an owner)",
    )  # fmt: skip
    parser.add_argument("--owner-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--owner-pid", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--report-fd", type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run the platform until it is ended, and return the exit code: 0 after a normal end, 2 if a service died.

    If the platform cannot start, the error is sent to the owner (`--report-fd`), and the error's exit code is returned.
    Without an owner that receives the error, EarwitnessError is raised.
    """
    report = _Report(args.report_fd)
    try:
        require_platform()
        options = with_settings(_options_of(args), load_settings())
        _raise_open_file_limit()
        return asyncio.run(_up(args, options, report))
    except EarwitnessError as error:
        if not report.send({"error": str(error)}):
            raise
        return error.exit_code


def _options_of(args: argparse.Namespace) -> StackOptions:
    """Return the options of the platform from the command line.

    Raises SettingsError with every mistake in the repeatable options.
    """
    faults: list[str] = []
    defects: dict[str, list[str]] = {}
    for service, order in _pairs("--defect", args.defect, faults):
        defects.setdefault(service, []).append(order)
    settings: dict[str, dict[str, object]] = {}
    for path, value in _pairs("--set", args.set, faults):
        service, dot, key = path.partition(".")
        if not dot:
            faults.append(f"--set {path}={value} must look like SERVICE.KEY=VALUE")
        settings.setdefault(service, {})[key] = _value(value)
    ports: dict[str, int] = {}
    for service, number in _pairs("--port", args.port, faults):
        if not whole_number(number, 65535):
            faults.append(f"--port {service}={number} must name a port from 1 to 65535")
        else:
            ports[service] = int(number)
    if faults:
        raise SettingsError("earwitness up", faults)
    return StackOptions(
        replicas=args.replicas,
        settings=settings,
        defects=defects,
        ports=ports,
        links=tuple(args.link),
        postgres_user=UserMode(args.postgres_user),
    )


def _pairs(option: str, texts: Sequence[str], faults: list[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, sign, value = text.partition("=")
        if name and sign and value:
            yield name, value
        else:
            faults.append(f"{option} {text} must look like NAME=VALUE")


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(slots=True)
class _Report:
    """Reporter of events to an owner that is a program: JSON lines `{"say"}`, `{"ready"}` or `{"error"}` on its pipe.

    `fd`: the pipe, None without an owner.
    """

    fd: int | None

    def send(self, event: Mapping[str, object]) -> bool:
        """Send an event; return False if there is no owner, or the owner has closed the pipe."""
        if self.fd is None:
            return False
        try:
            os.write(self.fd, json.dumps(event).encode() + b"\n")
        except OSError:
            return False
        return True


async def _up(args: argparse.Namespace, options: StackOptions, report: _Report) -> int:
    ending = asyncio.Event()
    _end_on_signals(ending)
    _end_with_owner(args.owner_fd, args.owner_pid, ending)

    def tell(text: str) -> None:
        if not report.send({"say": text}):
            say(text)

    remove_stale()
    with contextlib.ExitStack() as leaving:
        directory = PlatformDirectory()
        supervisor = None
        try:
            if args.keep:
                directory.keep()
            stack = Stack(options, directory.path)
            leaving.callback(stack.close)
            await stack.check_outside()
            supervisor = Supervisor(stack.specs(), directory, log_dir=_absolute(args.log_dir), say=tell)
            if await _unless(ending, supervisor.start()):
                await _serve(args, supervisor, stack, ending, report)
        finally:
            if supervisor is None:
                directory.close()
            else:
                await supervisor.shut_down()
            if directory.path.exists():
                tell(f"the platform's directory is kept: {directory.path}")
        return Exit.CANNOT_RUN if supervisor.deaths else Exit.PASS


async def _serve(
    args: argparse.Namespace,
    supervisor: Supervisor,
    stack: Stack,
    ending: asyncio.Event,
    report: _Report,
) -> None:
    """Write the state file, answer control requests, and wait until `ending` is set."""
    endpoints = stack.endpoints
    control = ControlServer(supervisor, endpoints, ending.set, stack.links)
    endpoints["control"] = await control.open()
    state = args.state or (Path(STATE_FILE) if args.owner_fd is None else None)
    try:
        if state is not None:
            write_state(state, endpoints)
        if not report.send({"ready": endpoints}):
            show(json.dumps(endpoints) if args.json else _table(endpoints, state))
        await ending.wait()
    finally:
        control.close()
        if state is not None:
            remove_state(state, endpoints["control"])


async def _unless(ending: asyncio.Event, starting: Awaitable[object]) -> bool:
    """Await `starting` and return True; if `ending` is set first, cancel `starting` and return False."""
    start = asyncio.ensure_future(starting)
    end = asyncio.create_task(ending.wait())
    try:
        await asyncio.wait({start, end}, return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            return False
        start.result()
        return True
    finally:
        end.cancel()
        start.cancel()
        await asyncio.gather(start, end, return_exceptions=True)


def _end_on_signals(ending: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # ignored on purpose, by nohup or for a shell's background job
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, ending.set)


def _end_with_owner(fd: int | None, pid: int | None, ending: asyncio.Event) -> None:
    """Set `ending` when the owner ends.

    The pipe `fd` ends when the owner and every process that it forked have closed it; the pidfd of `pid` becomes
    readable when the owner itself ends.
    """
    loop = asyncio.get_running_loop()

    def watch(handle: int, over: Callable[[], bool]) -> None:
        def look() -> None:
            if over():
                loop.remove_reader(handle)
                ending.set()

        loop.add_reader(handle, look)

    if fd is not None:
        watch(fd, lambda: not os.read(fd, 1024))
    if pid is not None and hasattr(os, "pidfd_open"):
        try:
            watch(os.pidfd_open(pid), lambda: True)
        except ProcessLookupError:
            ending.set()
        except OSError:
            return  # an old kernel: only the pipe is watched


def _raise_open_file_limit() -> None:
    """Raise the limit of open files, which services inherit, to 65,536 if possible.

    Thousands of sockets need more than the usual 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return  # macOS caps it lower than it reports; the limit stays as it is


def _absolute(path: Path | None) -> Path | None:
    if path is None:
        return None
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"--log-dir {path} cannot be made: {error.strerror}.") from None
    return path.resolve()


def _table(endpoints: dict[str, Any], state: Path | None) -> str:
    rows = [(name, endpoints[name]) for name in ("frontend", "auth", "edge")]
    rows += list(endpoints["backends"].items())
    rows += [(name, endpoints[name]) for name in ("provider", "auth_dsn", "main_dsn", "redis")]
    lines = [f"  {name:<10} {value}" for name, value in rows]
    found = f"Others find it through {state} while it runs." if state is not None else ""
    return "\n".join(["The platform is up.", *lines, f"{found} Ctrl-C ends it.".strip()])
