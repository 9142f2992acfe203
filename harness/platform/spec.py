"""Description of a service as data: how it is started, when it is ready, how it is ended."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from earwitness.harness.platform.readiness import Probe

FD_VARIABLE = "EARWITNESS_FD"
"""Variable with the number of the inherited listening socket, for services that take no JSON settings."""
SETTINGS_VARIABLE = "EARWITNESS_SERVICE"
"""Variable with a reference service's settings: one JSON object, to which `fd` is added at each start."""
TAKEOVER_VARIABLE = "EARWITNESS_TAKEOVER"
"""Variable with the number of a pipe, set for a process that replaces another one.

The process writes to it when it is ready, before it accepts connections.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """Specification of one service.

    Its working directory is its own folder of the platform's directory; times are in seconds.

    - `port`: a reserved port (`harness.platform.ports`); with `inherits` the process gets a socket bound to it, already
      listening if `listening`.
    - `settings`: sent as JSON in `EARWITNESS_SERVICE`.
    - `prepare` runs once, before the first start.
    - `after`: services that must be ready before it is started.
    - `beside`: services that must be ready before this one can be ready; its time limit starts then.
    - `discard_signal`: sent instead of `stop_signal` when its data is no longer needed.
    - `takes_over`: it can be replaced while it runs (see `TAKEOVER_VARIABLE`).
    - `preloaded`: `argv` is `python -m MODULE …`, forked from a process that has already imported what MODULE needs.
    - `user`: the account that runs it, None for ours.
    - `data`: the folder in its working directory that it can lose (`ServiceProcess.wipe`).
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, object] | None = field(default=None, repr=False)
    port: int | None = None
    inherits: bool = False
    listening: bool = False
    ready: tuple[Probe, ...] = ()
    ready_timeout_s: float = 60.0
    after: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    discard_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0
    takes_over: bool = False
    preloaded: bool = False
    prepare: Callable[[Path], Awaitable[None]] | None = None
    user: str | None = None
    data: str | None = None
