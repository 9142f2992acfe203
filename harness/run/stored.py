"""Object store of a run (`--store`): load processes put their records into it, and the master fetches them.

Each load process puts the records that it has sealed (given checksums) into the store, about once a second, even if it
shares the master's disk: so the store holds the run even if the master's host is lost. The master fetches the records
that are not on its disk, for the live verdict and for the last one. It also puts the description of the run, so that
`earwitness collect` can judge the run without this master.

Calls of a store block, so they are made in threads. A store that does not answer is tried again.
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
"""Seconds without success after which the end of a run no longer waits for the store."""


def _in_thread(act: Callable[..., T], *args: Any) -> T:
    result: T = gevent.get_hub().threadpool.apply(act, args)
    return result


class Depositing:
    """Sender of the records of one load process to an object store. It begins at once.

    It stops with `finish` or `abandon`.
    """

    def __init__(self, directory: Path, journal: Journal, run: str, shard: int, store: Store, *, own: bool) -> None:
        """Start the greenlet that puts what `journal` seals in `directory`, as shard number `shard` of the run `run`.

        `own`: the directory belongs to this process alone, and is removed when all of it is in the store.
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
        """No-op: messages of the master do not concern records that go to a store."""

    def finish(self) -> bool:
        """Put the remaining records of the closed journal into the store; return whether all of them are in it.

        Gives up after GIVE_UP_S seconds without success; a line on the terminal then names the directory. A directory
        of this process alone is removed once all of it is in the store.
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
        """Put the remaining records into the store, as `finish` does. Called when the master is gone."""
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
    """Receiver of the records of other hosts: fetches pieces from a store and writes them into the run directory."""

    def __init__(self, run: RunDirectory, store: Store, parts: Mapping[int, Gathering]) -> None:
        """Begin to fetch for `run`.

        `parts`: the writer for each shard that is not on the master's disk, by shard number.
        """
        self._run, self._store, self._parts = run, store, dict(parts)
        self._numbers = dict.fromkeys(parts, 0)
        self._refused = False
        self.put_description()
        self._greenlet = gevent.spawn(self._keep_fetching)

    def put_description(self) -> None:
        """Put the present `run.json` and roster into the store. An error of the store is printed once."""
        for name in (RUN_FILE, ROSTER_FILE):
            self._tried(partial(self._put_file, name))

    def close(self) -> None:
        """Fetch the remaining pieces. Call it when all load processes have put theirs."""
        self._greenlet.kill()
        self._tried(self._fetch)

    def conclude(self) -> None:
        """Put the files that the master wrote into the store.

        Call it when `run.json` states the hashes of all files.
        """
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
