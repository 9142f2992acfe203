"""Whole runs against servers of shipped dialects: start a server, spoil its messages, run a story, read the verdict.

Servers from npm are looked for in NODE_PATH, else in build/servers/node_modules.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ROOT / "tests" / "support" / "dialect_servers"
EXAMPLES = ROOT / "examples" / "dialects"
PACKAGES = Path(os.environ.get("NODE_PATH") or ROOT / "build" / "servers" / "node_modules")
START_S = 20.0
RUN_S = 100.0


@dataclass(frozen=True)
class Judged:
    """Run with its verdict: exit code, what it printed, and the checks by id."""

    code: int
    out: str
    checks: dict[str, Any]

    @property
    def broken(self) -> set[str]:
        return {name for name, check in self.checks.items() if check["outcome"] == "FAIL" and check["promised"]}

    def examined(self, name: str) -> int:
        return int(self.checks[name]["examined"])


def free_port() -> int:
    """A port of 127.0.0.1 that nobody had a moment ago."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return int(reserved.getsockname()[1])


def needs_npm(*packages: str) -> None:
    """Skip the test unless Node and these packages (NAME@VERSION) are there."""
    if shutil.which("node") is None:
        pytest.skip("needs Node 20: apt-get install nodejs npm")
    missing = [one for one in packages if not (PACKAGES / one[: one.rindex("@")]).is_dir()]
    if missing:
        pytest.skip(f"needs a package: npm install --prefix build/servers {' '.join(packages)}")


@contextmanager
def serving(*command: str) -> Iterator[None]:
    """Run a server until the block ends; it prints a line when it listens."""
    environment = {**os.environ, "NODE_PATH": str(PACKAGES)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], START_S)
            assert ready, f"{command[1]} did not say that it listens"
            assert process.stdout.readline().strip() == "ready"
            yield
        finally:
            process.terminate()


@contextmanager
def python_server(name: str, *options: str) -> Iterator[int]:
    """Run a server of `tests/support/dialect_servers`; the value is its port."""
    port = free_port()
    with serving(sys.executable, str(SERVERS / name), "--port", str(port), *options):
        yield port


@contextmanager
def node_server(name: str, *options: str) -> Iterator[int]:
    """Run a server of `tests/support/dialect_servers` in Node; the value is its port."""
    port = free_port()
    with serving("node", str(SERVERS / name), "--port", str(port), *options):
        yield port


@contextmanager
def spoiling(port: int, fault: str, every: int, *match: str) -> Iterator[int]:
    """Run a proxy that spoils each Nth message that contains `match`; the value is its port."""
    options = ["--server", f"ws://127.0.0.1:{port}", "--fault", fault, "--every", str(every), "--match", *match]
    with python_server("faulty_proxy.py", *options) as proxy:
        yield proxy


def target_file(folder: Path, name: str, port: int, *changes: tuple[str, str]) -> Path:
    """Copy the target file `name` of examples/dialects for a port, with changes of its text."""
    text = (EXAMPLES / f"{name}.toml").read_text("utf-8")
    for old, new in ((":3000", f":{port}"), (":5000", f":{port}")):
        text = text.replace(old, new)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    file = folder / f"{name}.toml"
    file.write_text(text, "utf-8")
    return file


def run(story: str, target: Path, seconds: int, users: int = 10, seed: int = 1) -> Judged:
    """Run a story against a target file and return its verdict."""
    runs = target.parent / "runs"
    command = [sys.executable, "-m", "earwitness.harness.cli", "run", story, "--headless", "-u", str(users)]
    command += ["-t", f"{seconds}s", "--target", str(target), "--seed", str(seed), "--runs", str(runs)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LOCUST_", "EARWITNESS_"))}
    done = subprocess.run(
        command, cwd=ROOT, env={**kept, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=RUN_S
    )
    verdict = runs / "latest" / "verdict.json"
    assert verdict.exists(), done.stdout + done.stderr
    checks = {check["id"]: check for check in json.loads(verdict.read_text("utf-8"))["checks"]}
    return Judged(done.returncode, done.stdout + done.stderr, checks)


def probe(target: Path) -> subprocess.CompletedProcess[str]:
    """Probe a target file."""
    command = [sys.executable, "-m", "earwitness.harness.cli", "probe", str(target)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )


def mutated(frames: Sequence[str], count: int, seed: int) -> Iterator[str | bytes]:
    """Yield real frames with one to four mistakes each: characters lost, doubled, replaced, moved, or bytes."""
    rng = random.Random(seed)
    strange = [
        "",
        "\x1e",
        "\x00",
        "[",
        "]",
        "{",
        "}",
        '"',
        ",",
        "-",
        "/",
        "9" * 20,
        "²",
        "\ud800",
        "null",
        "1e999",
        "[" * 2000,
    ]
    for _ in range(count):
        text = rng.choice(frames)
        for _ in range(rng.randint(1, 4)):
            at, to = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
            kind = rng.randrange(4)
            if kind == 0:
                text = text[:at] + text[to:]
            elif kind == 1:
                text = text[:to] + text[at:]
            elif kind == 2:
                text = text[:at] + rng.choice(strange) + text[at + 1 :]
            else:
                text = text[:at] + rng.choice(frames)[:to]
            text = text[:20_000]
        yield text.encode("utf-8", "surrogatepass") if rng.random() < 0.1 else text
