"""State of one load process in one run: its journal, the sessions of its users, and the steps of its end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count as count_on
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import gevent
from gevent.event import Event

from earwitness.checks.history.record import NOBODY, NONE, Flag, Kind, Phase
from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.frame_capture import KeepingSession
from earwitness.harness.client.gevent_shell import TRANSPORT
from earwitness.harness.client.http_gevent import Pool
from earwitness.harness.client.session import ChatSession
from earwitness.harness.client.tally import Tally
from earwitness.harness.client.wall_clock import WallClock
from earwitness.harness.dialects.protocol import Credentials
from earwitness.harness.dialects.registry import open_target
from earwitness.harness.load.attained import Attained
from earwitness.harness.load.soundness import Soundness
from earwitness.harness.load.statistics import LoopLag, Publisher
from earwitness.harness.native import described
from earwitness.harness.planning.arrivals import Arrivals
from earwitness.harness.planning.plan import Plan
from earwitness.harness.record.frames import FrameStore
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.latencies import FOOTER_KEY
from earwitness.harness.record.meta import process_meta
from earwitness.harness.record.named import write_record
from earwitness.harness.report.opportunities import FOOTER_KEY as OPPORTUNITIES
from earwitness.harness.run.sampler import SelfSampler

if TYPE_CHECKING:
    from earwitness.harness.load.users import ChatUser

QUIET_S = 2.0
"""Seconds without a frame after which deliveries count as complete, where messages have no sequence numbers."""
STALL_S = 0.5
"""Seconds that one pass of a waiting loop may take; more time counts as time in which this process stood still."""

POLL_S = 0.02
CONNECTIONS_MAX, STREAMS_MAX = 100, 20_000
"""Most HTTP connections of a process to one origin: for short requests, and for answers that are streamed."""
CROWD_WAIT_S = 60.0
STOP_S = 10.0
CLOSE_S = 60.0


class Assignment(TypedDict):
    """Decisions of the coordinator for one run, the same for every load process.

    run_dir       directory in which this process records
    plan, target  plan of the run (`Plan.to_dict`), and description of the target for `open_target`
    arrivals      value of `--arrivals`, "" for none
    grows         whether a shape decides the number of users
    secrets       values that a target needs and that no file may hold
    keep_frames   whether raw frames are stored
    indexes       number of each worker in the run, by Locust's client id
    run           name of the master's run directory, if this process records into a directory of its own
    store         URL of the object store for all records, "" for none
    """

    run_dir: str
    plan: Mapping[str, object]
    target: Mapping[str, object]
    arrivals: NotRequired[str]
    grows: NotRequired[bool]
    secrets: NotRequired[Mapping[str, Any]]
    keep_frames: NotRequired[bool]
    indexes: NotRequired[Mapping[str, int]]
    run: NotRequired[str]
    store: NotRequired[str]


class Part:
    """State of one process that generates load: made at the start of each run, discarded at its end.

    assignment  decisions of the coordinator, see `Assignment`
    over  set when the end has begun: no new message is sent, and long pauses are cut short
    on_all_here  called when each user of this process has started or failed to start; again if more were made later
    story  counter of the story's own errors in this process, for the footer
    occurred  how often each opportunity (`harness.report.opportunities`) occurred in this process, for the footer
    http  connections for requests, shared by all users of this process
    asking  users of this process with an open question to the agent, by room label
    turns  counter by which users of this process take turns with the variants of an action
    shared_ids  users of this process with an acknowledged message, by room label and a client id that several users use
    crowd  number of users of all processes that share the planned arrivals; known when all have started
    index, count  number of this process among the load processes, and how many there are; the numbers of its users are
                  index, index + count, index + 2 count, …
    """

    def __init__(
        self,
        environment: Any,
        assignment: Assignment,
        index: int,
        count: int,
        on_all_here: Callable[[Part], None],
        story: Soundness,
    ) -> None:
        """Open journal, target and HTTP pool, and start the greenlets that watch this process."""
        self.environment = environment
        self.story, self.attained = story, Attained()
        story.begin()
        self.index, self.count = index, count
        self.plan = Plan.from_dict(assignment["plan"])
        self.target = open_target(assignment["target"])
        # A stream holds its connection for as long as it lasts, so the users of one must not wait for each other.
        streams = self.target.parts.streams_answers is not None
        self.http = Pool(self.target.network, per_origin=STREAMS_MAX if streams else CONNECTIONS_MAX)
        if (shares := self.target.parts.shares_frames) is not None:
            shares.share_frames(self.plan.heard_often(count))
        self.run_dir = Path(assignment["run_dir"])
        self.secrets: Mapping[str, Any] = assignment.get("secrets", {})
        self.users: list[ChatUser] = []
        self.occurred: Counter[str] = Counter()
        self.asking: dict[str, set[int]] = {}
        self.turns = count_on()
        self.shared_ids: dict[tuple[str, str], set[int]] = {}
        self.everyone_here = Event()
        self.arrivals = Arrivals.parse(assignment.get("arrivals", ""))
        self._grows = bool(assignment.get("grows"))
        self.crowd = self.plan.clients
        self._begin_ns = 0
        self._left: list[ChatUser] = []
        self.unsaid = 0
        self.over = Event()
        self.draining = False
        self.tally = Tally()
        self._taken = self._started = 0
        self._spawned = False
        self._on_all_here, self._reported = on_all_here, -1
        self._closed = self._cut_short = self._settled = False
        self._footer_written = Event()
        self._last_record_at = 0.0
        self._transport_before = TRANSPORT.snapshot()
        TRANSPORT.start_watch()
        # The meta line precedes the first record. It names the roster that this process planned itself (H6).
        meta = process_meta(index=index, roster=self.plan.roster().digest(), native=described()["native"])
        journals, name = self.run_dir / "journals", f"load-{index}"
        self.journal = Journal.create(journals, name, meta=meta)
        self.journal.names_max = bounds().names
        self.frames = FrameStore.create(journals, name) if assignment.get("keep_frames") else None
        self.phase(Phase.LOAD)
        self._publisher = Publisher(environment, self.tally)
        self._lag = LoopLag()
        self._wall = WallClock(self._clock_stepped)
        samples = self.run_dir / "tables" / "services.jsonl"
        self._sampler = SelfSampler(samples, self.journal.name, self._publisher.planned_ack)

    def take_place(self, kind: type) -> tuple[int, ChatUser | None]:
        """Return (number, None) for a new user, or (number, user) to continue as a stopped user of the class `kind`.

        New numbers are index, index + count, …
        """
        for user in self._left:
            if type(user) is kind:
                self._left.remove(user)
                return user.number, user
        number = self.index + self._taken * self.count
        self._taken += 1
        return number, None

    def left(self, user: ChatUser) -> None:
        """Release the number of a user that Locust stopped during the run.

        Another user of the same class may continue with that number.
        """
        self._left.append(user)
        self.attained.add_actions([user], time.monotonic_ns())

    @property
    def users_started(self) -> int:
        """Return how many users of the plan Locust has started in this process."""
        return self._taken - self.attained.beyond_plan

    def all_here(self, crowd: int) -> None:
        """Set the event `everyone_here`, for which bursts and planned arrivals wait.

        `crowd`: number of users in all processes. With a shape the arrivals are planned for all users of the plan
        instead, because more will start.
        """
        if not self._grows:
            self.crowd = max(1, crowd)
        self.everyone_here.set()

    def arrivals_begin_ns(self) -> int:
        """Return the start of the plan in monotonic ns, after waiting at most CROWD_WAIT_S seconds for all users.

        All users of this process get the same value.
        """
        self.everyone_here.wait(CROWD_WAIT_S)
        self._begin_ns = self._begin_ns or time.monotonic_ns()
        return self._begin_ns

    def spawned(self) -> None:
        """Note that Locust has made all users of this process; call `on_all_here` if all of them have started too."""
        self._spawned = True
        self._tell_if_all_here()

    def started(self) -> None:
        """Count one user as started, successfully or not; call `on_all_here` if it was the last one."""
        self._started += 1
        self._tell_if_all_here()

    def _tell_if_all_here(self) -> None:
        # If reports are late, a master announces too early that all users are spawned: the count may still grow.
        if self._spawned and self._started >= self._taken != self._reported:
            self._reported = self._taken
            self._on_all_here(self)

    def actions(self, now_ns: int) -> tuple[int, int]:
        """Return (planned, started) actions of all users of this process up to `now_ns` in monotonic ns."""
        acting = [] if self.draining else [user for user in self.users if user not in self._left]
        return self.attained.actions(acting, now_ns)

    def lag_ms(self) -> dict[str, float]:
        """Return the lag of the event loop in the last second: p50, p99 and maximum in milliseconds."""
        return self._lag.lately()

    def session(self, credentials: Callable[[], Credentials], **settings: Any) -> ChatSession:
        """Return a session of one device that records into this process's journal, with raw frames if they are kept.

        `credentials` returns the user's current credentials, whose secrets are removed from frames; `settings` are
        arguments of `ChatSession`.
        """
        if self.frames is None:
            return ChatSession(journal=self.journal, **settings)
        return KeepingSession(journal=self.journal, frames=self.frames, credentials=credentials, **settings)

    def phase(self, phase: Phase, flags: int = 0) -> None:
        """Record that `phase` of the run begins."""
        now = time.monotonic_ns()
        write_record(self.journal, now, Kind.PHASE, flags=flags, counter=int(phase))

    def _clock_stepped(self, from_ns: int, to_ns: int, by_ns: int) -> None:
        """Record a step of the wall clock, after which the times that tokens state are doubtful (H3)."""
        step = int(Phase.CLOCK_STEP)
        write_record(self.journal, to_ns, Kind.PHASE, counter=step, seq=from_ns, aux=by_ns)

    def note(
        self, kind: Kind, client: int, *, conv: int = NOBODY, author: int = NOBODY, counter: int = 0, seq: int = NONE,
        aux: int = NONE, digest: int = 0, flags: int = 0,
    ) -> None:  # fmt: skip
        """Record an event of `client` that belongs to no connection: a login, a probe, an identity, a history read."""
        now = time.monotonic_ns()
        write_record(
            self.journal, now, kind, flags=flags, client=client, conv=conv, author=author, counter=counter, seq=seq,
            aux=aux, digest=digest,
        )  # fmt: skip

    # -- the end --------------------------------------------------------------------------------------------------

    def drain(self, deadline_s: float) -> dict[str, int]:
        """Stop sending and block until all answers have come and no user is busy, for `deadline_s` seconds at most.

        Returns the highest acknowledged sequence number of each room, by label: all members of the room must receive
        the messages up to that number.
        """
        self.phase(Phase.DRAIN)
        return self._stop_sending(deadline_s)

    def leave(self, deadline_s: float) -> None:
        """End this process before the run ends: stop sending, await the answers to its users' messages, and close.

        Other processes still send to its users, and nothing waits for those messages. So this process records neither
        DRAIN nor DRAINED.
        """
        self._stop_sending(deadline_s)
        self.close()

    def _end_begins(self) -> None:
        self.draining = True
        self.over.set()

    def _stop_sending(self, deadline_s: float) -> dict[str, int]:
        self._end_begins()
        acting = [user for user in self.users if user not in self._left]
        self.attained.add_actions(acting, time.monotonic_ns())
        end = time.monotonic() + deadline_s
        self._wait(lambda: not any(user.session.pending or user.busy for user in self._talking()), end)
        # An echo has the number that an acknowledgement lacks; a lost echo must not cost the whole deadline.
        self._wait(lambda: not any(user.online and user.session.awaits_echo for user in self._talking()), end, QUIET_S)
        heads: dict[str, int] = {}
        for user in self._talking():
            for label, seq in user.session.acked_points().items():
                heads[label] = max(heads.get(label, NONE), seq)
        return heads

    def settle(self, heads: Mapping[str, int], deadline_s: float) -> None:
        """Block until every open session has received its rooms up to the sequence numbers `heads` (by room label).

        Without sequence numbers, block until nothing was received for QUIET_S seconds. Blocks for at most `deadline_s`
        seconds. If messages still arrive then, the record says so, and the verdict excludes those messages.
        """
        self._settled, echo = True, self.target.contract.echo
        end = time.monotonic() + deadline_s

        def behind(user: ChatUser) -> bool:
            if not user.online:
                return False
            seen, outside = user.session.resume_points(), user.session.outside
            own = {} if echo else user.session.acked_points()  # without echoes, own messages are known by their answers
            labels = [room.label for room in user.rooms if room.label not in outside]
            return any(max(seen.get(label, NONE), own.get(label, NONE)) < heads.get(label, NONE) for label in labels)

        in_time = self._wait(lambda: not any(behind(user) for user in self._talking()), end)
        # The answer to an own message may overtake messages of others with lower numbers.
        if self.target.contract.sequence == "none" or not echo:
            in_time = self._wait(lambda: False, end, QUIET_S)
        self._cut_short = not in_time and time.monotonic() - self._last_record_at < QUIET_S

    def _wait(self, done: Callable[[], bool], end: float, quiet_s: float | None = None) -> bool:
        """Block until `done()` is true or nothing was recorded for `quiet_s` seconds; return False if `end` came first.

        `end`: seconds of `time.monotonic()`. Frames that leave no record, such as heartbeats, do not count as recorded.
        `end` is postponed by time in which this process stood still, because it could not read then.
        """
        records, self._last_record_at = self.journal.records, time.monotonic()
        before = self._last_record_at
        while not done():
            now = time.monotonic()
            end += max(0.0, now - before - STALL_S)
            before = now
            if self.journal.records != records:
                records, self._last_record_at = self.journal.records, now
            if quiet_s is not None and now - self._last_record_at >= quiet_s:
                return True
            if now >= end:
                return False
            gevent.sleep(POLL_S)
        return True

    def close(self) -> None:
        """Record DRAINED, close the sockets and write the footer. Idempotent.

        DRAINED is recorded only after `settle`. Without it, this process leaves a run that continues, or its master is
        gone.
        """
        if self._closed:
            self._footer_written.wait(CLOSE_S)  # another greenlet closes; the caller may end the process next
            return
        self._closed = True
        try:
            self._close()
        finally:
            self._footer_written.set()

    @property
    def ended(self) -> bool:
        """Return whether the footer is written: no record of this process can be lost any more."""
        written: bool = self._footer_written.is_set()
        return written

    def _close(self) -> None:
        if not self._settled:
            self.attained.leave()
        self._end_begins()
        # A connection that opened after DRAINED would claim to have received everything, but be closed before it has.
        gevent.joinall([gevent.spawn(user.stay_away) for user in self.users], timeout=10)
        self._stop_users()
        if self._settled:
            self.phase(Phase.DRAINED, int(Flag.TIMEOUT) if self._cut_short else 0)
        gevent.joinall([gevent.spawn(user.disconnect) for user in self.users], timeout=10)
        self.http.close()
        self._wall.close()
        latencies = self._publisher.close()
        self._sampler.close()
        footer = {**TRANSPORT.since(self._transport_before), "lag_ms": self._lag.close()}
        footer |= {"behind_ms": TRANSPORT.behind_ns / 1e6, "held_up_ms": TRANSPORT.held_up_ns / 1e6}
        footer["recorded_frames_in"] = sum(user.session.frames_recorded for user in self._talking())
        footer["heartbeats"] = sum(user.session.beats for user in self._talking())
        footer["messages_sent"] = sum(user.session.counter for user in self._talking())
        footer |= {"messages_unsaid": self.unsaid, "users": len(self.users), FOOTER_KEY: latencies}
        footer[OPPORTUNITIES] = dict(self.occurred)
        footer |= {"load": self.attained.summary(self.users_started), "story": self.story.summary()}
        if self.frames is not None:
            footer["frames"] = self.frames.close()
        self.journal.close(footer)

    def _stop_users(self) -> None:
        """Stop all Locust users of this process before the verdict, so that errors in their `on_stop` count (H7)."""
        group = self.environment.runner.user_greenlets
        users = [greenlet for greenlet in group if greenlet is not gevent.getcurrent()]
        gevent.killall(users, timeout=STOP_S)

    def _talking(self) -> list[ChatUser]:
        return [user for user in self.users if user.session is not None]
