"""Guard of a server and of its runs: ends all their processes when `earwitness conform` ends, even by SIGKILL.

A server may start daemons that leave its process group (Erlang's epmd), and may overwrite its environment with a title
(Puma). So a process is found by either: a mark that it inherited in its environment, or the session of the server.
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
"""Environment variable with the mark of the guard."""
GONE_S: Final = 5.0
LOOK_S: Final = 0.01


class Guard:
    """Guard process that waits for the end of its standard input, and then kills what is left.

    environ  variables for all processes that it covers
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
        """Return the guard."""
        return self

    def __exit__(self, *_: object) -> None:
        """Tell the guard process that we are done, and wait until it has killed what is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def cover(self, session: int) -> None:
        """Cover all processes of a session too; `session`: id of its first process, which we started."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{session}\n".encode())
        self._process.stdin.flush()


def end_all(mark: str, sessions: Collection[int]) -> None:
    """Send SIGKILL to all processes with a mark or of a session, until there are none; give up after GONE_S."""
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
    """Read session ids from standard input to its end; then kill their processes and all with the mark `argv[1]`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for what this process outlives
    sessions = {int(line) for line in sys.stdin}
    end_all(sys.argv[1], sessions)


if __name__ == "__main__":
    main()
