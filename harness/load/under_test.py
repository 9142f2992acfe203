"""What is under test: somebody's platform named by --target, one that is already up, or one that we start."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import httpx

from harness.client.flow import FlowError, run_flow
from harness.errors import TargetError
from harness.platform.launch import Platform, attach_running, launch
from harness.target.load import open_target
from harness.target.plan import Plan
from harness.target.protocol import Target

REACH_S = 10.0


class UnderTest:
    """`description` is what run.json and the load processes need to speak to the same platform."""

    def __init__(self, description: dict[str, Any], platform: Platform | None, *, owned: bool) -> None:
        self.description = description
        self.target: Target = open_target(description)
        self._platform = platform
        self._owned = owned

    @classmethod
    def from_options(cls, options: Any) -> UnderTest:
        """Raises EarwitnessError: a file with faults, an address nobody answers, a platform that does not start."""
        if options.target:
            under_test = cls({"kind": "file", "path": str(Path(options.target).resolve())}, None, owned=False)
            under_test._reach()
            return under_test
        platform = attach_running()
        owned = platform is None
        if platform is None:
            defects = [d.strip() for d in options.defect.split(",") if d.strip()]
            begin = time.monotonic()
            print("earwitness: starting the platform ...", file=sys.stderr, flush=True)
            platform = launch(defects=defects)
            print(f"earwitness: the platform is up ({time.monotonic() - begin:.1f} s)", file=sys.stderr, flush=True)
        return cls({"kind": "reference", "endpoints": dict(platform.endpoints)}, platform, owned=owned)

    def _reach(self) -> None:
        name = self.description.get("path", "the target")
        try:
            with httpx.Client(timeout=REACH_S) as client:
                run_flow(self.target.reachable(), client)
        except (FlowError, httpx.HTTPError) as error:
            raise TargetError(f"{name}: the platform does not answer as it should: {error}. Is it running?") from error

    def allow(self, users: int) -> None:
        """Raises TargetError if the target's owner has not allowed so many users."""
        most = self.target.max_users
        if not self.target.allow_load:
            raise TargetError(f"{self.target.name} does not allow load: set allow_load = true in its file.")
        if most is not None and users > most:
            raise TargetError(f"{self.target.name} allows {most} users, {users} were asked for: -u {most}.")

    def plan(self, *, seed: int, tag: str, users: int, sizes: tuple[int, ...]) -> Plan:
        return Plan(seed=seed, tag=tag, users=users, sizes=sizes)

    def stats(self) -> list[dict[str, Any]]:
        """One row a service: service, pid, rss_mb, cpu_s; none for a platform whose processes we do not see."""
        return [] if self._platform is None else self._platform.control.stats()

    def close(self) -> None:
        """Stop the platform if we started it."""
        if self._platform is not None and self._owned:
            self._platform.stop()
