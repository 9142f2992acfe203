"""Platform that the suite tests: started for the session, found running, or named by `--target FILE`."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.control import ControlClient
from earwitness.harness.platform.launch import Platform, offered

NEEDED = ("edge", "auth", "frontend", "provider")
KEEP_START_S = 180.0
READY = "ready"


class UnderTest:
    """Endpoints of a platform, as `earwitness up --json` prints them.

    endpoints  by key; a test that needs a missing one fails
    where      words for the platform in messages
    tag        part of every name that the suite makes up, because several sessions can use one platform
    volume     number of rows that were seeded
    """

    def __init__(self, endpoints: Mapping[str, Any], *, where: str, tag: str, volume: int = 0) -> None:
        self.endpoints, self.where, self.tag, self.volume = dict(endpoints), where, tag, volume

    def need(self, key: str) -> Any:
        """Return the endpoint `key`; fail the test with one sentence if the target does not name it."""
        value = self.endpoints.get(key)
        if not value:
            pytest.fail(f"This test needs the platform's {key!r}, which {self.where} does not name.", pytrace=False)
        return value

    def url(self, service: str) -> str:
        """Return the URL of a service, without a slash at its end."""
        return str(self.need(service)).rstrip("/")

    @property
    def edge(self) -> str:
        """Return the URL of the load balancer."""
        return self.url("edge")

    @property
    def auth(self) -> str:
        """Return the URL of the auth service."""
        return self.url("auth")

    @property
    def frontend(self) -> str:
        """Return the URL of the frontend."""
        return self.url("frontend")

    @property
    def provider(self) -> str:
        """Return the URL of the identity provider."""
        return self.url("provider")

    @property
    def replicas(self) -> dict[str, str]:
        """Return name → URL of each backend; only the edge if the target does not name the backends."""
        return dict(self.endpoints.get("backends") or {"edge": self.edge})

    @property
    def control(self) -> ControlClient:
        """Return a client of the platform's control service."""
        return ControlClient(self.need("control"))

    def settle(self) -> None:
        """Repair the platform after a fault: start services that do not run, and resume those that are paused.

        Returns when the started services are ready.
        """
        for name, state in self.control.status().items():
            if state["state"] == "paused":
                self.control.resume(name)
            elif state["state"] != READY:
                self.control.start(name)

    def to_worker(self) -> str:
        """Return this object as text, for `from_controller` in an xdist worker."""
        return json.dumps({"endpoints": self.endpoints, "where": self.where, "tag": self.tag, "volume": self.volume})

    @classmethod
    def from_controller(cls, text: str) -> UnderTest:
        """Return the platform that `to_worker` described in the main process of xdist."""
        data = json.loads(text)
        return cls(data["endpoints"], where=data["where"], tag=data["tag"], volume=data["volume"])


def new_tag() -> str:
    """Return a random tag of six hexadecimal digits."""
    return secrets.token_hex(3)


def find(
    target: Path | None, keep: bool, start: Callable[[], Platform], anew: bool = False
) -> tuple[UnderTest, Platform | None]:
    """Return (the platform of a session, its processes if this session must end them, else None).

    `target`: file that names its endpoints; `keep`: let a started platform run on; `start`: starts a platform; `anew`:
    do not use a platform that runs already. Raises EarwitnessError or UsageError.
    """
    if target is not None:
        return UnderTest(read_target(target), where=str(target), tag=new_tag()), None
    running = None if anew else offered()
    if running is not None:
        return UnderTest(running.endpoints, where="the running platform", tag=new_tag()), None
    if keep:
        return UnderTest(start_and_keep(), where="the kept platform", tag=new_tag()), None
    platform = start()
    return UnderTest(platform.endpoints, where="the platform of this session", tag=new_tag()), platform


def read_target(path: Path) -> dict[str, Any]:
    """Return the endpoints in a file: the state file of `earwitness up`, or TOML with a table `[endpoints]`.

    Raises UsageError if the file cannot be read or lacks an endpoint that every test needs.
    """
    try:
        text = path.read_text("utf-8")
        data = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except OSError as error:
        raise pytest.UsageError(f"--target {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise pytest.UsageError(f"--target {path} is neither JSON nor TOML: {error}.") from None
    endpoints = data.get("endpoints", data)
    missing = [name for name in NEEDED if not isinstance(endpoints.get(name), str)]
    if missing:
        raise pytest.UsageError(
            f"--target {path} must name the addresses of a platform with the API of docs/architecture.md in a table "
            f"[endpoints]; missing: {', '.join(missing)}."
        )
    return dict(endpoints)


def start_and_keep() -> dict[str, Any]:
    """Run `earwitness up` as a process that outlives this session, and return its endpoints.

    Later sessions find and use this platform. Raises PlatformError if it does not start.
    """
    environment = {key: value for key, value in os.environ.items() if key != "EARWITNESS_PLATFORM"}
    process = subprocess.Popen(
        [sys.executable, "-m", "earwitness.harness.cli", "up", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + KEEP_START_S
        line = process.stdout.readline() if selector.select(deadline - time.monotonic()) else b""
    if not line:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        raise PlatformError("The platform that was to be kept did not start; `earwitness up` says why.")
    print(f"earwitness: the platform is kept, later sessions use it; end it with: kill {process.pid}", file=sys.stderr)
    process.returncode = 0  # the process outlives this session: no warning that it still runs
    return dict(json.loads(line))
