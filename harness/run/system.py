"""Platform under test: a user's own (`--target`), or the reference platform, running already or started for the run."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from gevent import subprocess

from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.http_gevent import Pool, run_flow_gevent
from earwitness.harness.dialects.protocol import Target
from earwitness.harness.dialects.registry import check_users, open_target, secrets_environment, without_secrets
from earwitness.harness.dialects.toml.addresses import check_here
from earwitness.harness.dialects.toml.fault_commands import command_faults
from earwitness.harness.errors import PlatformError, SettingsError, TargetError
from earwitness.harness.planning.plan import Plan, existing
from earwitness.harness.platform.children import dies_with_parent
from earwitness.harness.platform.control import ControlClient
from earwitness.harness.platform.faults import Planned, faults_of
from earwitness.harness.platform.launch import Platform, launch, offered
from earwitness.harness.platform.links import matching
from earwitness.harness.platform.stack import settings_missing
from earwitness.harness.progress import say
from earwitness.harness.run.faults import PlatformFault, Switch
from earwitness.harness.settings import load_settings

REACH_S = 10.0
LOG_LINES = 10_000
SIGNING_S = 30.0
REHEARSAL_S = 60.0
PROMISED_BY = {"rate_per_s": "rate_per_s", "rate_burst": "rate_burst"}
"""Promises of the contract → the backend's settings that state their values."""
Wanted: TypeAlias = Mapping[str, Mapping[str, object]]
"""Settings that a story needs of the reference platform, by service, like `{"backend": {"rate_per_s": 5}}`."""


class Options(Protocol):
    """Protocol of the options that choose the platform under test: `--target`, `--defect`."""

    target: str | None
    defect: str


