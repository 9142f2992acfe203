"""History of a run from the journals of all its processes: read afterwards (`open_history`) or during it (`follow`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from earwitness.checks.contract import Contract
from earwitness.checks.roster import Roster
from earwitness.harness.errors import RecordError
from earwitness.harness.record.evidence import KEY, as_stated, damaged_files, examine
from earwitness.harness.record.forms import fault_of_run
from earwitness.harness.record.journal import DATA_SUFFIX, NAMES_SUFFIX
from earwitness.harness.record.reading import DataFile, JournalView, Remap, measure, read_batches, read_beyond
from earwitness.harness.record.rundir import CHECKSUM, ROSTER_FILE, RUN_FILE, SPARE, read_json, read_run
from earwitness.harness.record.sidecar import Sidecar

if TYPE_CHECKING:
    from earwitness.checks.engine.fold import JournalInfo
    from earwitness.checks.judge import Batch

TURN: Final = 1 << 18
"""Number of records of one journal that are read before another journal is read: 16 MiB."""
BATCH_RECORDS: Final = 1 << 14
"""Number of records in a batch: 1 MiB, so that it stays in the processor's cache while it is checked and remapped."""


@dataclass(slots=True)
class History:
    """Recorded run: description, roster and journals (the expected ones in their order, then others by name).

    damage         sentences about damaged or missing parts, besides the `faults` of the journals
    damaged_files  names of files other than journals that are damaged or missing
    run_damage     what is wrong with `run.json`, "" if nothing; otherwise `run` is the content of its copy
    spare_roster   True: `roster.json` is damaged, and `roster` is the content of its copy
    """

    path: Path
    run: dict[str, Any]
    roster: Roster
    journals: list[JournalView] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    damaged_files: list[str] = field(default_factory=list)
    run_damage: str = ""
    spare_roster: bool = False

    @property
    def concluded(self) -> bool:
        """Return whether `run.json` has the hashes of all files, which are written at the end of a run.

        A run of an earlier version never has them: it counts as concluded.
        """
        return KEY in self.run or not any(view.sidecar.sealed for view in self.journals)

    @property
    def roster_damaged(self) -> bool:
        """Return whether both `roster.json` and its copy are damaged."""
        return ROSTER_FILE in self.damaged_files and not self.spare_roster

    def table(self, name: str) -> Path:
        """Return the path of the side table `name` (`tables/NAME.jsonl`).

        The path of a damaged table names no file, so that a reader treats the table as not written.
        """
        known = f"tables/{name}.jsonl"
        return self.path / (known if known not in self.damaged_files else f"{known}.damaged")

    def examine(self) -> None:
        """Compare all files with their seals and hashes; store the result in `damage` and `damaged_files`.

        Call it once, when no process writes any more. Raises RecordError if `run.json` has lost its checksum.
        """
        if CHECKSUM not in self.run and any(view.sidecar.sealed for view in self.journals):
            raise RecordError(f"{self.path / RUN_FILE} is damaged: it has no checksum, and the journals have theirs.")
        self.damage = [*([self.run_damage] if self.run_damage else []), *examine(self.journals, self.run)]
        self.damaged_files = damaged_files(self.path, self.run)
        self.damage += [self._said_of(name) for name in self.damaged_files]

    def _said_of(self, name: str) -> str:
        spared = "; its copy in spare/ is whole" if name == ROSTER_FILE and self.spare_roster else ""
        return f"{name} is missing or not what was written{spared}"

    @property
    def contract(self) -> Contract:
        """Return the promises of the platform. Raises RecordError if `run.json` has no contract."""
        if not self.run.get("contract"):
            raise RecordError(f"{self.path / 'run.json'} has no 'contract': nothing states what the platform promises.")
        return Contract.from_dict(self.run["contract"])

    def batches(self, size: int = BATCH_RECORDS) -> Iterator[Batch]:
        """Yield every complete record once, at most `size` in a batch.

        Journals are read alternately, TURN records at a time, so that a message's sending and its deliveries are read
        soon after each other, and a judge holds few records that wait for others. First each journal is read once, in
        their order. After that the next one is always the journal in which the least time lies between its first record
        and the last one that was read.

        Platform user ids in the records are replaced by client numbers (docs/architecture.md describes how). Each batch
        is a new array that the receiver may keep.
        """
        remap = Remap(self.journals)
        with ExitStack() as files:
            readers = {
                number: read_batches(number, view, files.enter_context(DataFile(view.path)), 0, size, remap)
                for number, view in enumerate(self.journals)
                if view.count
            }
            reached = dict.fromkeys(readers, -1)
            begun: dict[int, int] = {}
            while readers:
                number = min(readers, key=lambda number: (reached[number], number))
                ended = True
                for batch in _turn(readers[number]):
                    times, ended = batch.records["t"], False
                    # Each journal's own time: hosts have different clocks.
                    reached[number] = max(0, int(times[-1]) - begun.setdefault(number, int(times[0])))
                    yield batch
                if ended:
                    del readers[number]

    @property
    def stretches(self) -> list[tuple[int, int, int]]:
        """Return (journal number, first index, last index) of each sequence of intact blocks after damaged records.

        `beyond` yields each of them as a journal of its own; their numbers continue those of `journals`, in this order.
        """
        return [(n, *rows) for n, view in enumerate(self.journals) for rows in view.stretches()]

    def beyond(self, size: int = BATCH_RECORDS) -> Iterator[Batch]:
        """Yield the records of all `stretches`, at most `size` in a batch."""
        remap = Remap(self.journals)
        for number, (owner, first, last) in enumerate(self.stretches, len(self.journals)):
            yield from read_beyond(number, owner, self.journals[owner], (first, last), size, remap)

    def infos(self) -> list[JournalInfo]:
        """Return facts about each journal for `Judge.finish`, in the order of `journals`.

        Damaged records are counted only once `batches` has been read.
        """
        return [view.info() for view in self.journals]


