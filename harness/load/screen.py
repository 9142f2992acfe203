"""Progress line of a run, and the choice whether Locust prints its tables.

`harness.progress` writes to the terminal.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import gevent

from earwitness.harness.progress import say
from earwitness.harness.report.live_file import read_live

SCREEN_S: Final = 1.0
PIPE_S: Final = 10.0
"""Seconds between progress lines in a pipe, a file or a CI log, where lines are not overwritten."""
TABLES: Final = "locust.stats_logger"
"""Logger by which Locust prints its tables."""


def tables_on_request(options: Any) -> None:
    """Make Locust print its tables with --print-stats, only the last ones with --only-summary, and none otherwise.

    `options`: those of Locust. Call it on Locust's event `init`, before Locust starts to print.
    """
    if options.print_stats:
        return
    wanted = options.only_summary
    options.only_summary = True  # no tables every two seconds
    logging.getLogger(TABLES).disabled = not wanted


class RunScreen:
    """Watcher of the live verdict of one run: shows the progress line, and reports the first broken promise.

    It works in its own greenlet until `close`, and reads only `live.json`.
    """

    def __init__(
        self,
        run_dir: Path,
        seconds: float | None,
        users: Callable[[], int],
        *,
        lines: bool,
        on_live: Callable[[Mapping[str, Any]], None],
        on_broken: Callable[[], None] | None = None,
    ) -> None:
        """Begin to watch a run of `seconds`, None for one without a planned end.

        - `users`: returns the number of users now
        - `lines`: show the progress line
        - `on_live`: called each second with the live verdict
        - `on_broken`: called once when the live verdict is FAIL, in a greenlet of its own
        """
        self._run_dir, self._seconds, self._users = run_dir, seconds, users
        self._on_live, self._on_broken = on_live, on_broken
        self._screen = sys.stderr.isatty()
        self._begun = time.monotonic()
        self._next_line = self._begun + (SCREEN_S if self._screen else PIPE_S) if lines else float("inf")
        self._greenlet = gevent.spawn(self._watch)

    def close(self) -> None:
        """Stop watching, and clear the line."""
        self._greenlet.kill()
        if self._screen:
            print("\r\033[K", end="", file=sys.stderr, flush=True)  # noqa: T201 (no words)

    def _watch(self) -> None:
        while True:
            gevent.sleep(SCREEN_S)
            live = read_live(self._run_dir) or {}
            if live:
                self._on_live(live)
            if self._on_broken is not None and live.get("outcome") == "FAIL":
                gevent.spawn(self._on_broken)
                self._on_broken = None
            if (now := time.monotonic()) >= self._next_line:
                self._next_line += SCREEN_S if self._screen else PIPE_S
                say(progress_line(now - self._begun, self._seconds, self._users(), live), over=self._screen)


def progress_line(passed_s: float, seconds: float | None, users: int, live: Mapping[str, Any]) -> str:
    """Return one line about a run in progress; `live` is its live verdict, or empty before the first one."""
    planned = "" if seconds is None else f" of {seconds:.0f}"
    head = f"{passed_s:.0f}{planned} s · {users:,} users"
    if not live:
        return f"{head} · nothing judged yet"
    messages = live["messages"]
    broken = [row["id"] for row in live["checks"] if row["promised"] and row["outcome"] == "FAIL"]
    found = f"broken: {', '.join(broken)}" if broken else "nothing broken so far"
    return f"{head} · {messages['sent']:,} sent, {messages['heard']:,} received · {found}"
