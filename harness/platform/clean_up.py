"""Directory of a platform, and its clean-up: a process waits for the owner's end, then kills and removes what is left.

The owner holds an advisory lock on `DIR/lock`, which the kernel releases however the owner ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil

from earwitness.harness.errors import PlatformError
from earwitness.harness.owned_folders import OwnedFolders

FOLDERS = OwnedFolders(prefix="earwitness-", unborn=".earwitness-new-", lock="lock")
KEPT = "kept"
DIRECTORY_VARIABLE = "EARWITNESS_PLATFORM_DIRECTORY"
"""Name of the environment variable that every process of a platform has: the path of the platform's directory."""
_FREE_MB_MIN = 128
"""Free disk space in MB that a start requires; the databases alone take 60 MB."""
_IPC_RMID = 0


class PlatformDirectory:
    """Directory of one platform in the system's temporary folder, mode 0700, locked while its owner process lives."""

    def __init__(self) -> None:
        """Create and lock the directory.

        Raises PlatformError if there is too little free disk space: on a full disk a database fails with a hundred
        lines of errors.
        """
        _require_space(Path(tempfile.gettempdir()))
        self.path, self._lock = FOLDERS.make(Path(tempfile.gettempdir()))

    def keep(self) -> None:
        """Mark the directory so that `close` and later clean-ups do not remove it."""
        (self.path / KEPT).touch()

    def close(self) -> None:
        """Kill the processes that still run in the directory, and remove it unless it is marked by `keep`."""
        clean_up(self.path)
        os.close(self._lock)


def _require_space(folder: Path) -> None:
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < _FREE_MB_MIN:
        raise PlatformError(
            f"Only {free_mb} MB are free at {folder}, a platform needs {_FREE_MB_MIN} MB: free some space, or name "
            "another place by the environment variable TMPDIR."
        )


def remove_stale(folder: Path | None = None) -> list[Path]:
    """Clean up after platforms whose owner is dead; return the removed directories.

    Directories that are marked by `keep` stay. `folder`: where to search, by default the system's temporary folder.
    """
    return [path for path in left_behind(folder) if not (path / KEPT).exists() and remove(path)]


def left_behind(folder: Path | None = None) -> list[Path]:
    """Return the directories of platforms whose owner is dead, also those marked by `keep`. It removes nothing.

    `folder`: where to search, by default the system's temporary folder.
    """
    return FOLDERS.abandoned(folder)


def remove(path: Path) -> bool:
    """Remove a directory that `left_behind` returned, and kill its processes; return whether it is gone.

    False also if another process is removing it.
    """
    with FOLDERS.held(path) as held:
        if held:
            (path / KEPT).unlink(missing_ok=True)
            clean_up(path)
    return held and not path.exists()


def clean_up(path: Path) -> None:
    """Kill every process of the platform in `path`, and remove the directory unless it is marked by `keep`."""
    _end_processes(path)
    _release_shared_memory(path)
    if not (path / KEPT).exists():
        shutil.rmtree(path, ignore_errors=True)


def _end_processes(path: Path, timeout_s: float = 3.0) -> None:
    """Send SIGKILL to all of the platform's processes in `path`, and wait until they have ended.

    Paused processes are killed too. Returns after `timeout_s` seconds at the latest, without an error.
    """
    deadline = time.monotonic() + timeout_s
    # Looked for again until none is found: a process that is killed last may have started others while we looked.
    # Not psutil.wait_procs: an orphan that process 1 never reaps would look alive to it.
    while (living := processes_in(path)) and time.monotonic() < deadline:
        for process in living:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        while any(is_alive(process) for process in living) and time.monotonic() < deadline:
            time.sleep(0.01)


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process has not ended. A zombie counts as ended."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def processes_in(path: Path) -> list[psutil.Process]:
    """Return the living processes of the platform in `path`.

    Such a process has its working directory in or below `path`, and the path in its environment. Both are required, so
    that a user's shell in that folder is not killed. Postgres overwrites its environment for its process title (and
    gives each backend a session of its own), so its process name replaces the second condition.
    """
    root, found = str(path), []
    for process in psutil.process_iter():
        try:
            if not (process.cwd() + os.sep).startswith(root + os.sep) or process.status() == psutil.STATUS_ZOMBIE:
                continue
            marker = process.environ().get(DIRECTORY_VARIABLE, "")
            if process.name() == "postgres" or (marker + os.sep).startswith(root + os.sep):
                found.append(process)
        except psutil.Error:
            continue  # it has ended, or we may not read it, and then may not end it either
    return found


def _release_shared_memory(path: Path) -> None:
    """Release the System V shared memory segment of a killed Postgres.

    Postgres releases it only at the next start on the same data, which will not come.
    """
    for pid_file in path.glob("*/data/postmaster.pid"):
        try:
            line = pid_file.read_text().splitlines()[6].split()
            ctypes.CDLL(None).shmctl(int(line[1]), _IPC_RMID, None)
        except (OSError, IndexError, ValueError):
            continue  # it ended before it had a segment


def main() -> None:
    """Wait for the end of standard input, then clean up the directory that the command line states."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the platform, which this process outlives
    directory = Path(sys.argv[1])
    while os.read(0, 1024):
        pass
    if directory.exists():
        clean_up(directory)


if __name__ == "__main__":
    main()