def _turn(reader: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the next batches of a journal, until they have TURN records."""
    done = 0
    for batch in reader:
        yield batch
        done += len(batch.records)
        if done >= TURN:
            return


def open_history(run_dir: Path | str) -> History:
    """Return the sound part of the history in a run directory. `damage` and the journals' `faults` state the damage.

    Raises RecordError in one sentence if it is no run directory, or its description cannot be read.
    """
    history = _describe(Path(run_dir))
    _find_journals(history, live=False)
    if not history.journals:
        raise RecordError(f"{history.path} has no journals: nothing was recorded.")
    for view in history.journals:
        _settle(view)
    history.examine()
    return history


class Follower:
    """Reader of a run that is still being recorded.

    `history` grows with the run. Either iterate over `batches` once, to its end, or call `sweep` repeatedly.

    `run.json` may state which journals are expected (`journals`: names or a number). `batches` ends when all of them
    have footers, or when `stop()` is true; by then it has yielded every complete record.

    Journals are numbered as `open_history` numbers them: a journal is read once those that are expected before it
    exist, at the latest in the last sweep.

    `revised` is set to True if records that were yielded have become wrong: an account turned out to belong to another
    user than was known, a part turned out to be damaged, or the mapping of times to the run's clock has changed. A
    caller that needs the final state must then read `history` again.
    """

    def __init__(self, run_dir: Path | str, *, poll_s: float = 0.1, stop: Callable[[], bool] = lambda: False) -> None:
        """Read the description in `run_dir`; the first sweep opens the journals."""
        self.history = _describe(Path(run_dir))
        self._poll_s, self._stop = poll_s, stop
        self._done: dict[str, int] = {}
        self._remap = Remap(())
        self._remapped = (0, 0)
        self._strangers: set[str] = set()
        self.revised = False

    def batches(self, size: int = BATCH_RECORDS) -> Iterator[Batch]:
        """Yield batches as they are recorded, those of one journal in order, until the run ends.

        If there is nothing new, it polls every `poll_s` seconds.
        """
        while True:
            last = self._stop() or self.closed()
            progress = False
            for batch in self.sweep(size, last=last):
                progress = True
                yield batch
            if last:
                return
            if not progress and not self.closed():
                time.sleep(self._poll_s)

    def sweep(self, size: int = BATCH_RECORDS, *, last: bool = False) -> Iterator[Batch]:
        """Yield the records that are complete and were not yielded before.

        `last`: do not wait for any expected journal, and compare all files with their seals and hashes.
        """
        _find_journals(self.history, live=not last)
        views = self.history.journals
        uncounted = views
        while uncounted:
            live = [view for view in views if view.torn]
            self._count(uncounted)
            uncounted = [view for view in live if not view.torn]  # closed meanwhile: the footer says how many there are
        if last:
            self._examine()
        self._read_names()
        for number, view in enumerate(views):
            start = self._done.get(view.name, 0)
            if not start:  # its first line, which names its clock, is there by now
                view.set_clock(self.history.run)
            if view.count > start:
                with DataFile(view.path) as data:
                    yield from read_batches(number, view, data, start, size, self._remap)
                self._done[view.name] = view.count

    def _count(self, views: Sequence[JournalView]) -> None:
        for view in views:
            measure(view, self._done.get(view.name, 0))
        for view in self.history.journals:
            # After the records were counted: a name is written before the first record that uses it, in any journal,
            # so all names that these records need are there now.
            view.sidecar.read()

    def _examine(self) -> None:
        """Compare the run with its seals and hashes; set `revised` if damage is found in records that were yielded."""
        self.history.run, self.history.run_damage = read_run(self.history.path)
        self.history.examine()
        self.revised = self.revised or any(self._done.get(v.name, 0) > v.count for v in self.history.journals)
        for view in self.history.journals:
            if view.set_clock(self.history.run) and self._done.get(view.name):
                self.revised = True

    def _read_names(self) -> None:
        """Make a new mapping of user ids if any side file has grown.

        Set `revised` if the new mapping differs for records that were yielded.
        """
        views = self.history.journals
        now = len(views), sum(view.sidecar.lines for view in views)
        if now != self._remapped:
            self._strangers |= self._remap.strangers
            before, self._remap, self._remapped = self._remap.clients, Remap(views), now
            clients = self._remap.clients
            known = not self._strangers.isdisjoint(clients)
            moved = any(self._user(clients[account]) != self._user(client) for account, client in before.items())
            self.revised = self.revised or known or moved

    def _user(self, client: int) -> int:
        """Return the user of a client, -1 if the roster has none."""
        user_of = self.history.roster.user_of
        return user_of[client] if 0 <= client < len(user_of) else -1

    def closed(self) -> bool:
        """Read `run.json` again; return whether all journals that it expects have footers. False if it expects none."""
        self.history.run, _ = read_run(self.history.path)
        expected = self.history.run.get("journals")
        closed = {view.name for view in self.history.journals if view.footer is not None}
        if isinstance(expected, int):
            return 0 < expected <= len(closed)
        return bool(expected) and closed.issuperset(expected or ())


def follow(
    run_dir: Path | str,
    *,
    size: int = BATCH_RECORDS,
    poll_s: float = 0.1,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Batch]:
    """Return the batches of a run that is still being recorded, as `Follower.batches` does.

    `size`: largest number of records in a batch; `poll_s`: seconds between looks for new records; `stop`: function that
    returns whether to end.
    """
    return Follower(run_dir, poll_s=poll_s, stop=stop).batches(size)


def _describe(path: Path) -> History:
    run, damage = read_run(path)
    if fault := fault_of_run(run):
        raise RecordError(f"In {path / 'run.json'} {fault}.")
    own, copy = path / ROSTER_FILE, path / SPARE / ROSTER_FILE
    spare = not as_stated(own, run, ROSTER_FILE) and as_stated(copy, run, ROSTER_FILE)
    where = copy if spare else own
    try:
        roster = Roster.from_dict(read_json(where))
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{where} is damaged: {error!r}.") from None
    return History(path, run, roster, run_damage=damage, spare_roster=spare)


def _settle(view: JournalView) -> None:
    for _ in range(2):
        measure(view)
        if view.torn:
            # The writer may still live. The names that these records need were written before them, so they are there
            # now; and if the journal was closed meanwhile, count again.
            view.sidecar.read()
        if view.torn:
            return


def _find_journals(history: History, *, live: bool) -> None:
    """Add the journals that are not known yet to `history`.

    The expected ones come in the order in which `run.json` names them, then the others by name. With `live` a journal
    may not have its side file yet; this journal and all after it are added by a later call.
    """
    folder = history.path / "journals"
    known = {view.name for view in history.journals}
    expected = history.run.get("journals")
    wanted = [str(name) for name in expected] if isinstance(expected, list) else []
    files = os.listdir(folder) if folder.is_dir() else []
    suffixes = (DATA_SUFFIX, NAMES_SUFFIX)
    there = {name.removesuffix(suffix) for name in files for suffix in suffixes if name.endswith(suffix)}
    for name in [*wanted, *sorted(there.difference(wanted))]:
        if name in known:
            continue
        path, sidecar = folder / f"{name}{DATA_SUFFIX}", Sidecar(folder / f"{name}{NAMES_SUFFIX}")
        if live and not sidecar.path.exists():
            return
        if name in there:
            sidecar.read()
            history.journals.append(JournalView(name, path, sidecar))
            history.journals[-1].set_clock(history.run)
