"""Servers of `tests/support/dialect_servers` as processes of a test, in Python and in Node.

Packages from npm are searched in NODE_PATH, or else in build/servers/node_modules.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from server_processes import ROOT, Program, found, free_port, running

SERVERS = ROOT / "tests" / "support" / "dialect_servers"
PACKAGES = Path(os.environ.get("NODE_PATH") or ROOT / "build" / "servers" / "node_modules")


def needs_npm(*packages: str) -> None:
    """Skip the test unless Node and these npm packages (NAME@VERSION) are installed."""
    found("node", "apt-get install nodejs npm")
    missing = [one for one in packages if not (PACKAGES / one[: one.rindex("@")]).is_dir()]
    if missing:
        pytest.skip(f"needs a package: npm install --prefix build/servers {' '.join(packages)}")


@contextmanager
def python_server(folder: Path, name: str, *options: str) -> Iterator[int]:
    """Run a server in Python within this context; yield its port."""
    port = free_port()
    with running(Program([sys.executable, str(SERVERS / name), "--port", str(port), *options], [port]), folder):
        yield port


@contextmanager
def node_server(folder: Path, name: str, *options: str) -> Iterator[int]:
    """Run a server in Node within this context; yield its port."""
    port = free_port()
    command = ["node", str(SERVERS / name), "--port", str(port), *options]
    with running(Program(command, [port], {"NODE_PATH": str(PACKAGES)}), folder):
        yield port
