"""A run whose records go to an object store (`--store`): what its load processes and its master do.

Each load process puts what it has sealed into the store, about once a second, also one that shares the master's disk:
the store then holds the run even if the master's host is lost. The master fetches what it does not have on its disk,
for the live verdict and for the last one, and puts the description of the run, so that `earwitness collect` can judge
it without this master.

Stores block, so they are called in threads; a store that does not answer is tried again.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import gevent
from gevent.event import Event

from earwitness.harness.errors import RecordError
from earwitness.harness.progress import say
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.rundir import ROSTER_FILE, RUN_FILE, RunDirectory
from earwitness.harness.record.shipping import Cutter, Gathering, Piece
from earwitness.harness.record.store import Store, file_name, piece_name

T = TypeVar("T")
PUT_S: Final = 1.0
FETCH_S: Final = 2.0
GIVE_UP_S: Final = 60.0
"""Seconds without success after which an end does not wait for the store any longer."""


def _in_thread(act: Callable[..., T], *args: Any) -> T:
    result: T = gevent.get_hub().threadpool.apply(act, args)
    return result


class Depositing:
    """Sender of one load process's part to a store. Begins at once; ends with `finish` or `abandon`."""

    def __init__(self, directory: Path, journal: Journal, run: str, shard: int, store: Store, *, own: bool) -> None:
        """Put what `journal` seals in `directory`, as shard number `shard` of the run `run`.

        `own`: the directory is this process's own, and is removed when all of it is in the store.
        """
        self.directory, self._journal, self._own = directory, journal, own
        self._run, self._shard = run, shard
        self._store, self._cutter = store, Cutter(directory, journal.name, tables=own)
        self._number = 0
        self._whole = self._refused = False
        self._latest = time.monotonic()
        self._end = Event()
        self._greenlet = gevent.spawn(self._work)

    def answered(self, data: Mapping[str, Any]) -> None:
        """No-op: a store takes the records, so messages of the master state nothing about them."""

    def finish(self) -> bool:
        """Put the rest of the closed journal; return whether all of it is in the store.

        Gives up after GIVE_UP_S seconds in which nothing could be put; a line on the terminal then names the directory.
        An own directory is removed once all of it is in the store.
        """
        self._latest = time.monotonic()
        self._end.set()
        while not self._whole and not self._greenlet.dead and time.monotonic() - self._latest < GIVE_UP_S:
            self._greenlet.join(0.05)
        self._greenlet.kill()
        if self._whole and self._own:
            shutil.rmtree(self.directory, ignore_errors=True)
        elif not self._whole:
            say(f"the store did not take all records; they are in {self.directory}, see `earwitness collect`")
        return self._whole

    def abandon(self) -> None:
        """Put the rest as `finish` does. Called when the master is gone."""
        self.finish()

    def _work(self) -> None:
        while not self._whole:
            try:
                self._put()
                self._refused = False
            except RecordError as error:
                if not self._refused:
                    say(str(error))
                self._refused = True
            self._end.wait(PUT_S)
            gevent.sleep(0 if not self._refused else PUT_S)

    def _put(self) -> None:
        with contextlib.suppress(RecordError):  # closed, or the disk is full, which the next record reports
            self._journal.seal()
        while True:
            before = dict(self._cutter.sent)
            piece = self._cutter.next()
            if piece is None:
                self._whole = self._cutter.closed
                return
            name = piece_name(self._run, self._shard, self._journal.name, self._number + 1)
            try:
                _in_thread(self._store.put, name, piece.packed())
            except RecordError:
                self._cutter.sent = before
                raise
            self._number += 1
            self._latest = time.monotonic()


class Fetching:
    """Receiver of the pieces of other hosts: it fetches them from a store into the master's run directory."""

    def __init__(self, run: RunDirectory, store: Store, parts: Mapping[int, Gathering]) -> None:
        """Begin to fetch for `run`. `parts`: the writer for each shard without the master's disk, by its number."""
        self._run, self._store, self._parts = run, store, dict(parts)
        self._numbers = dict.fromkeys(parts, 0)
        self._refused = False
        self.put_description()
        self._greenlet = gevent.spawn(self._keep_fetching)

    def put_description(self) -> None:
        """Put `run.json` and the roster as they are now. A store that refuses is reported once."""
        for name in (RUN_FILE, ROSTER_FILE):
            self._tried(partial(self._put_file, name))

    def close(self) -> None:
        """Fetch the rest; call it when all load processes have put theirs."""
        self._greenlet.kill()
        self._tried(self._fetch)

    def conclude(self) -> None:
        """Put the files that the master wrote itself; call it when the run has been concluded."""
        loads = tuple(f"load-{shard}." for shard in range(len(self._run.run.get("journals", ()))))
        files = [*(self._run.path / "tables").glob("*.jsonl"), *self._run.journals.iterdir()]
        for path in files:
            if not path.name.startswith(loads):
                self._tried(partial(self._put_file, path.relative_to(self._run.path).as_posix()))
        self.put_description()

    def _put_file(self, name: str) -> None:
        _in_thread(self._store.put, file_name(self._run.path.name, name), (self._run.path / name).read_bytes())

    def _keep_fetching(self) -> None:
        while True:
            gevent.sleep(FETCH_S)
            self._tried(self._fetch)

    def _fetch(self) -> None:
        for shard, part in self._parts.items():
            while True:
                name = piece_name(self._run.path.name, shard, f"load-{shard}", self._numbers[shard] + 1)
                data = _in_thread(self._store.get, name)
                if data is None:
                    break
                part.take(Piece.unpacked(data))
                self._numbers[shard] += 1

    def _tried(self, act: Callable[[], None]) -> None:
        try:
            act()
            self._refused = False
        except (RecordError, OSError) as error:
            if not self._refused:
                say(str(error))
            self._refused = True
