"""Judging of a run in progress: the checks read the journals while they grow, so that little is left for the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from earwitness.checks.own import OwnCheck
from earwitness.harness.errors import RecordError
from earwitness.harness.progress import printable
from earwitness.harness.record.evidence import KEY
from earwitness.harness.record.history import Follower
from earwitness.harness.record.rundir import write_whole
from earwitness.harness.report.judging import verdict_by, write_verdict
from earwitness.harness.report.live import LiveVerdict
from earwitness.harness.report.live_file import LIVE
from earwitness.harness.report.terminal import verdict_text

TURN_S: Final = 1.8
"""Seconds between calls of `Following.turn`: a violation is reported within two seconds. A call costs a few ms."""
LOOKING_SHARE: Final = 0.05
"""Largest share of one core for live verdicts. One verdict costs a few ms, more in a run of millions of messages."""
GOING_ON: Final = ("running", "drained")
"""States in `run.json` of a run whose processes may still write records."""


class Following:
    """Judge of a run in progress.

    Call `turn` every TURN_S seconds, and `finish` once when the run's journals are closed.
    """

    def __init__(
        self, run_dir: Path, say: Callable[[str], None], *, publish: bool, own: Sequence[OwnCheck] = ()
    ) -> None:
        """Prepare the judge of the run in `run_dir`.

        `publish`: write live.json, which only the run's own judge process may do. `own`: own checks that the user
        allows to run. `say` receives lines for the user.
        """
        self._follower = Follower(run_dir)
        self._history = self._follower.history
        self._publish, self._say, self._own = publish, say, own
        self._shown, self._next_look = -1, 0.0  # the first look comes before any record
        self.live = LiveVerdict(self._history, say, own)

    def turn(self) -> dict[str, Any] | None:
        """Judge the records that were written since the last call; publish and return the verdict so far.

        Return None if there are no new records, or if computing verdicts would take more than LOOKING_SHARE of a core.
        """
        self._judge(last=False)
        now = time.monotonic()
        if self.live.records == self._shown or now < self._next_look:
            return None
        self._shown = self.live.records
        spent = time.thread_time()
        document = self.live.look()
        self._tell(document)
        spent = time.thread_time() - spent
        self._next_look = now + spent / LOOKING_SHARE if spent > TURN_S * LOOKING_SHARE else 0.0
        return document

    def over(self) -> bool:
        """Return whether no process writes to the run any more.

        This is so if all journals are closed and `run.json` holds their last hashes, or if `is_going_on` is False.
        """
        if self._follower.closed() and KEY in self._history.run:
            return True
        return not is_going_on(self._history.run)

    def finish(self) -> dict[str, Any]:
        """Judge the remaining records, write the verdict into the run's directory and return it. Call this once.

        If an account turns out to belong to another user than assumed so far, all records are judged again.
        """
        self._follower.closed()  # reads run.json, as it is now
        self._judge(last=True)
        if self._follower.revised:
            self._say("an account belongs to another user than assumed so far: the whole run is judged again")
            self.live = LiveVerdict(self._history, self._say, self._own)
            for batch in self._history.batches():
                self.live.judge.step(batch)
        verdict = verdict_by(self._history, self.live.judge, self.live.reach)
        write_verdict(self._history.path, verdict, verdict_text(verdict))
        self._tell(self.live.last_look(verdict))
        return verdict

    def _judge(self, *, last: bool) -> None:
        for batch in self._follower.sweep(last=last):
            self.live.judge.step(batch)

    def _tell(self, document: Mapping[str, object]) -> None:
        """Write `document` to live.json, if this judge publishes.

        If the file cannot be written (a full disk), a line says so, and no live verdict is written any more.
        """
        if self._publish:
            try:
                write_whole(self._history.path / LIVE, json.dumps(document, default=str).encode())
            except RecordError as error:
                self._publish = False
                self._say(f"{error} The live verdict stops here; the final verdict follows.")


def follow_by_hand(run_dir: Path, own: Sequence[OwnCheck] = ()) -> dict[str, Any]:
    """Judge a run until it ends, and return the final verdict; the run's own judge process is not disturbed.

    A line for each violation, and the progress, are printed to stderr.
    """
    screen = sys.stderr.isatty()
    clear = "\r\033[K" if screen else ""

    def say(line: str) -> None:
        print(f"{clear}earwitness: {printable(line)}", file=sys.stderr, flush=True)  # noqa: T201

    following = Following(run_dir, say, publish=False, own=own)
    told, next_line = -1, 0.0
    while not following.over():
        following.turn()
        if following.live.records != told and time.monotonic() >= next_line:
            told, next_line = following.live.records, time.monotonic() + (0 if screen else 5)
            end = "" if screen else "\n"
            print(f"{clear}earwitness: {printable(following.live.summary())}", end=end, file=sys.stderr, flush=True)  # noqa: T201
        time.sleep(TURN_S)
    print(clear, end="", file=sys.stderr, flush=True)  # noqa: T201
    return following.finish()


def is_going_on(run: Mapping[str, Any]) -> bool:
    """Return whether `run` (run.json) states that it is in progress, unless its leading process is known to have ended.

    Only a process of this machine can be known to have ended. True also if run.json names no process.
    """
    return run.get("state") in GOING_ON and not _gone(run.get("process"), run.get("process_started"))


def _gone(pid: int | None, started: float | None) -> bool:
    """Return whether the process `pid` of this machine has ended; False if `pid` or `started` is None.

    `started`: Unix time at which the process started. A process of that number with another start time is another
    process.
    """
    if pid is None or started is None:
        return False
    try:
        return bool(abs(psutil.Process(pid).create_time() - started) > 1)
    except psutil.NoSuchProcess:
        return True
