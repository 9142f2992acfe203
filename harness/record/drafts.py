"""Drafts of files and folders: written under another name until they are complete, locked while their writer lives."""

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
"""Age in seconds below which a draft is left in place: its writer may not have locked it yet."""
IMPORT: Final = "import"
_DRAFT = re.compile(rf"\.(?:{IMPORT}|.+\.(?:parquet|jsonl|json))\.(?P<pid>\d+)\.part")
_IN_A_RUN = re.compile(r"\.[\w-]+\.(?:json|html|txt|xml|svg)\.(?P<pid>\d+)")
"""Pattern of the names of drafts of `rundir.write_whole`; outside of a run directory such a name may be any file."""


@contextlib.contextmanager
def drafted(output: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a new file (or folder) next to `output` to write to. The caller renames it to `output` when it is complete.

    A draft that still exists at the end of the context is removed. Raises OSError if the draft cannot be created.
    """
    path = output.with_name(f".{output.name}.{os.getpid()}{SUFFIX}")
    lock = None
    try:
        if folder:
            path.mkdir(mode=0o700)  # messages are private
        else:
            path.touch(mode=0o600)
        with contextlib.suppress(OSError):  # a file system without locks
            lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    finally:
        remove(path)
        if lock is not None:
            os.close(lock)


def remove(path: Path) -> None:
    """Remove a file or a folder with its content; no-op if it does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def abandoned(folder: Path, *, is_run: bool = False) -> list[Path]:
    """Return the drafts in `folder` whose writer is dead: owned by this user, older than YOUNG_S, and not locked.

    `is_run`: `folder` is a run directory, so drafts of `rundir.write_whole` count too.
    """
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
    try:  # in a shared folder the writer may be a process of another machine or container, unknown to psutil
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
