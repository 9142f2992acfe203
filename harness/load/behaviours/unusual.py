"""Behaviour `Unusual`: messages that platforms often handle wrongly, such as very long ones."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from earwitness.harness.client.body import overhead
from earwitness.harness.client.events import Heard
from earwitness.harness.client.flow import FlowError
from earwitness.harness.dialects.parts import PostsBeside
from earwitness.harness.dialects.protocol import Room
from earwitness.harness.load.behaviour import Behaviour
from earwitness.harness.planning.plan import LONG_BYTES

UNSTATED_BYTES = 4000
"""Length in bytes of the longest body where the contract states no limit."""
RETRIED_BYTES = 16
"""Margin in bytes below the limit: a retry may be longer, because its attempt and connection have more digits."""
EXACT, BLANK, KINDS = 0, 1, 4


class Unusual(Behaviour):
    """Behaviour that sends unusual messages: long ones, shared client ids, HTTP requests between frames.

    Methods for tasks: `say_long`, `say_by_shared_id`, `say_by_http`.
    """

    def begin(self) -> None:
        """Implement `Behaviour.begin`: start with no shared client id used."""
        self._shared = 0

    def say_long(self, room: Room) -> None:
        """Send a message whose length is drawn log-uniformly between LONG_BYTES and the platform's limit.

        Some are exactly as long as the limit, some begin and end with blanks. Where the contract states no limit,
        UNSTATED_BYTES is used.
        """
        if not self._ready_to_say():
            return
        session, plan = self.user.session, self.part.plan
        stated = self.part.target.contract.message_bytes_max
        most = stated or UNSTATED_BYTES
        kind = next(self.part.turns) % KINDS
        counter = session.counter + 1
        around = overhead(plan.tag, self.user.number, room.number, counter, session.proc, 1)
        size = most - around
        exact = kind == EXACT and stated is not None
        if not exact:
            size -= RETRIED_BYTES
            size = min(size, int(LONG_BYTES * math.exp(self.user.rng.random() * math.log(max(1.0, size / LONG_BYTES)))))
        payload = plan.long_payload(self.user.number, counter, size, blank_ends=kind == BLANK)
        if exact:
            self.user.never_resend.add(f"{plan.tag}-{self.user.number}-{counter}")
        if self._acknowledged(lambda: self._put(room, payload)):
            self.part.occurred["long-tail"] += 1
            self.part.occurred["size-limit"] += exact
            self.part.occurred["blank-ends"] += kind == BLANK

    def say_by_shared_id(self, room: Room) -> None:
        """Send a message under a client id that other users use in the same room too.

        On a target where ids must be unique among all senders (without `harness.dialects.parts.Parts.ids_by_sender`) an
        ordinary message is sent.
        """
        if self.user.poster is not None or not self.part.target.parts.ids_by_sender:
            self.user.say(room)
            return
        if not self._ready_to_say():
            return
        self._shared += 1
        message_id = f"{self.part.plan.tag}-shared-{self._shared}"
        payload = self.part.plan.payload(self.user.number, self.user.session.counter + 1)
        if self._acknowledged(lambda: self._put(room, payload, message_id=message_id)):
            users = self.part.shared_ids.setdefault((room.label, message_id), set())
            users.add(self.user.number)
            self.part.occurred["shared-id"] += len(users) == 2

    def say_by_http(self, room: Room) -> None:
        """Send one message by socket, one by HTTP and one by socket, each after the answer to the one before.

        On a target that cannot send both ways (`harness.dialects.parts.PostsBeside`) one ordinary message is sent.
        """
        self.user.begin_action()
        beside = self.part.target.parts.posts_beside
        if self.user.poster is not None or beside is None:
            self.user.say(room)
            return
        plan, session = self.part.plan, self.user.session

        def by_socket() -> None:
            self._put(room, plan.payload(self.user.number, session.counter + 1))

        # While the message before is unanswered, no order of the two is promised.
        steps = (by_socket, lambda: self._post(room, beside), by_socket)
        if all(self._ready_to_say() and self._acknowledged(step) for step in steps):
            self.part.occurred["rest-and-socket"] += 1

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _ready_to_say(self) -> bool:
        """Reconnect if necessary; return whether the user is online. If not, the message counts as unsent."""
        self.user.begin_action()
        if self.user.online or self.user.come_back():
            return True
        self.part.unsaid += 1
        return False

    def _put(self, room: Room, payload: str, message_id: str = "") -> None:
        """Send the next message with the text `payload` to the room, as a request or on the socket.

        `message_id`: client id of the message; "" for a unique one. It is not used for a request.
        """
        if self.user.poster is not None:
            self.user.poster.say(room.label, payload, None)
        else:
            self.user.send(self.user.session.send(time.monotonic_ns(), room.label, payload, message_id=message_id))

    def _acknowledged(self, say: Callable[[], None]) -> bool:
        """Call `say`, which sends a message; return whether all messages are acknowledged on the same connection."""
        session = self.user.session
        conn, before = session.conn, session.acked + session.pending
        say()
        self.user.await_answers(0)
        return bool(self.user.online and session.conn == conn and not session.pending and session.acked > before)

    def _post(self, room: Room, beside: PostsBeside) -> None:
        """Send the next message as a request, and record its answer even if the socket ends meanwhile."""
        letter: list[str] = []

        def keep(label: str, message_id: str, text: str) -> str:
            letter.extend((label, message_id, text))
            return text

        with self.user.recording():
            credentials = self.user.account.valid()
            payload = self.part.plan.payload(self.user.number, self.user.session.counter + 1)
            self.user.session.send(time.monotonic_ns(), room.label, payload, encode=keep, posted=True)
            answers: Sequence[Heard] | None
            try:
                answers = self.user.flow(beside.post_beside(credentials, *letter))
            except FlowError:
                answers = None
            now_ns = time.monotonic_ns()
            if answers is None:
                self.user.session.abandon(now_ns, letter[1])
            else:
                self.user.session.answered(now_ns, answers)
