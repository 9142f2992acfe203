"""The reference platform: what it is made of, where it answers, how it is wired. Read this file first."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import SettingsError
from harness.platform.edge import Edge
from harness.platform.ports import ReservedPort
from harness.platform.postgres import Postgres, UserMode
from harness.platform.readiness import HttpAnswers
from harness.platform.spec import ServiceSpec
from harness.platform.tether import module_environment
from harness.platform.valkey import Valkey

CLIENT_ID = "earwitness"
AUDIENCE = "earwitness-chat"
REPLICAS = 2
MAX_REPLICAS = 16
BACKEND = "backend"
"""In options: all replicas at once."""

BUDGET: Mapping[str, object] = {"rate_per_s": 1000, "rate_burst": 2000}
"""One budget of a subject over auth and backend: both take from the same bucket, so both must name the same numbers.
One user's 1,000 messages in one second must pass."""

DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "auth": {
        "access_ttl_s": 900,
        "refresh_ttl_s": 30 * 86400,
        "test_mode": True,
        **BUDGET,
    },
    BACKEND: {"test_mode": True, **BUDGET},
}
"""Settings that a run may change with `StackOptions.settings`, by service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What a run may ask for. Keys of the mappings are service names; "backend" means every replica.

    `settings`: `{"backend": {"rate_per_s": 5}}`; `defects`: `{"backend-2": ["Z1:0.01"]}`; `ports`: fixed ports.
    """

    replicas: int = REPLICAS
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    defects: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    postgres_user: UserMode = UserMode.AUTO
    valkey_program: str | None = None


class Stack:
    """The reference platform as specs and endpoints; nothing runs yet, but its ports are reserved."""

    def __init__(self, options: StackOptions, scratch: Path) -> None:
        """SettingsError with all faults of the options; PlatformError for a taken port or a missing program."""
        self.options = options
        self.replicas = [f"{BACKEND}-{n + 1}" for n in range(options.replicas)]
        self.names = ["postgres", "valkey", "provider", "auth", *self.replicas, "frontend", "edge"]
        self._check()
        self._ports: dict[str, ReservedPort] = {}
        try:
            for name in self.names:
                self._ports[name] = ReservedPort(name, options.ports.get(name, 0))
            self._postgres = Postgres(self._ports["postgres"], user_mode=options.postgres_user, scratch=scratch)
            self._valkey = Valkey(self._ports["valkey"], program=options.valkey_program)
            self._edge = Edge(self._ports["edge"], [self._ports[name] for name in self.replicas])
        except BaseException:
            self.close()
            raise
        self._client_secret = secrets.token_urlsafe(24)

    def close(self) -> None:
        """Give the ports back."""
        for port in self._ports.values():
            port.close()

    @property
    def endpoints(self) -> dict[str, Any]:
        """As `earwitness up --json` prints them, but for `control`."""
        return {
            **{name: self._url(name) for name in ("edge", "auth", "frontend", "provider")},
            "backends": {name: self._url(name) for name in self.replicas},
            "auth_dsn": self._postgres.dsn("auth"),
            "main_dsn": self._postgres.dsn("main"),
            "redis": self._valkey.url,
        }

    def specs(self) -> list[ServiceSpec]:
        """Those that are needed come before those who need them."""
        replicas = tuple(self.replicas)
        return [
            self._postgres.spec(),
            self._valkey.spec(),
            self._provider(),
            self._auth(),
            *(self._backend(name) for name in replicas),
            self._edge.spec(after=replicas),
            self._frontend(),
        ]

    def _provider(self) -> ServiceSpec:
        url = self._url("provider")
        settings = {
            "issuer": url,
            "client_id": CLIENT_ID,
            "client_secret": self._client_secret,
            "redirect_uris": [f"{self._url('auth')}/auth/google/callback"],
        }
        return self._service("provider", settings, probes=(HttpAnswers(f"{url}/.well-known/openid-configuration"),))

    def _auth(self) -> ServiceSpec:
        url = self._url("auth")
        settings = {
            "public_url": url,
            "dsn": self._postgres.dsn("auth"),
            "redis_url": self._valkey.url,
            "provider_issuer": self._url("provider"),
            "client_id": CLIENT_ID,
            "client_secret": self._client_secret,
            "frontend_url": self._url("frontend"),
            "audience": AUDIENCE,
        }
        return self._service(
            "auth",
            settings,
            probes=(HttpAnswers(f"{url}/auth/google", 302),),
            after=("postgres", "valkey", "provider"),
        )

    def _backend(self, name: str) -> ServiceSpec:
        settings = {
            "dsn": self._postgres.dsn("main"),
            "redis_url": self._valkey.url,
            "auth_url": self._url("auth"),
            "issuer": self._url("auth"),
            "audience": AUDIENCE,
        }
        return self._service(name, settings, after=("postgres", "valkey"))

    def _frontend(self) -> ServiceSpec:
        settings = {
            "public_url": self._url("frontend"),
            "auth_url": self._url("auth"),
            "backend_url": self._url("edge"),
        }
        # Most of its start is importing: it does that while the others do theirs.
        return self._service("frontend", settings, beside=("auth", "edge"))

    def _service(
        self,
        name: str,
        settings: Mapping[str, object],
        *,
        probes: tuple[HttpAnswers, ...] = (),
        after: tuple[str, ...] = (),
        beside: tuple[str, ...] = (),
    ) -> ServiceSpec:
        """A Python service of `harness.reference`; ready when `/ready` and then its own probes say so."""
        kind = _kind(name)
        changed = {
            **DEFAULTS.get(kind, {}),
            **self.options.settings.get(kind, {}),
            **self.options.settings.get(name, {}),
        }
        orders = list(self.options.defects.get(kind, ()))
        if name != kind:
            orders += self.options.defects.get(name, ())
        return ServiceSpec(
            name=name,
            argv=(
                sys.executable,
                "-m",
                f"harness.reference.{kind}",
                *(part for order in orders for part in ("--defect", order)),
            ),
            env=module_environment(),
            settings={"name": name, **settings, **changed},
            port=self._ports[name].number,
            inherits=True,
            ready=(HttpAnswers(f"{self._url(name)}/ready"), *probes),
            after=after,
            beside=beside,
        )

    def _url(self, name: str) -> str:
        return self._ports[name].url

    def _check(self) -> None:
        options = self.options
        faults = []
        if not 1 <= options.replicas <= MAX_REPLICAS:
            faults.append(f"replicas must be from 1 to {MAX_REPLICAS}, not {options.replicas}")
        python = {_kind(name) for name in self.names[2:-1]} | set(self.names[2:-1])
        for what, names, known in (
            ("settings", options.settings, python),
            ("defects", options.defects, python),
            ("ports", options.ports, set(self.names)),
        ):
            faults += [
                f"{what} are for {name!r}, which is none of {', '.join(sorted(known))}"
                for name in sorted(set(names) - known)
            ]
        if faults:
            raise SettingsError("the platform's options", faults)


def _kind(name: str) -> str:
    """The program that a service is: replicas share one."""
    return BACKEND if name.startswith(f"{BACKEND}-") else name
