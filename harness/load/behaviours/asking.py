"""Behaviour `Asking`: questions to the platform's agent, whose answers arrive as a stream of events."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from earwitness.harness.client.events import Heard
from earwitness.harness.client.http_sender import StreamPoster
from earwitness.harness.dialects.protocol import Room
from earwitness.harness.load.behaviour import Behaviour
from earwitness.harness.load.worker import CROWD_WAIT_S


class Asking(Behaviour):
    """Behaviour that sends questions to the platform's agent, for check I24.

    Methods for tasks: `ask`, `ask_in_all_rooms`. The end of the run waits for answers that are still being streamed.

    Where every message is answered by a stream (`harness.dialects.parts.StreamsAnswers`), each message is a question.
    On a target with neither an agent (`Parts.asks_agents`) nor such streams, a question is sent as an ordinary message.
    """

    def begin(self) -> None:
        """Implement `Behaviour.begin`: start with no answer in progress."""
        self._runs: dict[str, str] = {}  # run → label of its room, for runs in progress on this connection

    def ask(self, room: Room, count: int = 1) -> None:
        """Send `count` questions to the room at once; block until each is accepted, refused or overdue.

        The agent's answers arrive later.
        """
        self._ask([room] * count, self.user.pace.planned_ns)

    def ask_in_all_rooms(self, rooms: Sequence[Room]) -> None:
        """Send one question to each of these rooms at once; block until each is accepted, refused or overdue.

        First it waits until all users have started, at most CROWD_WAIT_S seconds, so that they all ask at the same
        time.
        """
        # A user who had to wait for the others asks late, and that is no latency of the platform: no planned start.
        planned_ns = self.user.pace.planned_ns if self.part.everyone_here.is_set() else None
        self.part.everyone_here.wait(CROWD_WAIT_S)
        if self._ask(list(dict.fromkeys(rooms)), planned_ns) > 1:
            self.part.occurred["agent-two-rooms"] += 1

    def _ask(self, rooms: Sequence[Room], planned_ns: int | None) -> int:
        """Send a question to each room; return how many were accepted, 0 if the target has no agent.

        `planned_ns`: planned start in monotonic ns, None if the action was not planned.
        """
        self.user.begin_action()
        if not self.user.online and not self.user.come_back():
            return 0
        asks, connection, poster = self.part.target.parts.asks_agents, self.user.connection, self.user.poster
        streams = poster if isinstance(poster, StreamPoster) else None
        put = partial(asks.question, connection.dialogue) if asks is not None and connection is not None else None
        answered, session = put is not None or streams is not None, self.user.session
        before = session.acked
        for room in rooms:
            payload = self.part.plan.payload(self.user.number, session.counter + 1)
            if streams is not None:
                streams.begin(room.label, payload, planned_ns)
            else:
                self.user.utter(room.label, payload, planned_ns, put)
            asking = self.part.asking.setdefault(room.label, set())
            asking.add(self.user.number)
            self.part.occurred["agent-two-people"] += answered and len(asking) > 1
        self.user.await_answers(0)
        for room in rooms:
            self.part.asking[room.label].discard(self.user.number)
        return session.acked - before if answered else 0

    def before_connect(self) -> None:
        """Implement `Behaviour.before_connect`: forget answers whose end the previous connection did not receive."""
        self._runs.clear()

    def listen(self) -> None:
        """Implement `Behaviour.listen`: register for the events of answers, and for the user's removal from a room."""
        self.user.session.on_agent, self.user.session.on_left = self._told, self._parted

    @property
    def busy(self) -> bool:
        """Implement `Behaviour.busy`: return whether the user is online and an answer is being streamed.

        Answers to HTTP requests do not count here, because the user's HTTP sender reports them as busy.
        """
        return self.user.online and bool(self._runs) and not isinstance(self.user.poster, StreamPoster)

    def _told(self, heard: Heard) -> None:
        """Store whether the answer of the event `heard` is in progress.

        Called in the I/O callback: it must not block.
        """
        run, event, _ = heard[6]
        if event in ("completed", "error", "broken"):
            self._runs.pop(run, None)
        else:
            self._runs[run] = heard[1] or ""

    def _parted(self, label: str) -> None:
        self._runs = {run: where for run, where in self._runs.items() if where != label}
