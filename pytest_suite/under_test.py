"""The platform that the suite speaks to: started for the session, found running, or named by `--target FILE`."""

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
    """Endpoints as `earwitness up --json` prints them; what a target does not name makes the test that needs it fail.

    tag     part of every name that the suite makes up: several sessions can use one platform
    volume  how many rows were seeded
    """

    def __init__(self, endpoints: Mapping[str, Any], *, where: str, tag: str, volume: int = 0) -> None:
        self.endpoints, self.where, self.tag, self.volume = dict(endpoints), where, tag, volume

    def need(self, key: str) -> Any:
        """An endpoint, or the end of the test with one sentence."""
        value = self.endpoints.get(key)
        if not value:
            pytest.fail(f"This test needs the platform's {key!r}, which {self.where} does not name.", pytrace=False)
        return value

    def url(self, service: str) -> str:
        return str(self.need(service)).rstrip("/")

    @property
    def edge(self) -> str:
        return self.url("edge")

    @property
    def auth(self) -> str:
        return self.url("auth")

    @property
    def frontend(self) -> str:
        return self.url("frontend")

    @property
    def provider(self) -> str:
        return self.url("provider")

    @property
    def replicas(self) -> dict[str, str]:
        """Addresses of the single backends by name; the edge alone where a target does not name them."""
        return dict(self.endpoints.get("backends") or {"edge": self.edge})

    @property
    def control(self) -> ControlClient:
        return ControlClient(self.need("control"))

    def settle(self) -> None:
        """After a fault: start what does not run, resume what is paused; each start returns when it is ready."""
        for name, state in self.control.status().items():
            if state["state"] == "paused":
                self.control.resume(name)
            elif state["state"] != READY:
                self.control.start(name)

    def to_worker(self) -> str:
        return json.dumps({"endpoints": self.endpoints, "where": self.where, "tag": self.tag, "volume": self.volume})

    @classmethod
    def from_controller(cls, text: str) -> UnderTest:
        data = json.loads(text)
        return cls(data["endpoints"], where=data["where"], tag=data["tag"], volume=data["volume"])


def new_tag() -> str:
    return secrets.token_hex(3)


def find(
    target: Path | None, keep: bool, start: Callable[[], Platform], anew: bool = False
) -> tuple[UnderTest, Platform | None]:
    """The platform of a session, and the process to end after it if it is ours. EarwitnessError, UsageError.

    `anew`: none that runs already will do.
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
    """Endpoints of a file: the state file of `earwitness up`, or TOML with a table `[endpoints]`. UsageError."""
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
    """`earwitness up` as a process of its own, which outlives this session and offers itself to the next one."""
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
    process.returncode = 0  # it is nobody's child from here on: no warning that it still runs
    return dict(json.loads(line))
