"""Links: connections between two parts of the platform that pass through our proxy, so that faults can disturb them.

A link is called CALLER/CALLEE: `edge/backend-1`, `backend-2/auth`, `users/edge`. A platform has only the links that it
was started with; all other connections are direct and cost nothing.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.children import module_environment
from earwitness.harness.platform.ports import HOST, ReservedPort
from earwitness.harness.platform.spec import ServiceSpec

NAME = "links"
"""Name of the service that is the proxy."""
USERS = "users"
ALL = "all"
ANSWER_S = 5.0
TRY_S = 2.0
_QUESTIONS = {"valkey": b"PING\r\n", "postgres": b"\0\0\0\x08\x04\xd2\x16\x2f"}
"""Requests that a store answers without a password: a command, an SSLRequest."""


def possible_links(replicas: Sequence[str], stores: Iterable[str]) -> list[str]:
    """Return the names of all links that a platform with these replicas and stores may have."""
    found = [f"{USERS}/{name}" for name in ("edge", "auth", "frontend")]
    found += [f"edge/{name}" for name in replicas]
    found += [f"{name}/auth" for name in (*replicas, "frontend")]
    found += ["frontend/edge"]
    return found + [f"{name}/{store}" for name in ("auth", *replicas) for store in stores]


def matching(wanted: str, possible: Iterable[str]) -> list[str]:
    """Return the links of `possible` that `wanted` means: one link, `all`, or all links that lead to a service.

    `backend` means the links to every replica, `backend/auth` those from every replica.
    """
    return [link for link in possible if wanted in (ALL, link) or _fits(wanted, link)]


def _fits(wanted: str, link: str) -> bool:
    caller, callee = link.split("/")
    wanted_caller, slash, wanted_callee = wanted.rpartition("/")
    ours = {callee, _kind(callee)}
    return wanted_callee in ours and (not slash or wanted_caller in (caller, _kind(caller)))


def _kind(name: str) -> str:
    return "backend" if name.startswith("backend-") else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Disturbance of the data that passes a link.

    Times are seconds.

    delay_s, jitter_s  each piece arrives `delay_s` later, plus or minus up to `jitter_s`; order is kept
    bytes_per_s        limit for each direction of each connection
    held               no data passes, none is lost, and it passes when this ends (a blackhole)
    refusing           new connections are reset at once
    cut_after          each connection is reset after this many bytes of both directions together
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    held: bool = False
    refusing: bool = False
    cut_after: int | None = None


class Links:
    """Links of one platform: their ports, the proxy's specification as a service, and requests to the proxy.

    `names` have the form CALLER/CALLEE.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Reserve a port for each link, and one for the proxy's own requests if there is any link."""
        self.names = tuple(names)
        self._ports = {name: ReservedPort(name) for name in names}
        self._control = ReservedPort(NAME) if names else None
        self._token = secrets.token_urlsafe(24)

    def port(self, name: str) -> ReservedPort | None:
        """Return the port at which the caller of the link `name` connects; None if there is no such link."""
        return self._ports.get(name)

    def spec(self, ports: dict[str, ReservedPort]) -> ServiceSpec:
        """Return the specification of the proxy as a service. `ports`: those of the services themselves, by name."""
        assert self._control is not None
        ways = {
            name: {"listen": port.number, "to": ports[name.split("/")[1]].number} for name, port in self._ports.items()
        }
        return ServiceSpec(
            name=NAME,
            argv=(sys.executable, "-m", "earwitness.harness.platform.proxy"),
            env=module_environment(),
            settings={"token": self._token, "ways": ways},
            port=self._control.number,
            inherits=True,
            listening=True,
            ready=(_Answers(self),),
        )

    async def ask(self, do: str, **arguments: object) -> Any:
        """Send the request `do` with its `arguments` to the proxy and return the result.

        Raises PlatformError with the proxy's own sentence, or if it does not answer within ANSWER_S.
        """
        if self._control is None:
            if do == "status":
                return {}
            raise PlatformError("This platform has no links: start it with `earwitness up --link CALLER/CALLEE`.")
        line = json.dumps({"token": self._token, "do": do, **arguments}).encode() + b"\n"
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(HOST, self._control.number)
                try:
                    writer.write(line)
                    answer = json.loads(await reader.readuntil(b"\n"))
                finally:
                    writer.close()
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            raise PlatformError(f"The proxy of the links does not answer: {error or type(error).__name__}.") from None
        if "error" in answer:
            raise PlatformError(str(answer["error"]))
        return answer["result"]

    async def try_out(self, name: str) -> dict[str, object]:
        """Make a small exchange through a link; return `{"seconds", "bytes"}`, or `{"error"}` if there was no answer.

        It is what the link's caller would send first. It ends after TRY_S seconds. Raises PlatformError if there is no
        such link.
        """
        port = self.port(name)
        if port is None:
            raise PlatformError(f"There is no link {name!r}; this platform has {', '.join(self.names) or 'none'}.")
        begin = time.monotonic()
        try:
            async with asyncio.timeout(TRY_S):
                reader, writer = await asyncio.open_connection(HOST, port.number)
                try:
                    writer.write(_QUESTIONS.get(name.split("/")[1], b"GET /ready HTTP/1.0\r\n\r\n"))
                    answer = await reader.read(4096)
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            return {"error": type(error).__name__}
        if not answer:
            return {"error": "ended without an answer"}
        return {"seconds": time.monotonic() - begin, "bytes": len(answer)}

    def close(self) -> None:
        """Release the reserved ports."""
        for port in (*self._ports.values(), *([self._control] if self._control else [])):
            port.close()


@dataclass(frozen=True, slots=True)
class _Answers:
    """Readiness probe of the proxy: it answers a request once it listens on all of its links."""

    links: Links

    async def missing(self) -> str | None:
        try:
            await self.links.ask("status")
        except PlatformError as error:
            return str(error)
        return None
