"""Temporary folders that are locked while their owner lives, and found when the owner was killed.

The owner holds an advisory lock on a file of the folder. The kernel releases the lock however the owner ends, so a
folder whose lock is free has no owner any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BIRTH_S: Final = 60.0
"""Age in seconds below which a folder without its final name may not be locked yet."""


@dataclass(frozen=True)
class OwnedFolders:
    """Temporary folders of one purpose.

    prefix  beginning of their names
    unborn  beginning of their names before they are locked; folders of other purposes have other beginnings
    lock    name of the file in each folder that is locked
    """

    prefix: str
    unborn: str
    lock: str

    def make(self, place: Path) -> tuple[Path, int]:
        """Make a folder in `place`, mode 0700; return its path, and the descriptor whose closing unlocks it.

        Raises OSError if the folder cannot be made. On a file system without locks `abandoned` never returns the
        folder.
        """
        # Locked under another name first: a cleaner must never see it unlocked.
        unborn = Path(tempfile.mkdtemp(prefix=self.unborn, dir=place))
        lock = os.open(unborn / self.lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return unborn.rename(place / f"{self.prefix}{unborn.name.removeprefix(self.unborn)}"), lock

    def abandoned(self, place: Path | None = None) -> list[Path]:
        """Return the folders in `place` (None: the temporary folder) whose owner is dead; remove nothing."""
        place = place or Path(tempfile.gettempdir())
        found = []
        for path in sorted([*place.glob(f"{self.prefix}*"), *place.glob(f"{self.unborn}*")]):
            with self.held(path) as held:
                if held:
                    found.append(path)
        return found

    @contextlib.contextmanager
    def held(self, path: Path) -> Iterator[bool]:
        """Hold the lock of a folder within this context; yield whether that succeeded.

        False if its owner lives, if it is no folder of this purpose, or if it belongs to another user.
        """
        lock = None
        try:
            lock = os.open(path / self.lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            described = path.lstat()
            young = path.name.startswith(self.unborn) and time.time() - described.st_mtime < _BIRTH_S
            held = stat.S_ISDIR(described.st_mode) and described.st_uid == os.geteuid() and not young
        except OSError:  # BlockingIOError: its owner lives; else no folder of this kind, or just removed
            held = False
        try:
            yield held
        finally:
            if lock is not None:
                os.close(lock)


__all__ = ["OwnedFolders"]
