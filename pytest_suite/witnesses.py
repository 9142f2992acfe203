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
import pytest

from checks.record import NOBODY, NONE, Flag, Kind, Phase
from harness.client.aio import AsyncConnection, Refused
from harness.client.flow import run_flow_async
from harness.client.link import Transport
from harness.client.session import ChatSession
from harness.client.tally import Histogram, Tally
from harness.record.journal import Journal
from harness.record.meta import process_meta
from harness.record.rundir import RunDirectory
from harness.report.judging import judge_run
from harness.target.load import secrets_environment, without_secrets
from harness.target.plan import Plan
from harness.target.protocol import Credentials, Person, Room
from harness.target.reference import ReferenceTarget
from pytest_suite.under_test import UnderTest

LOGINS_AT_ONCE = 16
ANSWER_S = 30.0
SETTLE_S = 30.0
COLLECT_S = 60.0
RECONNECT_S = 30.0
LAG_PERIOD_S = 0.02
SLICE_S = 0.01
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0


class Witness:
    """One person with one device. `cuts` are the close codes of connections that ended before they were closed."""

    def __init__(self, crowd: Witnesses, person: Person) -> None:
        self.crowd, self.person, self.number = crowd, person, person.number
        self.rooms: tuple[Room, ...] = crowd.plan.rooms_of[person.number]
        self.credentials: Credentials
        self.connection: AsyncConnection | None = None
        self.cuts: list[int] = []
        self.session = ChatSession(
            client=self.number,
            tag=crowd.plan.tag,
            journal=crowd.journal,
            hear=crowd.target.hear,
            encode=crowd.target.encode,
            rooms={room.label: room.number for room in crowd.plan.rooms},
            tally=crowd.tally,
        )
        self.session.on_closed = self._lost
        self._coming_back: asyncio.Task[None] | None = None

    @property
    def online(self) -> bool:
        return self.connection is not None and self.connection.usable

    async def enter(self) -> None:
        """Log in, open the rooms, connect."""
        crowd = self.crowd
        async with crowd.turn:
            begin = time.monotonic_ns()
            self.credentials = await run_flow_async(crowd.target.login(self.person), crowd.http)
            crowd.journal.identity(self.number, self.credentials.user_id)
            crowd.note(Kind.LOGIN, self.number, counter=200, aux=(time.monotonic_ns() - begin) // 1000)
            for statement in await run_flow_async(crowd.target.identity(self.credentials), crowd.http):
                said = NONE if statement.user_id is None else crowd.journal.intern(statement.user_id)
                crowd.note(Kind.IDENTITY, self.number, counter=int(statement.place), aux=said)
            for room in self.rooms:
                await run_flow_async(crowd.target.open_room(self.credentials, room), crowd.http)
            await self.connect()

    async def connect(self) -> None:
        """Open the socket; from the second time on resume where the last one ended."""
        resume = self.session.resume_points() if self.session.conn else None
        handshake = self.crowd.target.handshake(self.credentials, resume)
        connection = AsyncConnection(self.session, handshake, timeout_s=10, transport=self.crowd.transport)
        await connection.open()
        self.connection = connection

    def _lost(self) -> None:
        """Called by the session as soon as a connection is over."""
        connection = self.connection
        if self.crowd.leaving or connection is None:
            return
        self.cuts.append(connection.wire.close_code)
        self._coming_back = asyncio.create_task(self._come_back())

    async def _come_back(self) -> None:
        """Reconnect with growing pauses, resume, and send again what has no answer: as a client does by itself."""
        pause_s, end = FIRST_PAUSE_S, time.monotonic() + RECONNECT_S
        while not self.online and not self.crowd.leaving and time.monotonic() < end:
            try:
                await self.connect()
            except (Refused, OSError, TimeoutError):
                await asyncio.sleep(pause_s)
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
        if self.online:
            for message_id in self.session.unanswered():
                self._write(self.session.retry(time.monotonic_ns(), message_id))

    async def back_online(self) -> None:
        """Until the connection is there; the test fails if it does not come back."""
        if self._coming_back is not None:
            await asyncio.shield(self._coming_back)
        if not self.online:
            pytest.fail(f"{self.person.name} could not come back within {RECONNECT_S:g} s")

    def say(self, room: Room) -> None:
        """Send the next message, without waiting for its answer."""
        session = self.session
        payload = self.crowd.plan.payload(self.number, session.counter + 1)
        self._write(session.send(time.monotonic_ns(), room.label, payload))

    def _write(self, frame: str | bytes) -> None:
        assert self.connection is not None
        self.connection.send_soon(frame)

    async def say_many(self, room: Room, count: int) -> None:
        """Messages as fast as they can be written, then all their answers."""
        for _ in range(count):
            self.say(room)
        await self.answered()

    async def say_for(self, seconds: float, pause_s: float) -> None:
        """Chat at a steady pace over all rooms, through any interruption."""
        end = time.monotonic() + seconds
        await self.say_while(lambda: time.monotonic() < end, pause_s)

    async def say_while(self, wanted: Callable[[], bool], pause_s: float) -> None:
        """The same as long as it is wanted."""
        while wanted():
            if not self.online:
                await self.back_online()
            self.say(self.rooms[self.session.counter % len(self.rooms)])
            await asyncio.sleep(pause_s)

    async def burst(self, room: Room, count: int, within_s: float) -> float:
        """`count` messages evenly within `within_s`; returns how long it took to send them."""
        begin, sent = time.monotonic(), 0
        while sent < count:
            due = min(count, int((time.monotonic() - begin) / within_s * count) + 1)
            while sent < due:
                self.say(room)
                sent += 1
            await asyncio.sleep(SLICE_S)
        took = time.monotonic() - begin
        await self.answered()
        return took

    async def answered(self, timeout_s: float = ANSWER_S) -> None:
        """Until nothing is pending any more; the test fails if that does not come."""
        connection = self.connection
        assert connection is not None
        await connection.wait(lambda: not self.session.pending or connection.over, timeout_s)
        if self.session.pending:
            pytest.fail(f"{self.person.name} has {self.session.pending} messages without answer after {timeout_s:g} s")

    def behind(self, heads: Mapping[str, int]) -> bool:
        seen = self.session.resume_points()
        return any(seen.get(room.label, NONE) < heads.get(room.label, NONE) for room in self.rooms)

    async def leave(self) -> None:
        if self._coming_back is not None:
            await asyncio.gather(self._coming_back, return_exceptions=True)
        if self.connection is not None:
            await self.connection.close()


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
            contract=self.target.contract.to_dict(),
            journals=["load-0", "collector"],
            state="running",
        )
        self.directory.write_roster(self.plan.roster())
        self.transport, self.tally = Transport(), Tally()
        self.turn = asyncio.Semaphore(LOGINS_AT_ONCE)
        self.leaving = False
        self.witnesses: list[Witness] = []
        self.verdict: dict[str, Any] = {}
        self._lag = Histogram()

    async def __aenter__(self) -> Witnesses:
        self.journal = Journal.create(self.directory.journals, "load-0", meta=process_meta(index=0))
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

    async def everybody(self, act: Callable[[Witness], Awaitable[Any]]) -> list[Any]:
        """All at once."""
        return list(await asyncio.gather(*(act(witness) for witness in self.witnesses)))

    def note(self, kind: Kind, client: int = NOBODY, *, flags: int = 0, counter: int = 0, aux: int = NONE,
             author: int = NOBODY) -> None:  # fmt: skip
        """A record outside any connection."""
        now = time.monotonic_ns()
        self.journal.write(now, int(kind), flags, 0, 0, client, 0, NOBODY, author, counter, NONE, aux, 0, 0)

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
            sys.executable, "-m", "harness.target.collect", str(self.directory.path), "--deadline", str(COLLECT_S),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode == 0, f"the final state could not be read: {out.decode()}"
        self.directory.update(state="collected")
        self.verdict = await asyncio.to_thread(judge_run, self.directory.path)

    def _phase(self, phase: Phase) -> None:
        self.note(Kind.PHASE, counter=int(phase))

    async def _watch_lag(self) -> None:
        while True:
            due = time.monotonic_ns() + int(LAG_PERIOD_S * 1e9)
            await asyncio.sleep(LAG_PERIOD_S)
            self._lag.add(time.monotonic_ns() - due)
