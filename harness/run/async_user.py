"""Virtual user under asyncio: records every frame, and reconnects by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from earwitness.checks.history.record import NONE, Kind
from earwitness.harness.client.asyncio_shell import AsyncConnection, ManyAsyncConnections, Refused, connect
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.flow import run_flow_async
from earwitness.harness.client.session import ChatSession
from earwitness.harness.dialects.protocol import Credentials, Person, Room

if TYPE_CHECKING:
    from earwitness.harness.run.crowd import Crowd

ANSWER_S = 30.0
RECONNECT_S = 30.0
SLICE_S = 0.01
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0


class CrowdError(AssertionError):
    """Error of a test: the platform did not do within a time limit what a user waited for."""


class AsyncUser:
    """Virtual user with one device, under asyncio.

    cuts  close codes of connections that ended before the user closed them
    """

    def __init__(self, crowd: Crowd, person: Person) -> None:
        """Make the session of `person` with the rooms and the journal of `crowd`.

        The user is not connected; call `enter` to log in and connect.
        """
        self.crowd, self.person, self.number = crowd, person, person.number
        self.rooms: tuple[Room, ...] = crowd.plan.rooms_of[person.number]
        self.credentials: Credentials
        self.connection: AsyncConnection | ManyAsyncConnections | None = None
        self._dialogue: Dialogue | None = None
        self.cuts: list[int] = []
        self.session = ChatSession(
            client=self.number,
            tag=crowd.plan.tag,
            journal=crowd.journal,
            rooms={room.label: room.number for room in crowd.plan.rooms},
            tally=crowd.tally,
        )
        self.session.on_closed = self._lost
        self._coming_back: asyncio.Task[None] | None = None

    @property
    def online(self) -> bool:
        """Return whether the socket is open and usable."""
        return self.connection is not None and self.connection.usable

    async def enter(self) -> None:
        """Log in, open the rooms and connect. Raises FlowError, Refused or OSError."""
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
        """Open the socket. Later calls resume where the previous socket ended.

        Raises Refused, TargetError or OSError.
        """
        resume = self.session.resume_points() if self.session.conn else None
        dialogue = self.crowd.target.dialogue(self.credentials, self.rooms, resume, self._dialogue)
        connection = connect(self.session, dialogue, timeout_s=10, transport=self.crowd.transport)
        await connection.open()
        self.connection, self._dialogue = connection, dialogue

    def _lost(self) -> None:
        """Store the close code and start to reconnect. The session calls this method when a connection has ended."""
        connection = self.connection
        if self.crowd.leaving or connection is None:
            return
        self.cuts.append(connection.wire.close_code)
        # One that is lost while it was being opened is for the attempt that opened it.
        if self._coming_back is None or self._coming_back.done():
            self._coming_back = asyncio.create_task(self._come_back())

    async def _come_back(self) -> None:
        """Reconnect with growing pauses for at most `RECONNECT_S` seconds, then send unanswered messages again."""
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
        """Wait for the reconnection in progress. Raises CrowdError if the user is not online after it.

        A reconnection lasts at most `RECONNECT_S` seconds.
        """
        if self._coming_back is not None:
            await asyncio.shield(self._coming_back)
        if not self.online:
            raise CrowdError(f"{self.person.name} could not come back within {RECONNECT_S:g} s")

    def say(self, room: Room) -> None:
        """Send the next message to `room`, without waiting for its answer. Raises NotConnected."""
        session = self.session
        payload = self.crowd.plan.payload(self.number, session.counter + 1)
        now_ns = time.monotonic_ns()
        if self.connection is None or not self.connection.say(now_ns, room.label, payload):
            self._write(session.send(now_ns, room.label, payload))

    def _write(self, frame: str | bytes) -> None:
        assert self.connection is not None
        self.connection.send_soon(frame)

    async def say_many(self, room: Room, count: int) -> None:
        """Send `count` messages to `room` as fast as possible, then wait for all answers.

        Raises CrowdError, NotConnected.
        """
        for _ in range(count):
            self.say(room)
        await self.answered()

    async def say_for(self, seconds: float, pause_s: float) -> None:
        """Send a message every `pause_s` seconds, to each room in turn, for `seconds`; reconnect when necessary.

        Raises CrowdError if the user cannot reconnect.
        """
        end = time.monotonic() + seconds
        await self.say_while(lambda: time.monotonic() < end, pause_s)

    async def say_while(self, wanted: Callable[[], bool], pause_s: float) -> None:
        """Send a message every `pause_s` seconds, to each room in turn, while `wanted()` is true.

        Reconnects when necessary; raises CrowdError if that fails.
        """
        while wanted():
            if not self.online:
                await self.back_online()
            self.say(self.rooms[self.session.counter % len(self.rooms)])
            await asyncio.sleep(pause_s)

    async def burst(self, room: Room, count: int, within_s: float) -> float:
        """Send `count` messages evenly within `within_s` seconds, and wait for all answers.

        Returns the seconds that sending took, without the wait for answers. Raises CrowdError or NotConnected.
        """
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
        """Wait until no message is pending or the connection is over. Raises CrowdError after `timeout_s` seconds."""
        connection = self.connection
        assert connection is not None
        await connection.wait(lambda: not self.session.pending or connection.over, timeout_s)
        if self.session.pending:
            raise CrowdError(
                f"{self.person.name} has {self.session.pending} messages without answer after {timeout_s:g} s"
            )

    def behind(self, heads: Mapping[str, int]) -> bool:
        """Return whether the user has not received one of its rooms up to the number in `heads`.

        `heads`: room label -> highest sequence number that members must receive.
        """
        seen = self.session.resume_points()
        return any(seen.get(room.label, NONE) < heads.get(room.label, NONE) for room in self.rooms)

    async def leave(self) -> None:
        """Close the connection, after waiting for a reconnection that is in progress."""
        if self._coming_back is not None:
            await asyncio.gather(self._coming_back, return_exceptions=True)
        if self.connection is not None:
            await self.connection.close()
