"""Guard of a server and its runs: kills all their processes when `earwitness conform` ends, even by SIGKILL.

A server may start daemons that leave its process group (Erlang's epmd), and may overwrite its environment with a title
(Puma). So a process is recognised by one of two things: a mark that it inherited in its environment, or the session of
the server.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Final, Self

import psutil

from earwitness.harness.platform.children import module_environment
from earwitness.harness.platform.clean_up import is_alive

VARIABLE: Final = "EARWITNESS_CONFORM_MARK"
"""Environment variable that contains the mark of the guard."""
GONE_S: Final = 5.0
LOOK_S: Final = 0.01


class Guard:
    """Guard process that waits for the end of its standard input, and then kills the covered processes that still run.

    `environ`: environment variables that every covered process must be started with.
    """

    def __init__(self) -> None:
        """Start the guard process."""
        mark = secrets.token_hex(16)
        self.environ: Mapping[str, str] = {VARIABLE: mark}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, mark], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            env=module_environment(), cwd="/", start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the guard process's standard input, and wait until it has killed all covered processes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def cover(self, session: int) -> None:
        """Cover also all processes of a session; `session`: its id, the process id of its first process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{session}\n".encode())
        self._process.stdin.flush()


def end_all(mark: str, sessions: Collection[int]) -> None:
    """Send SIGKILL to all processes with the mark or of a session, until there are none or GONE_S s are over."""
    end = time.monotonic() + GONE_S
    while (left := list(_covered(mark, sessions))) and time.monotonic() < end:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(LOOK_S)  # the kernel ends them; a process that was forked meanwhile is found by the next look


def _covered(mark: str, sessions: Collection[int]) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            marked = process.environ().get(VARIABLE) == mark or os.getsid(process.pid) in sessions
            if marked and is_alive(process):
                yield process


def main() -> None:
    """Read session ids from standard input until it ends; then kill all processes of these sessions or with the mark.

    The mark is `argv[1]`.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for what this process outlives
    sessions = {int(line) for line in sys.stdin}
    end_all(sys.argv[1], sessions)


if __name__ == "__main__":
    main()
