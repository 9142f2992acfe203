"""Shipping of records: a worker that does not share the master's disk sends them over Locust's own connection.

The worker records into a directory of its own (`own_directory`). Once a second its journal is sealed (its new records
get checksums), and the sealed records are sent in pieces; the master answers with the number of bytes that it has
written. Pieces without an answer are sent again, so a broken connection causes only a delay. A worker that dies loses
what was not sealed and sent: about the last second. Contents of the messages: `harness.run.messages`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import gevent
from gevent.event import Event

from earwitness.harness.errors import RecordError
from earwitness.harness.progress import say
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.shipping import Cutter, Gathering, Piece

SHIP_S: Final = 1.0
FULL_BYTES: Final = 1 << 18
"""Size in bytes from which a piece shows that its sender has more to send; a small run has less in a second."""
WINDOW_BYTES: Final = 8 << 20
"""Most bytes that are sent and not yet confirmed, because Locust's own messages wait behind them."""
ANSWER_S: Final = 5.0
"""Seconds without an answer after which unconfirmed pieces are sent again."""
SILENCE_S: Final = 20.0
"""Seconds without an answer after which the end of a run no longer waits."""


def shares_disk(mark: Path, text: str) -> bool:
    """Return whether this process shares the master's disk: it can read the file `mark`, which holds `text`.

    The folder of `mark`, which is the master's folder of runs, must be writable too.
    """
    try:
        return mark.read_text() == text and os.access(mark.parent, os.W_OK)
    except OSError:
        return False


def own_directory(runs: Path, run_dir: Path, journal: str) -> Path:
    """Make the directory in which a worker without the master's disk records: `RUNS/NAME.JOURNAL`.

    Raises RecordError if it cannot be made.
    """
    path = runs / f"{run_dir.name}.{journal}"
    try:
        for folder in ("journals", "tables"):
            (path / folder).mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise RecordError(f"Cannot record in {path}: {error.strerror}. Name another folder with --runs.") from error
    return path


class Shipper:
    """Sender of the records of one worker. It begins at once, and stops with `finish` or `abandon`."""

    def __init__(self, directory: Path, journal: Journal, run: str, send: Callable[[Mapping[str, Any]], None]) -> None:
        """Start the greenlet that sends what `journal` seals in `directory`.

        `run`: name of the run directory; `send` sends the data of a PIECE message to the master.
        """
        self.directory, self._journal, self._run, self._send = directory, journal, run, send
        self._cutter = Cutter(directory, journal.name)
        self._kept: dict[str, int] = {}
        self._heard = self._tried = time.monotonic()
        self._more = Event()
        self._whole = False
        self._greenlet = gevent.spawn(self._ship)

    def answered(self, data: Mapping[str, Any]) -> None:
        """Process a KEPT message of the master: continue to send, after a gap from the position that the master has."""
        if data["run"] != self._run:
            return
        self._kept = dict(data["kept"])
        self._heard = self._tried = time.monotonic()
        if data["gap"]:
            self._cutter.sent = dict(self._kept)
        self._more.set()

    def finish(self) -> bool:
        """Send the remaining records of the closed journal; return whether the master has written all of them.

        Waits as long as the master answers at least every SILENCE_S seconds. The worker's own directory is removed if
        all records were written; otherwise a line on the terminal names it.
        """
        self._heard = time.monotonic()
        self._more.set()
        while not self._whole and not self._greenlet.dead and time.monotonic() - self._heard < SILENCE_S:
            self._greenlet.join(0.05)
        self._greenlet.kill()
        if self._whole:
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            self.abandon()
        return self._whole

    def abandon(self) -> None:
        """Stop sending, because the master is gone, and print the path of the directory that holds the records."""
        self._greenlet.kill()
        if self.directory.exists() and not self._whole:
            say(f"the master did not take all records; they are in {self.directory}, see `earwitness collect`")

    def _ship(self) -> None:
        try:
            while not self._whole:
                self._push()
                self._more.clear()
                self._more.wait(SHIP_S)
        except RecordError as error:
            say(str(error))

    def _push(self) -> None:
        with contextlib.suppress(RecordError):  # closed, or the disk is full, which the next record reports
            self._journal.seal()
        now = time.monotonic()
        if not self._under_way():
            self._tried = now  # nobody owed an answer until now
        elif now - self._tried > ANSWER_S:
            self._cutter.sent, self._tried = dict(self._kept), now
        while self._under_way() < WINDOW_BYTES:
            piece = self._cutter.next()
            if piece is None:
                self._whole = self._cutter.closed and not self._under_way()
                return
            self._send({"run": self._run, "piece": piece.packed()})

    def _under_way(self) -> int:
        return sum(self._cutter.sent.values()) - sum(self._kept.values())


class Intake:
    """Receiver of the pieces of one run in the master, which writes them into the run's directory.

    bytes   total size of the written pieces, in bytes
    latest  `time.monotonic()` when the last piece of at least FULL_BYTES came, whose sender had more to send; 0.0: none
            came
    """

    def __init__(self, run_dir: Path, parts: Mapping[str, Gathering]) -> None:
        """Prepare to write into `run_dir`. `parts`: the writer for each worker, by its node id."""
        self._run_dir, self._parts = run_dir, dict(parts)
        self._refused: set[str] = set()
        self.bytes, self.latest = 0, 0.0

    def take(self, worker: str, data: Mapping[str, Any]) -> dict[str, Any] | None:
        """Write the piece of a PIECE message from `worker` (node id); return the data of the answer KEPT.

        Returns None, so that no answer is sent, if the piece belongs to another run or an unknown worker, or cannot be
        written. The terminal shows the first such error of each worker.
        """
        part = self._parts.get(worker)
        if part is None or data["run"] != self._run_dir.name:
            return None
        try:
            piece = Piece.unpacked(data["piece"])
            gap = not part.take(piece)
        except RecordError as error:
            if worker not in self._refused:
                say(str(error))
            self._refused.add(worker)
            return None
        self.bytes += 0 if gap else piece.size
        if piece.size >= FULL_BYTES:
            self.latest = time.monotonic()
        return {"run": self._run_dir.name, "kept": part.kept, "gap": gap}
