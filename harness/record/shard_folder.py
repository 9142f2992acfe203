"""Folders of shards: locked while the check that made them lives, and found when it was killed.

A folder of shards is as large as the journals of a run, so one that nobody will read again must not stay. The owner
holds an advisory lock on `FOLDER/owner.lock`, which the kernel releases however it ends; the next check by shards in
the same place, and `earwitness clean`, remove folders whose lock is free.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from earwitness.harness.errors import RecordError

PREFIX: Final = "earwitness-shards-"
LOCK: Final = "owner.lock"
_UNBORN: Final = ".earwitness-shards-new-"
_BIRTH_S: Final = 60.0
"""Seconds during which a folder without its final name may not be locked yet."""


@contextlib.contextmanager
def shard_folder(place: Path | None = None) -> Iterator[Path]:
    """Yield a new folder in `place`, which is removed at the end; remove those of dead owners there first.

    place  None: the system's temporary folder

    Raises RecordError if it cannot be made.
    """
    place = place or Path(tempfile.gettempdir())
    for left in abandoned(place):
        remove(left)
    try:
        # Locked under another name first: a cleaner must never see it unlocked.
        unborn = Path(tempfile.mkdtemp(prefix=_UNBORN, dir=place))
        lock = os.open(unborn / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks: nobody will find the folder abandoned
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path = unborn.rename(place / f"{PREFIX}{unborn.name.removeprefix(_UNBORN)}")
    except OSError as error:
        raise RecordError(f"Cannot make a folder for shards in {place}: {error.strerror}.") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def abandoned(place: Path | None = None) -> list[Path]:
    """Return the folders of shards in `place` (None: the temporary folder) whose owner is dead; remove nothing."""
    place = place or Path(tempfile.gettempdir())
    found = []
    for path in sorted([*place.glob(f"{PREFIX}*"), *place.glob(f"{_UNBORN}*")]):
        with _held(path) as held:
            if held:
                found.append(path)
    return found


def remove(path: Path) -> None:
    """Remove a folder that `abandoned` returned, unless somebody has taken it meanwhile."""
    with _held(path) as held:
        if held:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Hold the lock of a folder; False if it is none of ours, or if its owner lives."""
    lock = None
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        described = path.lstat()
        young = path.name.startswith(_UNBORN) and time.time() - described.st_mtime < _BIRTH_S
        held = stat.S_ISDIR(described.st_mode) and described.st_uid == os.geteuid() and not young
    except OSError:  # BlockingIOError: its owner lives; else no folder of shards, or just removed
        held = False
    try:
        yield held
    finally:
        if lock is not None:
            os.close(lock)