class UnderTest:
    """Platform under test.

    `description`: how run.json and the load processes name the platform, for `open_target`; `target`: the result of
    `open_target` for it; `warnings`: sentences about the platform that the verdict repeats.
    """

    def __init__(self, description: dict[str, Any], platform: Platform | None = None) -> None:
        """Open the target of `description`.

        `platform`: the reference platform, which `close` stops if this process started it; None for another platform.
        """
        self.description = description
        self.target: Target = open_target(description)
        self.warnings: list[str] = []
        self._platform = platform

    @classmethod
    def from_options(cls, options: Options, wanted: Wanted | None = None, links: Sequence[str] = ()) -> UnderTest:
        """Return the platform that the options name; start the reference platform if necessary.

        `wanted`: settings that the story needs, by service; `links`: links in which faults are injected. A platform
        that runs already is used if it has these settings and links. Raises EarwitnessError for a file with mistakes,
        an address that does not answer, or a platform that does not start.
        """
        if options.target:
            under_test = cls({"kind": "file", "path": str(Path(options.target).resolve())})
            under_test._reach()
            under_test._rehearse()
            return under_test
        settings = load_settings()  # its faults are reported before anything is started
        check_here({"frontend.api_url": settings.frontend.api_url or "", "backend.redis": settings.backend.redis})
        defects = _defects(options.defect)
        platform = None if defects else _fitting(offered(), wanted or {}, links)
        if platform is None:
            begin = time.monotonic()
            say("starting the platform ...")
            platform = launch(defects=defects, settings=wanted, links=links)
            say(f"the platform is up ({time.monotonic() - begin:.1f} s)")
        check_here({key: value for key, value in platform.endpoints.items() if isinstance(value, str)})
        has = platform.endpoints.get("settings", {}).get("backend", {})
        promises = {promise: has[name] for name, promise in PROMISED_BY.items() if name in has}
        description = {"kind": "reference", "endpoints": without_secrets(platform.endpoints)}
        return cls({**description, "options": {"promises": promises}}, platform)

    def _reach(self) -> None:
        name = self.description.get("path", "the target")
        pool = Pool(self.target.network, timeout_s=REACH_S)
        try:
            run_flow_gevent(self.target.reachable(), pool=pool)
        except FlowError as error:
            raise TargetError(f"{name}: {error}. Is the platform running?") from error
        finally:
            pool.close()

    def _rehearse(self) -> None:
        """Let two users exchange messages before the load, and add notes to `warnings`.

        Raises TargetError if the rules of the target file do not fit the answers, because messages that cannot be
        decoded would count as lost.
        """
        path = self.description["path"]
        command = [sys.executable, "-m", "earwitness.harness.probe.fit", path]
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, timeout=REHEARSAL_S, check=False, preexec_fn=dies_with_parent()
            )
            found = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            found = {"fault": "", "notes": ["The target file could not be tried before the load."]}
        if found["fault"]:
            raise TargetError(f"{path} does not fit the platform: {found['fault']} Try: earwitness probe {path}")
        self.warnings += [*self.target.parts.unjudged.values(), *found["notes"]]
        for warning in self.warnings:
            say(f"{Path(path).name}: {warning}")

    def allow(self, users: int) -> None:
        """Raise TargetError if the target file does not allow a run with `users` users (`max_users`)."""
        check_users(self.target, users)

    def plan(
        self,
        *,
        seed: int,
        tag: str,
        clients: int,
        sizes: tuple[int, ...],
        devices: int = 1,
        reserve: int = 0,
        hosts: tuple[int, ...] = (),
    ) -> Plan:
        """Return the plan of a run with `clients` devices.

        The plan has a few more devices if `devices`, the number of devices of each person, does not divide `clients`.

        seed, tag   seed of all random choices; text at the beginning of the names of users and rooms
        sizes       each user is a member of one room of each size
        reserve     number of further persons who may be started later
        hosts       number of the host of each load process

        Raises TargetError if the target's own accounts or rooms are too few.
        """
        people = -(-clients // devices)
        plan = Plan(seed=seed, tag=tag, users=people, sizes=sizes, devices=devices, reserve=reserve, hosts=hosts)
        return existing(plan, self.target)

    def faults(self, plan: Sequence[Planned]) -> Sequence[Switch]:
        """Return the switch of each fault of `plan`.

        Raises SettingsError for faults that this platform does not offer.
        """
        if self._platform is not None:
            control = self._platform.control
            made = faults_of(plan, control.status(), self._platform.endpoints)
            return [PlatformFault(fault, control) for fault in made]
        names = [planned.where for planned in plan]
        return command_faults(names, self.target.parts.faults, self.target.name)

    @property
    def control(self) -> ControlClient | None:
        """Return the client of the reference platform's control socket; None for another platform."""
        return None if self._platform is None else self._platform.control

    def stats(self) -> list[dict[str, object]]:
        """Return one row for each service: service, pid, rss_mb, cpu_s, fds.

        rss_mb is resident memory in MB, cpu_s CPU time in seconds, fds the number of open files. [] for a platform
        other than the reference platform.
        """
        if self._platform is None:
            return []
        return [
            {
                "service": name,
                "pid": row["pid"],
                "rss_mb": round(row["rss_bytes"] / 1e6, 2),
                "cpu_s": row["cpu_s"],
                "fds": row["fds"],
            }
            for name, row in self._platform.control.stats().items()
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment variables with secret addresses that the collector needs beside `description`."""
        return {} if self._platform is None else secrets_environment(self._platform.endpoints)

    def secrets(self, judged_by: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return secrets that load processes need and run.json must not contain.

        The result is {"signing_key": …} if forgeries are judged (I31) on the reference platform, else {}. Raises
        PlatformError.
        """
        if "I31" not in judged_by or self._platform is None:
            return {}
        command = [sys.executable, "-m", "earwitness.harness.dialects.reference.signing"]
        done = subprocess.run(
            command, env={**os.environ, **self.environment()}, stdout=subprocess.PIPE, timeout=SIGNING_S, check=False
        )
        if done.returncode:
            raise PlatformError("The platform's signing key could not be read, so no token can be forged.")
        return {"signing_key": json.loads(done.stdout)}

    def save_logs(self, folder: Path) -> None:
        """Write the last lines of each service's log to `folder`. A failure is printed and ignored."""
        if self._platform is None:
            return
        try:
            folder.mkdir(exist_ok=True)
            for name in self._platform.control.stats():
                (folder / f"{name}.log").write_text(self._platform.control.logs(name, LOG_LINES))
        except (PlatformError, OSError) as error:  # the run is judged without them
            say(f"the services' logs could not be kept: {error}")

    def close(self) -> None:
        """Stop the reference platform if this process started it."""
        if self._platform is not None:
            self._platform.stop()


def _fitting(platform: Platform | None, wanted: Wanted, links: Sequence[str]) -> Platform | None:
    """Return the running platform, or None if there is none or it lacks settings or links that the story needs."""
    if platform is None:
        return None
    missing = [f"--set {one}" for one in settings_missing(platform.endpoints, wanted)]
    missing += [f"--link {link}" for link in links if not matching(link, platform.endpoints.get("links", ()))]
    if missing:
        orders = " ".join(missing)
        say(
            f"the running platform lacks what this run needs, so the run starts its own; "
            f"to use a running one: earwitness up {orders}"
        )
        return None
    return platform


def _defects(text: str) -> dict[str, list[str]]:
    """Return the defects in a text like `backend=drop-push:0.001,auth=…` as service -> list of `NAME:P`.

    Raises SettingsError.
    """
    found: dict[str, list[str]] = {}
    for order in filter(None, (part.strip() for part in text.split(","))):
        service, equals, defect = order.partition("=")
        if not equals or not service or not defect or not _is_probability(defect.partition(":")[2] or "1"):
            example = "e.g. backend=drop-push:0.001"
            raise SettingsError("--defect", [f"{order!r} is not SERVICE=NAME:P with P from 0 to 1, {example}"])
        found.setdefault(service, []).append(defect)
    return found


def _is_probability(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
