"""Stack: services of the reference platform, their addresses and connections, and the options of a platform.

Read this file first.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import json
import secrets
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from earwitness.harness.errors import PlatformError, SettingsError
from earwitness.harness.platform import links, stores
from earwitness.harness.platform.children import module_environment
from earwitness.harness.platform.edge import Edge
from earwitness.harness.platform.links import USERS, Links, matching, possible_links
from earwitness.harness.platform.ports import ReservedPort
from earwitness.harness.platform.spec import HttpAnswers, RedisAnswers, ServiceSpec
from earwitness.harness.platform.stores import Postgres, UserMode, Valkey
from earwitness.harness.settings import Settings, how_to_set

_CLIENT_ID = "earwitness"
_AUDIENCE = "earwitness-chat"
REPLICAS = 2
_MAX_REPLICAS = 16
_OUTSIDE_TIMEOUT_S = 5.0
BACKEND = "backend"
"""Service name that stands for all backend replicas in options."""

_BUDGET: Mapping[str, object] = {"rate_per_s": 1000, "rate_burst": 2000}
"""Settings for the rate limit of a user: auth and backend share one bucket, so both must have the same numbers.

The limit must permit 1,000 messages of one user in one second.
"""

_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "auth": {
        "access_ttl_s": 900,
        "refresh_ttl_s": 30 * 86400,
        "test_mode": True,
        **_BUDGET,
    },
    BACKEND: {"test_mode": True, **_BUDGET},
    "frontend": {"test_mode": True},
}
"""Default settings that `StackOptions.settings` may change, by service."""
_SECTION_OF = {"auth": "auth_service", "edge": "backend", "frontend": "frontend"}
"""Section of the settings that holds a service's port, by service. The port of the edge stands for the backends."""
_MODULES = ("aiohttp", "asyncpg", "redis")
"""Modules that the services import. Postgres, Valkey and Caddy are not listed, because their own errors name them."""
_HOW = "pip install 'earwitness[platform]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """Options of a platform.

    Keys of the mappings are service names; "backend" means every replica.

    - `settings`: settings by service, such as `{"backend": {"rate_per_s": 5}}`.
    - `defects`: defects with their probability by service, such as `{"backend-2": ["Z1:0.01"]}`.
    - `ports`: fixed port by service; other services get free ports.
    - `port_words`: by service, text that states how a user chooses another port; shown if the port is in use. Default:
      `--port`.
    - `databases`: database names by the role that owns them ("auth", "main").
    - `redis`: address (redis://…) of a server to use. For any other text a server is started, on which auth and
      backends use this text as their client name (CLIENT LIST).
    - `api_url`: address of the backend that the frontend uses; None: the address of the edge.
    - `links`: links that pass through the proxy, so that faults can disturb them (see `harness.platform.links`); "all"
      means every link.
    - `postgres_user`: way to run Postgres as another system user than root.
    - `valkey_program`: path of the Valkey program, None: see `stores.find_valkey`.
    """

    replicas: int = REPLICAS
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    defects: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    port_words: Mapping[str, str] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=lambda: dict(stores.DATABASES))
    redis: str = "test_redis"
    api_url: str | None = None
    links: tuple[str, ...] = ()
    postgres_user: UserMode = UserMode.AUTO
    valkey_program: str | None = None


class Stack:
    """The reference platform as specifications of services and endpoints.

    A stack starts nothing, but reserves the ports of the services.
    """

    def __init__(self, options: StackOptions, scratch: Path) -> None:
        """Check the options and reserve the ports. `scratch`: the platform's directory.

        Raises SettingsError with all mistakes in the options, PlatformError for ports in use or a missing program.
        """
        self.options = options
        self.replicas = [f"{BACKEND}-{n + 1}" for n in range(options.replicas)]
        self.foreign_redis = "://" in options.redis
        stores = ["postgres"] if self.foreign_redis else ["postgres", "valkey"]
        self._stores = tuple(stores)
        self.names = [*stores, "provider", "auth", *self.replicas, "frontend", "edge"]
        self._possible = possible_links(self.replicas, () if self.foreign_redis else stores)
        self._check()
        self._ports: dict[str, ReservedPort] = {}
        self.links = Links([link for link in self._possible if any(matching(w, [link]) for w in options.links)])
        try:
            self._reserve()
            self._postgres = Postgres(
                self._ports["postgres"], user_mode=options.postgres_user, scratch=scratch, databases=options.databases
            )
            self._valkey = None if self.foreign_redis else Valkey(self._ports["valkey"], program=options.valkey_program)
            self._edge = Edge(self._ports["edge"], [self._port(name, "edge") for name in self.replicas])
        except BaseException:
            self.close()
            raise
        self._client_secret = secrets.token_urlsafe(24)

    def _reserve(self) -> None:
        faults = []
        for name in self.names:
            words = self.options.port_words.get(name, "")
            try:
                self._ports[name] = ReservedPort(name, self.options.ports.get(name, 0), words)
            except PlatformError as error:
                faults.append(str(error))
        if faults:
            raise PlatformError(" ".join(faults))

    async def check_outside(self) -> None:
        """Raise PlatformError if the Redis server that the options name does not answer.

        No-op if the platform starts its own Valkey server.
        """
        if not self.foreign_redis:
            return
        where = self.options.redis.rpartition("@")[2].removeprefix("redis://")
        try:
            async with asyncio.timeout(_OUTSIDE_TIMEOUT_S):
                missing = await RedisAnswers(self.options.redis).missing()
        except (OSError, EOFError, TimeoutError) as error:
            missing = str(error) or type(error).__name__
        if missing is not None:
            raise PlatformError(
                f"The Redis that the setting backend.redis names ({where}) is not there: {missing}. "
                "Start it, or leave the setting out to get one."
            )

    def close(self) -> None:
        """Release the reserved ports."""
        for port in self._ports.values():
            port.close()
        self.links.close()

    @property
    def endpoints(self) -> dict[str, Any]:
        """Return the endpoints as `earwitness up --json` prints them, except `control`."""
        return {
            **{name: self._url(name, USERS) for name in ("edge", "auth", "frontend", "provider")},
            "backends": {name: self._url(name) for name in self.replicas},
            "auth_dsn": self._postgres.dsn("auth"),
            "main_dsn": self._postgres.dsn("main"),
            "redis": self._redis_url,
            "settings": {
                kind: {name: value for name, value in self._changed(kind, kind).items() if "secret" not in name}
                for kind in ("auth", BACKEND)
            },
            "links": list(self.links.names),
        }

    def specs(self) -> list[ServiceSpec]:
        """Return the specifications of all services; each comes after the services that it needs."""
        replicas = tuple(self.replicas)
        return [
            self._postgres.spec(),
            *([] if self._valkey is None else [self._valkey.spec()]),
            *([self.links.spec(self._ports)] if self.links.names else []),
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
            "client_id": _CLIENT_ID,
            "client_secret": self._client_secret,
            "redirect_uris": [f"{self._url('auth', USERS)}/auth/google/callback"],
        }
        return self._service("provider", settings, probes=(HttpAnswers(f"{url}/.well-known/openid-configuration"),))

    def _auth(self) -> ServiceSpec:
        settings = {
            "public_url": self._url("auth", USERS),
            "dsn": self._dsn("auth", "auth"),
            "redis_url": self._redis_of("auth"),
            "provider_issuer": self._url("provider"),
            "client_id": _CLIENT_ID,
            "client_secret": self._client_secret,
            "frontend_url": self._url("frontend", USERS),
            "audience": _AUDIENCE,
        }
        return self._service(
            "auth",
            settings,
            probes=(HttpAnswers(f"{self._url('auth')}/auth/google", 302),),
            after=(*self._stores, *self._proxied, "provider"),
        )

    def _backend(self, name: str) -> ServiceSpec:
        settings = {
            "dsn": self._dsn("main", name),
            "redis_url": self._redis_of(name),
            "auth_url": self._url("auth", name),
            "issuer": self._url("auth", USERS),
            "audience": _AUDIENCE,
        }
        return self._service(name, settings, after=(*self._stores, *self._proxied))

    def _frontend(self) -> ServiceSpec:
        settings = {
            "public_url": self._url("frontend", USERS),
            "auth_url": self._url("auth", "frontend"),
            "backend_url": self.options.api_url or self._url("edge", "frontend"),
        }
        # Most of its start is importing, which runs in parallel with the start of the others.
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
        """Return the specification of a Python service of `harness.reference`.

        The service is ready when `/ready` and then the `probes` succeed.
        """
        kind = _kind(name)
        orders = list(self.options.defects.get(kind, ()))
        if name != kind:
            orders += self.options.defects.get(name, ())
        return ServiceSpec(
            name=name,
            argv=(
                sys.executable,
                "-m",
                f"earwitness.harness.reference.{kind}",
                *(part for order in orders for part in ("--defect", order)),
            ),
            env=module_environment(),
            settings={"name": name, **settings, **self._changed(kind, name)},
            port=self._ports[name].number,
            inherits=True,
            takes_over=True,
            preloaded=True,
            ready=(HttpAnswers(f"{self._url(name)}/ready"), *probes),
            after=after,
            beside=beside,
        )

    def _changed(self, kind: str, name: str) -> dict[str, object]:
        """Return the settings of a service other than addresses and keys: the defaults, as changed by the options.

        `kind`: the program, e.g. "backend"; `name`: the service, e.g. "backend-1".
        """
        options = self.options.settings
        return {**_DEFAULTS.get(kind, {}), **options.get(kind, {}), **options.get(name, {})}

    @property
    def _redis_url(self) -> str:
        return self.options.redis if self._valkey is None else self._valkey.url

    def _redis_of(self, caller: str) -> str:
        """Return the address of Redis or Valkey for the service `caller`.

        The address of a Valkey server that the platform starts contains the options' client name, for CLIENT LIST.
        """
        if self._valkey is None:
            return self.options.redis
        return f"{self._valkey.url_at(self._port('valkey', caller))}?client_name={quote(self.options.redis)}"

    def _dsn(self, role: str, caller: str) -> str:
        return self._postgres.dsn(role, self._port("postgres", caller))

    @property
    def _proxied(self) -> tuple[str, ...]:
        """Return the names of the services that must be ready before services that use links are started."""
        return (links.NAME,) if self.links.names else ()

    def _port(self, name: str, caller: str = "") -> ReservedPort:
        """Return the port at which the service `caller` reaches the service `name`: the link's, else its own."""
        return self.links.port(f"{caller}/{name}") or self._ports[name]

    def _url(self, name: str, caller: str = "") -> str:
        return self._port(name, caller).url

    def _check(self) -> None:
        options = self.options
        faults = []
        if not 1 <= options.replicas <= _MAX_REPLICAS:
            faults.append(f"replicas must be from 1 to {_MAX_REPLICAS}, not {options.replicas}")
        services = self.names[len(self._stores) : -1]
        python = {_kind(name) for name in services} | set(services)
        for what, names, known in (
            ("settings", options.settings, python),
            ("defects", options.defects, python),
            ("ports", options.ports, set(self.names)),
        ):
            faults += [
                f"{what} are for {name!r}, which is none of {', '.join(sorted(known))}"
                for name in sorted(set(names) - known)
            ]
        faults += [
            f"there is no link {wanted!r}; there are {', '.join(self._possible)}"
            for wanted in options.links
            if not matching(wanted, self._possible)
        ]
        shared = Counter(options.ports.values())
        faults += [
            f"port {number} is named for {' and '.join(n for n in sorted(options.ports) if options.ports[n] == number)}"
            for number in sorted(shared)
            if shared[number] > 1
        ]
        if faults:
            raise SettingsError("the platform's options", faults)


def _kind(name: str) -> str:
    """Return the name of the program that a service runs; all replicas run "backend"."""
    return BACKEND if name.startswith(f"{BACKEND}-") else name


def with_settings(options: StackOptions, settings: Settings) -> StackOptions:
    """Return `options` completed by the user's `settings`.

    Ports and settings of services that `options` already has take precedence. `databases`, `redis` and `api_url` always
    come from `settings`.
    """
    ports = {name: port for name, port in _ports(settings).items() if port is not None and name not in options.ports}
    modes = {
        "auth": settings.auth_service.test_mode,
        BACKEND: settings.backend.test_mode,
        "frontend": settings.frontend.test_mode,
    }
    of_services: dict[str, Mapping[str, object]] = dict(options.settings)
    for name, mode in modes.items():
        of_services[name] = {"test_mode": mode, **of_services.get(name, {})}
    return dataclasses.replace(
        options,
        settings=of_services,
        ports={**options.ports, **ports},
        port_words={name: how_to_set(_SECTION_OF[name], "port", "NUMBER") for name in ports},
        databases={"auth": settings.auth_service.database, "main": settings.backend.database},
        redis=settings.backend.redis,
        api_url=settings.frontend.api_url,
    )


def check_fits(endpoints: Mapping[str, Any], settings: Settings) -> None:
    """Raise SettingsError if a running platform differs from settings that a user has set explicitly."""
    usual = Settings()
    faults = []
    for name, port in _ports(settings).items():
        if port not in (None, urlsplit(endpoints[name]).port):
            faults.append(f"{_SECTION_OF[name]}.port is {port}, but it answers at {endpoints[name]}")
    for service, wanted, default, dsn in (
        ("auth_service", settings.auth_service.database, usual.auth_service.database, endpoints["auth_dsn"]),
        ("backend", settings.backend.database, usual.backend.database, endpoints["main_dsn"]),
    ):
        has = urlsplit(dsn).path.lstrip("/")
        if wanted not in (default, has):
            faults.append(f"{service}.database is {wanted}, but its database is {has}")
    if "://" in settings.backend.redis and settings.backend.redis != endpoints["redis"]:
        faults.append("backend.redis names a server, but it has another one")
    if faults:
        faults[-1] += "; stop it, or take the setting back"
        raise SettingsError("The platform that is up already does not fit the settings", faults)


def settings_missing(endpoints: Mapping[str, Any], wanted: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the `wanted` settings that a running platform was not started with, as texts for `--set`.

    For example `backend.rate_per_s=5`.
    """
    has = endpoints.get("settings", {})
    return [
        f"{service}.{name}={json.dumps(value)}"
        for service, values in wanted.items()
        for name, value in values.items()
        if has.get(service, {}).get(name) != value
    ]


def _ports(settings: Settings) -> dict[str, int | None]:
    return {"auth": settings.auth_service.port, "edge": settings.backend.port, "frontend": settings.frontend.port}


def require_platform() -> None:
    """Raise PlatformError with the command that installs the reference platform, if it is not installed."""
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise PlatformError(
            f"The reference platform is not installed ({', '.join(missing)} missing). Install it with: {_HOW}. "
            "To test your own platform, name it: --target FILE."
        )
