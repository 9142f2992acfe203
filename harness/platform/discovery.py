"""Discovery of a running platform: a state file that only its owner may read, or an address in the environment.

`earwitness up` writes `.earwitness-platform.json` (0600) into the folder in which it was started, and removes it at its
end. `EARWITNESS_PLATFORM` names such a file or a control address; `none` means that no platform is to be reused.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.ports import HOST

VARIABLE = "EARWITNESS_PLATFORM"
STATE_FILE = ".earwitness-platform.json"
NONE = "none"
_SCHEME = "earwitness://"


def write_state(path: Path, endpoints: Mapping[str, object]) -> None:
    """Write the endpoints of a platform to a new state file that only its owner can read.

    Raises PlatformError if the file names a platform that still answers.
    """
    if path.exists():
        if _answers(_read(path)):
            raise PlatformError(
                f"A platform runs here already ({path}); stop it, or name another file with --state FILE."
            )
        path.unlink()
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with open(handle, "w") as file:
        json.dump(endpoints, file)


def remove_state(path: Path, address: str) -> None:
    """Remove the state file at `path` if it still names the platform with the control address `address`."""
    try:
        if _read(path) == address:
            path.unlink()
    except PlatformError:
        return


def find_offer(folder: Path | None = None) -> str | None:
    """Return the control address of the running platform that is offered here, or None.

    The environment variable decides; if it is unset, the state file in the folder. A state file whose platform is gone
    counts as none. Raises PlatformError if the variable names a platform that does not answer.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted == NONE:
        return None
    if wanted:
        address = address_of(wanted)
        if not _answers(address):
            raise PlatformError(f"{VARIABLE} names a platform that does not answer; start it again or unset it.")
        return address
    path = (folder or Path.cwd()) / STATE_FILE
    if not path.exists():
        return None
    address = _read(path)
    return address if _answers(address) else None


def stale_state(folder: Path) -> Path | None:
    """Return the path of the state file in `folder` if its platform does not answer, else None. It removes nothing."""
    path = folder / STATE_FILE
    try:
        return path if path.exists() and not _answers(_read(path)) else None
    except PlatformError:
        return None  # another user's file, or not a state file


def address_of(place: str) -> str:
    """Return the control address that `place` names: an address itself, or the path of a state file."""
    return place if place.startswith(_SCHEME) else _read(Path(place))


def _read(path: Path) -> str:
    try:
        with open(path) as file:
            info = os.fstat(file.fileno())
            if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
                raise PlatformError(f"{path} must belong to you and be readable by you only (chmod 600).")
            return str(json.load(file)["control"])
    except OSError as error:
        raise PlatformError(f"{path} cannot be read as a platform's state file: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise PlatformError(f"{path} is not the state file of a platform.") from None


def _answers(address: str) -> bool:
    parts = urlsplit(address)
    if parts.hostname != HOST:  # a variable must not make this machine connect to another
        return False
    try:
        socket.create_connection((HOST, parts.port), timeout=2).close()
    except (OSError, ValueError):
        return False
    return True
