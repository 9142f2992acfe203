"""Temporary folders of shards: locked while the check that made them runs, and removed later if it was killed.

A folder of shards is as large as the journals of a run, so an unused one must not stay. The next check by shards in the
same place, and `earwitness clean`, remove the folders whose owner is dead (`harness.owned_folders`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from earwitness.harness.errors import RecordError
from earwitness.harness.owned_folders import OwnedFolders

FOLDERS: Final = OwnedFolders(prefix="earwitness-shards-", unborn=".earwitness-shards-new-", lock="owner.lock")


@contextlib.contextmanager
def shard_folder(place: Path | None = None) -> Iterator[Path]:
    """Yield a new folder in `place`, which is removed at the end. Folders of dead owners there are removed first.

    `place` None: the system's temporary folder. Raises RecordError if the folder cannot be made.
    """
    place = place or Path(tempfile.gettempdir())
    for left in FOLDERS.abandoned(place):
        remove(left)
    try:
        path, lock = FOLDERS.make(place)
    except OSError as error:
        raise RecordError(f"Cannot make a folder for shards in {place}: {error.strerror}.") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def remove(path: Path) -> None:
    """Remove a folder of a dead owner. No-op if another process holds its lock."""
    with FOLDERS.held(path) as held:
        if held:
            shutil.rmtree(path, ignore_errors=True)
