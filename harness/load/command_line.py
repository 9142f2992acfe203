"""Checks of Locust's command line right after it is parsed, before any process is forked or started."""

from __future__ import annotations

import os
import socket
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any, Final

from gevent.monkey import get_original
from locust import User

from earwitness.harness.described import near
from earwitness.harness.errors import EarwitnessError, Exit, SettingsError
from earwitness.harness.load.master_watch import tie_forks
from earwitness.harness.native import check_setting
from earwitness.harness.progress import say, write_anything

DEFAULT_MASTER_PORT: Final = 5557
LOOPBACK: Final = "127.0.0.1"
USERS_MOST: Final = 1_000_000
"""Largest number of users of a run. Each user has a name, a plan and a greenlet.

The memory of a machine suffices for about a tenth of this number.
"""
DRAIN_MOST_S: Final = 86_400.0
PORT_MOST: Final = 65_535
_checked: list[bool] = []


def check_when_parsed(parser: Any) -> None:
    """Make `parser` call `settle` on the options that it has parsed; a mistake ends the process with a message.

    Locust has no event between parsing the options and forking.
    """
    if _checked:  # Locust's web UI reads the options again for each page
        return
    write_anything()
    parse: Callable[..., Namespace] = parser.parse_args

    def parse_args(*args: object, **options: object) -> Namespace:
        try:
            parsed = parse(*args, **options)
            _checked.append(True)
            settle(parsed)
        except OverflowError:  # Locust's own reading of a time
            say("--run-time: so long a time is not possible; give one like 30s, 5m or 1h30m.")
            sys.exit(Exit.CANNOT_RUN)
        except EarwitnessError as error:
            say(str(error))
            sys.exit(error.exit_code)
        return parsed

    parser.parse_args = parse_args


def settle(options: Namespace) -> None:
    """Refuse options that cannot work, choose a port for a master and its forked workers, and tie these to the master.

    Tied workers end with their master. Changes `options`. Raises SettingsError.
    """
    check_setting()
    refuse_impossible(options)
    known = {kind.__name__ for kind in _concrete(User)}
    unknown = [name for name in options.user_classes if name not in known]
    if unknown and known:
        raise SettingsError("user classes", [f"there is no class {name!r}{near(name, known)}" for name in unknown])
    if options.processes:
        tie_forks()
    if options.worker:
        return
    named = _meet(options) if options.processes else True
    if named and (options.processes or options.master):
        _refuse_taken(options.master_bind_host, options.master_bind_port, "--master-bind-port")
    if not options.headless:
        _refuse_taken(options.web_host, options.web_port, "--web-port")


def refuse_impossible(options: Namespace) -> None:
    """Raise SettingsError for numbers that would fail only after the platform has started, or would let no run end."""
    given: tuple[tuple[str, float | None, float, float], ...] = (
        ("--users", options.num_users, 1, USERS_MOST),
        ("--spawn-rate", options.spawn_rate, 0.001, USERS_MOST),
        ("--drain-s", options.drain_s, 0, DRAIN_MOST_S),
        ("--metrics-port", options.metrics_port, 0, PORT_MOST),
        ("--web-port", options.web_port, 1, PORT_MOST),
        ("--master-port", options.master_port, 1, PORT_MOST),
        ("--master-bind-port", options.master_bind_port, 1, PORT_MOST),
    )
    faults = [
        f"{option} {value:g} is not possible: give a number from {least:g} to {most:,.0f}"
        for option, value, least, most in given
        if value is not None and not least <= value <= most  # of NaN too
    ]
    if faults:
        raise SettingsError("options", faults)


def _meet(options: Namespace) -> bool:
    """Choose the port on which a master and its forked workers connect; return whether the user has stated a port.

    Changes `options`. Locust's default is one port for all masters of a machine, so workers of two runs would connect
    to the same master. Raises SettingsError for two different ports.
    """
    ports = {options.master_port, options.master_bind_port} - {DEFAULT_MASTER_PORT}
    if len(ports) > 1:
        fault = f"{options.master_bind_port} is not the port of its forked workers, --master-port {options.master_port}"
        raise SettingsError("--master-bind-port", [f"{fault}; name one of the two"])
    named = bool(ports)
    options.master_port = options.master_bind_port = ports.pop() if named else _free_port()
    if options.master_bind_host not in ("*", "0.0.0.0", "::") and options.master_host == LOOPBACK:
        options.master_host = options.master_bind_host
    return named


def _concrete(kind: type[User]) -> Iterator[type[User]]:
    for sub in kind.__subclasses__():
        if not sub.abstract:
            yield sub
        yield from _concrete(sub)


def _free_port() -> int:
    with get_original("socket", "socket")(socket.AF_INET, socket.SOCK_STREAM) as free:
        free.bind((LOOPBACK, 0))
        return int(free.getsockname()[1])


def _refuse_taken(host: str, port: int, option: str) -> None:
    """Raise SettingsError if the port cannot be listened on.

    Locust itself would report that after the platform has started, with a traceback and exit code 0 or 1.
    """
    address = "" if host == "*" else host
    try:
        # Not gevent's socket, which is closed only in the next iteration of its loop: Locust would find the port taken.
        with get_original("socket", "socket")(socket.AF_INET, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((address, port))
            tried.listen()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        fault = f"{host}:{port} cannot be listened on ({why}); choose another one: {option} PORT"
        raise SettingsError(option, [fault]) from error
