"""Drafts of files and folders: written under another name until they are whole, locked while their writer lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

SUFFIX: Final = ".part"
YOUNG_S: Final = 60.0
"""A draft may be so young that its writer has not locked it yet."""
IMPORT: Final = "import"
_DRAFT = re.compile(rf"\.(?:{IMPORT}|.+\.(?:parquet|jsonl))\.(?P<pid>\d+)\.part")
_IN_A_RUN = re.compile(r"\.[\w-]+\.(?:json|html|txt|xml|svg)\.(?P<pid>\d+)")
"""What `rundir.write_whole` writes to; such names are ours in a run directory only."""


@contextlib.contextmanager
def drafted(output: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a new file (or folder) beside `output` to write to; the caller moves it where it belongs. What is still
    there at the end is removed. OSError."""
    path = output.with_name(f".{output.name}.{os.getpid()}{SUFFIX}")
    lock = None
    try:
        if folder:
            path.mkdir()
        else:
            path.touch()
        with contextlib.suppress(OSError):  # a file system without locks
            lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    finally:
        remove(path)
        if lock is not None:
            os.close(lock)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def abandoned(folder: Path, *, is_run: bool = False) -> list[Path]:
    """Return the drafts in `folder` whose writer is dead."""
    return [path for path in sorted(folder.glob(".*")) if _is_abandoned(path, is_run)]


def _is_abandoned(path: Path, is_run: bool) -> bool:
    found = _DRAFT.fullmatch(path.name) or (_IN_A_RUN.fullmatch(path.name) if is_run else None)
    if found is None or path.is_symlink() or psutil.pid_exists(int(found["pid"])):
        return False
    try:
        described = path.stat()
        if described.st_uid != os.geteuid() or time.time() - described.st_mtime < YOUNG_S:
            return False
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:  # on a shared folder its writer may be a process of another machine, or of another container
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
