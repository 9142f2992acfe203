"""People whose every frame is recorded and judged: the load side's own client, journal and checks, under asyncio.

async with Witnesses(platform, http, directory, users=100, sizes=(5, 100)) as crowd:
    await crowd.everybody(lambda w: w.say_many(w.rooms[0], 10))
verdict = crowd.verdict
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from earwitness.checks.history.record import NOBODY, NONE, Flag, Kind, Phase
from earwitness.harness.client.link import Transport
from earwitness.harness.client.tally import Histogram, Tally
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.registry import secrets_environment, without_secrets
from earwitness.harness.planning.plan import Plan
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.meta import process_meta
from earwitness.harness.record.named import write_record
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.report.judging import judge_run
from pytest_suite.factory import eventually
from pytest_suite.under_test import UnderTest
from pytest_suite.witness import Witness

LOGINS_AT_ONCE = 16
SETTLE_S = 30.0
COLLECT_S = 60.0
LAG_PERIOD_S = 0.02
GO_ON_S = 30.0


class Witnesses:
    """A crowd on one platform, recorded into one run directory. `verdict` is there after the `async with` block."""

    def __init__(
        self,
        platform: UnderTest,
        http: httpx.AsyncClient,
        directory: Path,
        *,
        users: int,
        sizes: tuple[int, ...],
        judged_by: tuple[str, ...],
        seed: int = 1,
        promises: Mapping[str, Any] | None = None,
    ) -> None:
        self.platform, self.http = platform, http
        self.target = ReferenceTarget(platform.endpoints, promises=promises)
        self.plan = Plan(seed=seed, tag=f"{platform.tag}{os.urandom(3).hex()}", users=users, sizes=sizes)
        self.directory = RunDirectory.at(directory / "run")
        self.directory.update(
            seed=seed,
            tag=self.plan.tag,
            story="pytest",
            judged_by=list(judged_by),
            planned={"users": users},
            target={"kind": "reference", "endpoints": without_secrets(platform.endpoints)},
            plan=self.plan.to_dict(),
            contract=self.target.contract.to_dict(),
            journals=["load-0", "collector"],
            state="running",
        )
        self.directory.write_roster(self.plan.roster(), self.plan.origin)
        self.transport, self.tally = Transport(), Tally()
        self.turn = asyncio.Semaphore(LOGINS_AT_ONCE)
        self.leaving = False
        self.witnesses: list[Witness] = []
        self.verdict: dict[str, Any] = {}
        self._lag = Histogram()

    async def __aenter__(self) -> Witnesses:
        meta = process_meta(index=0, roster=self.plan.roster().digest())
        self.journal = Journal.create(self.directory.journals, "load-0", meta=meta)
        self._watch = asyncio.create_task(self._watch_lag())
        self._phase(Phase.LOAD)
        self.witnesses = [Witness(self, person) for person in self.plan.people]
        await asyncio.gather(*(witness.enter() for witness in self.witnesses))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._settle()
        finally:
            self.leaving = True
            await self._close()
        if kind is None:
            await self._judge()

    @contextlib.asynccontextmanager
    async def talking(self, pause_s: float) -> AsyncIterator[None]:
        """Everybody chats while the block runs: each has said something before it begins, and something after it."""
        over = False
        await self.everybody(lambda w: w.say_many(w.rooms[0], 1))
        talk = asyncio.create_task(self.everybody(lambda w: w.say_while(lambda: not over, pause_s)))
        try:
            yield
        finally:
            over = True
            await talk
        for witness in self.witnesses:
            await witness.back_online()
        await self.everybody(lambda w: w.say_many(w.rooms[0], 1))

    async def go_on(self, messages: int) -> None:
        """Wait, while they talk, until everybody has said so many messages more. However quickly a fault is over, the
        crowd has met it."""
        goals = {witness: witness.session.counter + messages for witness in self.witnesses}

        async def reached() -> bool:
            return all(witness.session.counter >= goal for witness, goal in goals.items())

        await eventually(f"{messages} messages more of everybody", reached, GO_ON_S)

    async def everybody(self, act: Callable[[Witness], Awaitable[Any]]) -> list[Any]:
        """All at once."""
        return list(await asyncio.gather(*(act(witness) for witness in self.witnesses)))

    def note(self, kind: Kind, client: int = NOBODY, *, flags: int = 0, counter: int = 0, aux: int = NONE,
             author: int = NOBODY) -> None:  # fmt: skip
        """A record outside any connection."""
        now = time.monotonic_ns()
        write_record(self.journal, now, kind, flags=flags, client=client, author=author, counter=counter, aux=aux)

    @contextlib.contextmanager
    def fault(self, name: str) -> Any:
        """The time of a fault, on record: the judge refuses a verdict about faults that met no traffic."""
        author = self.journal.intern(name)
        self.note(Kind.FAULT, flags=int(Flag.OWN), author=author)
        try:
            yield
        finally:
            self.note(Kind.FAULT, author=author)

    def check(self, id: str) -> dict[str, Any]:
        """What one check says."""
        return next(c for c in self.verdict["checks"] + self.verdict["harness"] if c["id"] == id)

    def assert_passed(self, **examined: int) -> None:
        """The whole verdict is PASS, and each named check has looked at as many opportunities as that at least."""
        told = [(c["id"], c["outcome"], c["why"], c["witnesses"][:2]) for c in self._all() if c["outcome"] != "PASS"]
        assert self.verdict["outcome"] == "PASS", f"{self.verdict['why']}: {told}"
        for id, least in examined.items():
            check = self.check(id)
            assert (check["outcome"], check["violations"]) == ("PASS", 0), check
            assert check["examined"] >= least, f"{id} has examined {check['examined']}, expected at least {least}"

    def _all(self) -> list[dict[str, Any]]:
        return [*self.verdict["checks"], *self.verdict["harness"]]

    # -- the end ----------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Everything is answered, and everybody has heard what is acknowledged, or the judge will say who has not."""
        self._phase(Phase.DRAIN)
        for witness in self.witnesses:
            if not witness.online:
                await witness.back_online()
            await witness.answered()
        heads: dict[str, int] = {}
        for witness in self.witnesses:
            for label, seq in witness.session.acked_points().items():
                heads[label] = max(heads.get(label, NONE), seq)
        end = time.monotonic() + SETTLE_S
        for witness in self.witnesses:
            connection = witness.connection
            assert connection is not None
            await connection.wait(lambda w=witness: not w.behind(heads), end - time.monotonic())  # type: ignore[misc]

    async def _close(self) -> None:
        self._phase(Phase.DRAINED)
        await asyncio.gather(*(witness.leave() for witness in self.witnesses), return_exceptions=True)
        self._watch.cancel()
        lag = self._lag.drain()
        spent = {"p50": lag.percentile_ns(0.5), "p99": lag.percentile_ns(0.99), "max": lag.max_ns}
        self.journal.close(
            {
                **self.transport.snapshot(),
                "lag_ms": {name: round(ns / 1e6, 2) for name, ns in spent.items()},
                "recorded_frames_in": sum(witness.session.frames_recorded for witness in self.witnesses),
                "messages_sent": sum(witness.session.counter for witness in self.witnesses),
                "users": len(self.witnesses),
            }
        )
        self.directory.update(state="drained")

    async def _judge(self) -> None:
        """The final reads in a process of their own, as in a load run; then all checks."""
        environment = {**os.environ, **secrets_environment(self.platform.endpoints)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "earwitness.harness.run.collect",
            str(self.directory.path), "--deadline", str(COLLECT_S),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode == 0, f"the final state could not be read: {out.decode()}"
        conclude(self.directory, state="collected")
        self.verdict = await asyncio.to_thread(judge_run, self.directory.path)

    def _phase(self, phase: Phase) -> None:
        self.note(Kind.PHASE, counter=int(phase))

    async def _watch_lag(self) -> None:
        while True:
            due = time.monotonic_ns() + int(LAG_PERIOD_S * 1e9)
            await asyncio.sleep(LAG_PERIOD_S)
            self._lag.add(time.monotonic_ns() - due)
