"""Run without Locust: users under asyncio, recorded and judged with the same client, journal and checks as a load.

async with Crowd(target, http, directory, description=…, environment={}, tag="t1", users=100, sizes=(5, 100),
                 judged_by=("I1",)) as crowd:
    await crowd.everybody(lambda user: user.say_many(user.rooms[0], 10))
verdict = crowd.verdict
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from earwitness.checks.history.record import NOBODY, NONE, Flag, Kind, Phase
from earwitness.harness.client.link import Transport
from earwitness.harness.client.tally import Histogram, Tally
from earwitness.harness.dialects.protocol import Target
from earwitness.harness.planning.plan import Plan
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.machine import machine, versions
from earwitness.harness.record.meta import process_meta
from earwitness.harness.record.named import write_record
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.report.judging import judge_run
from earwitness.harness.run.async_user import AsyncUser, CrowdError

T = TypeVar("T")

LOGINS_AT_ONCE = 16
SETTLE_S = 30.0
COLLECT_S = 60.0
LAG_PERIOD_S = 0.02
GO_ON_S = 30.0
POLL_S = 0.05


class Crowd:
    """Users on one platform, recorded into one run directory.

    `verdict` has the content of `verdict.json` after the `async with` block, and is empty before. `description`: the
    target as `run.json` names it; `environment`: environment variables for the collector, such as addresses with
    passwords in them. `tag`: beginning of the run's tag, to which a random part is added. `sizes`: every user is a
    member of one room of each size. `judged_by`: ids of the checks that decide the verdict.
    """

    def __init__(
        self,
        target: Target,
        http: httpx.AsyncClient,
        directory: Path,
        *,
        description: Mapping[str, object],
        environment: Mapping[str, str],
        tag: str,
        users: int,
        sizes: tuple[int, ...],
        judged_by: tuple[str, ...],
        seed: int = 1,
    ) -> None:
        """Plan users and rooms, and write `run.json` and the roster; no user connects before the `async with` block."""
        self.target, self.http, self._environment = target, http, dict(environment)
        self.plan = Plan(seed=seed, tag=f"{tag}{os.urandom(3).hex()}", users=users, sizes=sizes)
        self.directory = RunDirectory.at(directory / "run")
        self.directory.update(
            seed=seed,
            tag=self.plan.tag,
            story="pytest",
            machine=machine(),
            versions=versions(),
            judged_by=list(judged_by),
            planned={"users": users},
            target=dict(description),
            plan=self.plan.to_dict(),
            contract=self.target.contract.to_dict(),
            journals=["load-0", "collector"],
            state="running",
        )
        self.directory.write_roster(self.plan.roster(), self.plan.origin)
        self.transport, self.tally = Transport(), Tally()
        self.turn = asyncio.Semaphore(LOGINS_AT_ONCE)
        self.leaving = False
        self.users: list[AsyncUser] = []
        self.verdict: dict[str, Any] = {}
        self._lag = Histogram()

    async def __aenter__(self) -> Crowd:
        """Open the journal, then log in and connect all users, LOGINS_AT_ONCE at a time.

        Raises what `AsyncUser.enter` raises.
        """
        meta = process_meta(index=0, roster=self.plan.roster().digest())
        self.journal = Journal.create(self.directory.journals, "load-0", meta=meta)
        self._watch = asyncio.create_task(self._watch_lag())
        self._phase(Phase.LOAD)
        self.users = [AsyncUser(self, person) for person in self.plan.people]
        await asyncio.gather(*(user.enter() for user in self.users))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain, close, collect the final state and judge the run; after an exception in the block, only close."""
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
        """Let all users chat while the block runs, with a pause of `pause_s` seconds after each message.

        Each user has sent a message before the block begins, and sends one after it.
        """
        over = False
        await self.everybody(lambda w: w.say_many(w.rooms[0], 1))
        talk = asyncio.create_task(self.everybody(lambda w: w.say_while(lambda: not over, pause_s)))
        try:
            yield
        finally:
            over = True
            await talk
        for user in self.users:
            await user.back_online()
        await self.everybody(lambda w: w.say_many(w.rooms[0], 1))

    async def go_on(self, messages: int) -> None:
        """Wait inside `talking` until each user has sent `messages` more messages.

        So even a short fault affects every user. Raises CrowdError after `GO_ON_S` seconds.
        """
        goals = {user: user.session.counter + messages for user in self.users}

        end = time.monotonic() + GO_ON_S
        while any(user.session.counter < goal for user, goal in goals.items()):
            if time.monotonic() > end:
                raise CrowdError(f"not everybody sent {messages} messages more within {GO_ON_S:g} s")
            await asyncio.sleep(POLL_S)

    async def everybody(self, act: Callable[[AsyncUser], Awaitable[T]]) -> list[T]:
        """Call `act` with every user at the same time; return the results in the order of the users."""
        return list(await asyncio.gather(*(act(user) for user in self.users)))

    def note(self, kind: Kind, client: int = NOBODY, *, flags: int = 0, counter: int = 0, aux: int = NONE,
             author: int = NOBODY) -> None:  # fmt: skip
        """Record an event of `client` that belongs to no connection; the other parameters are slots of the record."""
        now = time.monotonic_ns()
        write_record(self.journal, now, kind, flags=flags, client=client, author=author, counter=counter, aux=aux)

    @contextlib.contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """Record the begin and the end of a fault `name` around the block. It does not inject the fault.

        Without traffic during the fault the judge gives no verdict about the fault.
        """
        author = self.journal.intern(name)
        self.note(Kind.FAULT, flags=int(Flag.OWN), author=author)
        try:
            yield
        finally:
            self.note(Kind.FAULT, author=author)

    def check(self, id: str) -> dict[str, Any]:
        """Return the row of the check with this id in the verdict. Call it after the `async with` block."""
        return next(c for c in self.verdict["checks"] + self.verdict["harness"] if c["id"] == id)

    def assert_passed(self, **examined: int) -> None:
        """Assert that the verdict is PASS, and that each named check passed.

        `examined`: id of a check = least number of opportunities that the check must have examined.
        """
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
        """Wait until all messages are answered and all users have received the acknowledged messages.

        Raises CrowdError if answers are missing. After SETTLE_S seconds the wait for deliveries ends without an error,
        and the judge reports what is missing.
        """
        self._phase(Phase.DRAIN)
        for user in self.users:
            if not user.online:
                await user.back_online()
            await user.answered()
        heads: dict[str, int] = {}
        for user in self.users:
            for label, seq in user.session.acked_points().items():
                heads[label] = max(heads.get(label, NONE), seq)
        end = time.monotonic() + SETTLE_S
        for user in self.users:
            connection = user.connection
            assert connection is not None
            await connection.wait(lambda w=user: not w.behind(heads), end - time.monotonic())  # type: ignore[misc]

    async def _close(self) -> None:
        self._phase(Phase.DRAINED)
        await asyncio.gather(*(user.leave() for user in self.users), return_exceptions=True)
        self._watch.cancel()
        lag = self._lag.drain()
        spent = {"p50": lag.percentile_ns(0.5), "p99": lag.percentile_ns(0.99), "max": lag.max_ns}
        self.journal.close(
            {
                **self.transport.snapshot(),
                "lag_ms": {name: round(ns / 1e6, 2) for name, ns in spent.items()},
                "recorded_frames_in": sum(user.session.frames_recorded for user in self.users),
                "messages_sent": sum(user.session.counter for user in self.users),
                "users": len(self.users),
            }
        )
        self.directory.update(state="drained")

    async def _judge(self) -> None:
        """Collect the final state in a separate process, as a load run does, then judge the run and store `verdict`."""
        environment = {**os.environ, **self._environment}
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
