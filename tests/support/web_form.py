"""Locust with its web UI as a process of a test, and waiting for what it shows."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tied import tied

UP_S, END_S = 90.0, 30.0
"""Seconds within which the web UI answers, and within which the process ends after SIGTERM."""


@contextmanager
def web_ui(
    arguments: list[str], environment: dict[str, str], port: int, log: Path, code: int
) -> Iterator[httpx.Client]:
    """Start Locust with its web UI on `port` and yield a client of it.

    At the end send SIGTERM and assert the exit code.

    `log`: file for its output, shown if it ends too early or with another exit code than `code`.
    """
    with log.open("w") as out:
        process = tied([*arguments, "--web-port", str(port)], stdout=out, stderr=out, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=UP_S) as ui:

            def up() -> bool:
                assert process.poll() is None, log.read_text()
                return answers(ui)

            until(up, UP_S)
            yield ui
        process.send_signal(signal.SIGTERM)
        process.wait(END_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, log.read_text()


def answers(ui: httpx.Client) -> bool:
    """Return whether the web UI, or the server of metrics, answers the path / with 200."""
    try:
        return ui.get("/").status_code == 200
    except httpx.TransportError:
        return False


def until(done: Callable[[], Any], timeout_s: float) -> Any:
    """Call `done` until its result is true, and return the result; the test fails after `timeout_s` seconds.

    For conditions that another process fulfils.
    """
    end = time.monotonic() + timeout_s
    while not (answer := done()):
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.1)
    return answer
