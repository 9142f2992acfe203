"""Start of a platform from any program, as a child process that ends with the program, or use of a running platform.

All functions block and need no event loop: they work in threads, under gevent's monkey patching (where they wait
cooperatively) and while another thread runs an event loop.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.children import module_environment
from earwitness.harness.platform.control import ControlClient, address_of, find_offer
from earwitness.harness.platform.stack import check_fits, require_platform
from earwitness.harness.progress import say
from earwitness.harness.settings import load_settings

_START_TIMEOUT_S = 180.0
"""Seconds for the whole start, enough for a first start on a slow machine. Each service has its own, shorter limit."""
_STOP_TIMEOUT_S = 15.0
_owned: weakref.WeakSet[Platform] = weakref.WeakSet()


class Platform:
    """Reference platform that this process started, or found running.

    `endpoints`: what `earwitness up --json` prints; `control`: client of its control socket; `owned`: this process
    started the platform, so `stop` ends it.
    """

    def __init__(
        self, endpoints: dict[str, Any], process: subprocess.Popen[bytes] | None = None, owner_fd: int | None = None
    ) -> None:
        """Store the endpoints.

        `process`, `owner_fd`: supervisor, and the end of a pipe whose closing ends the supervisor. Both are None for a
        platform that was found running. A platform that this process started ends with this process at the latest.
        """
        self.endpoints = endpoints
        self.control = ControlClient(endpoints["control"])
        self.owned = process is not None
        self._process = process
        self._owner_fd = owner_fd
        if self.owned:
            _owned.add(self)

    def stop(self, timeout_s: float = _STOP_TIMEOUT_S) -> int | None:
        """End a platform that this process started, wait for it and return the supervisor's exit code.

        The code is 2 if a service had died. A platform that was found running is not ended, and None is returned.
        Idempotent. Raises PlatformError if the platform had to be killed after `timeout_s` seconds.
        """
        self._close_pipe()
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its children end with it, the reaper cleans up
            self._process.wait()
            raise PlatformError(f"The platform did not end within {timeout_s:g} s; it was killed.") from None

    def forget(self) -> None:
        """Give up the platform in a forked child, so that only the parent process keeps the platform running.

        The method is called automatically after `os.fork`; call it only where a process is forked without Python's
        hooks.
        """
        self._close_pipe()
        self._process, self.owned = None, False

    def _close_pipe(self) -> None:
        if self._owner_fd is not None:
            os.close(self._owner_fd)
            self._owner_fd = None

    def __enter__(self) -> Platform:
        """Return the platform, which is running already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the platform, if this process started it."""
        self.stop()


def launch(
    *,
    replicas: int | None = None,
    defects: Mapping[str, Sequence[str]] | None = None,
    settings: Mapping[str, Mapping[str, object]] | None = None,
    ports: Mapping[str, int] | None = None,
    links: Sequence[str] = (),
    log_dir: Path | None = None,
    keep: bool = False,
    postgres_user: str | None = None,
    timeout_s: float = _START_TIMEOUT_S,
    progress: Callable[[str], None] | None = None,
) -> Platform:
    """Start a platform and wait until it is ready.

    Options that are not given come from the settings (`harness.settings`: file in the working directory, environment
    variables). `defects` `{"backend-2": ["Z1:0.01"]}`, `settings` `{"backend": {"rate_per_s": 5}}`, `ports` `{"edge":
    8080}`, `links` `("backend/auth",)`. If the start takes more than two seconds, `progress` is called with sentences
    about it (default: stderr). Raises PlatformError with the reason if the platform is not ready within `timeout_s`
    seconds. `keep`: do not remove the platform's directory at the end. `log_dir`: folder of the services' logs.
    `postgres_user`: a value of `harness.platform.stores.UserMode`.
    """
    require_platform()
    arguments = ["--replicas", str(replicas)] if replicas is not None else []
    for service, orders in (defects or {}).items():
        arguments += [part for order in orders for part in ("--defect", f"{service}={order}")]
    for service, values in (settings or {}).items():
        arguments += [part for k, v in values.items() for part in ("--set", f"{service}.{k}={json.dumps(v)}")]
    for service, number in (ports or {}).items():
        arguments += ["--port", f"{service}={number}"]
    for link in links:
        arguments += ["--link", link]
    if log_dir is not None:
        arguments += ["--log-dir", str(log_dir)]
    if keep:
        arguments.append("--keep")
    if postgres_user is not None:
        arguments += ["--postgres-user", postgres_user]
    return _spawn(arguments, timeout_s, progress or say)


def attach(place: str) -> Platform:
    """Return a platform that runs already, named by its control address or the path of its state file.

    Raises PlatformError if the platform does not answer, or if `place` names no platform.
    """
    address = address_of(place)
    return Platform({**ControlClient(address).endpoints(), "control": address})


def offered() -> Platform | None:
    """Return the running platform that `EARWITNESS_PLATFORM` or this folder's state file names, or None.

    See `harness.platform.control.find_offer`. Raises SettingsError if the platform differs from the user's settings,
    PlatformError as `find_offer` does.
    """
    address = find_offer()
    if address is None:
        return None
    platform = attach(address)
    check_fits(platform.endpoints, load_settings())
    return platform


def _spawn(arguments: list[str], timeout_s: float, progress: Callable[[str], None]) -> Platform:
    owner_end, ours = os.pipe()
    report, report_end = os.pipe()
    try:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "earwitness.harness.cli", "up", *arguments, "--owner-fd", str(owner_end),
                "--owner-pid", str(os.getpid()), "--report-fd", str(report_end),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(owner_end, report_end),
            env=module_environment(),
            process_group=0,  # our Ctrl-C must not end the platform before we have finished with it
        )  # fmt: skip
    except BaseException:
        os.close(ours)
        os.close(report)
        raise
    finally:
        os.close(owner_end)
        os.close(report_end)
    try:
        endpoints = _await_ready(report, timeout_s, progress)
    except BaseException:
        os.close(ours)  # which ends the platform
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    finally:
        os.close(report)
    return Platform(endpoints, process, ours)


def _await_ready(report: int, timeout_s: float, progress: Callable[[str], None]) -> dict[str, Any]:
    for line in _lines(report, time.monotonic() + timeout_s):
        event = json.loads(line)
        if "ready" in event:
            return dict(event["ready"])
        if "error" in event:
            raise PlatformError(event["error"])
        progress(event["say"])
    raise PlatformError(f"The platform was not ready within {timeout_s:g} s, or its supervisor died.")


def _lines(fd: int, deadline: float) -> Iterator[bytes]:
    """Yield lines from a pipe until it ends or the deadline (monotonic seconds) has passed."""
    held = b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                return
            data = os.read(fd, 65536)
            if not data:
                return
            held += data
            *whole, held = held.split(b"\n")
            yield from whole


def _forget_all() -> None:
    for platform in list(_owned):
        platform.forget()


os.register_at_fork(after_in_child=_forget_all)
