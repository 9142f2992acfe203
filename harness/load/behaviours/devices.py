"""Behaviour `Devices`: changes of shared state on one device of a person, which all devices of the person must show."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import gevent

from earwitness.checks.history.record import NONE, Place, State
from earwitness.harness.client.body import PREFIX, decode_fields, encode
from earwitness.harness.client.events import Heard
from earwitness.harness.client.exchange import Exchange, observed
from earwitness.harness.client.flow import Flow, FlowError
from earwitness.harness.client.sharing import Shown
from earwitness.harness.client.statements import digest_of, write_change
from earwitness.harness.dialects.parts import Sharing
from earwitness.harness.dialects.protocol import Room
from earwitness.harness.load.behaviour import Behaviour, the
from earwitness.harness.load.behaviours.cutting import Cutting
from earwitness.harness.load.worker import CROWD_WAIT_S

T = TypeVar("T")

AGAIN_S = 0.2
"""Pause in seconds before a client repeats a request."""
LOOK_BACK = 3
"""Number of known edits that a request for new edits repeats."""
LATE_S = 0.2


class Devices(Behaviour):
    """Behaviour of one of several devices of a person: it marks messages read, edits them and watches presence.

    It exercises the checks I18, I22 and I27.

    Methods for tasks: `mark_read`, `edit`, `look_at_edits`, `look_at_marks`, `go_home`.

    It needs `story(…, devices=N)` and a target that offers `harness.dialects.parts.Sharing`. On another target devices
    only chat, and these checks are not exercised.

    tab  number of this device among the devices of its person, from 0
    """

    needs = (Cutting,)
    carried = ("shown", "_own")

    def begin(self) -> None:
        """Implement `Behaviour.begin`: start with no state shown and no change in progress."""
        self.cutting = the(Cutting, self.user.behaviours)
        self._sharing: Sharing | None = self.part.target.parts.sharing
        plan = self.part.plan
        self.tab = self.user.number % plan.devices
        self.shown = Shown(self.part.journal, self.user.number, plan.tag, plan.numbers)
        self._own: dict[str, tuple[int, int, int]] = {}  # by room the person's newest message: seq, author, counter
        self._drafts: dict[str, tuple[tuple[int, int, int], int]] = {}  # by room: the message, and its version
        self._behind: dict[str, gevent.Greenlet] = {}  # rooms whose edits are being requested
        self._untold: list[Callable[[], None]] = []  # each records a change that is not answered yet
        self._settled_at = 0.0
        self._edits = 0

    # -- what a story can do --------------------------------------------------------------------------------------

    def mark_read(self, room: Room, behind: int = 0) -> None:
        """Mark everything received in the room as read, except for the last `behind` messages."""
        self.user.begin_action()
        seq = self.user.session.resume_points().get(room.label, 0) - behind
        if self._sharing is None or seq <= 0:
            return
        mark, asked = self._changed(
            self._sharing.mark_read(self.user.own_credentials(), room, seq),
            lambda _: seq,
            state=State.READ_MARK, of=self.user.number, conv=room.number, digest=digest_of(seq),
        )  # fmt: skip
        if mark is not None and asked is not None:
            self.shown.answered_marks({room.label: mark}, asked.sent_ns, asked.received_ns)

    def edit(self, room: Room, *, careful: bool = False) -> None:
        """Edit the person's newest message in the room.

        `careful`: edit the message that was newest at the previous careful edit, and state its version at that time, so
        that the platform refuses the edit if another device has edited the message since.
        """
        self.user.begin_action()
        if self._sharing is None or room.label not in self._own:
            return
        (seq, author, counter), version = self._draft(room.label) if careful else (self._own[room.label], None)
        self._edits += 1
        payload = f"edit {self._edits} of tab {self.user.number}"
        text, digest = encode(self.part.plan.tag, author, room.number, counter, 0, 1, payload)
        self._changed(
            self._sharing.edit(self.user.own_credentials(), room, seq, text, version),
            lambda edit: edit.version if edit else NONE,
            state=State.EDIT, of=author, what=counter, conv=room.number, digest=digest,
            base=version or 0,
        )  # fmt: skip

    def _draft(self, label: str) -> tuple[tuple[int, int, int], int]:
        """Return what a careful edit changes now: ((seq, author, counter) of a message, its version).

        The result is the message that was newest at the previous careful edit, with its version at that time, as if the
        person had kept it open since. The message that is newest now is stored for the next careful edit.
        """
        message = self._own[label]
        opened = message, self.shown.versions.get(message[1:], 1)
        draft, self._drafts[label] = self._drafts.get(label, opened), opened
        return draft

    def look_at_edits(self, room: Room) -> None:
        """Request the newest edits of a room, and record the answer."""
        self.user.begin_action()
        self._ask_for_edits(room, max(0, self.shown.edits.get(room.label, 0) - LOOK_BACK))

    def look_at_marks(self) -> None:
        """Request the read marks of all rooms, and record the answer."""
        self.user.begin_action()
        if self._sharing is not None:
            marks, asked = self._asked(self._sharing.marks(self.user.own_credentials()))
            if marks is not None and asked is not None:
                self.shown.answered_marks(marks, asked.sent_ns, asked.received_ns)

    def go_home(self, after_s: float, away_s: float) -> None:
        """Schedule one time offline: `away_s` seconds, beginning `after_s` seconds after all users have started.

        Other devices of the person that call this method with the same values are offline at the same time.
        """

        def go() -> None:
            self.part.everyone_here.wait(CROWD_WAIT_S)
            if not self.part.over.wait(after_s):
                self.cutting.cut(away_s)

        gevent.spawn(go)

    # -- what is shown --------------------------------------------------------------------------------------------

    def after_connect(self) -> None:
        """Implement `Behaviour.after_connect`: subscribe to the presence of the members of each room."""
        if self._sharing is not None:
            for room in dict.fromkeys(self.user.rooms):
                self.user.request(self._sharing.watch(room.label))

    def listen(self) -> None:
        """Implement `Behaviour.listen`: register for messages, joined rooms and pushed shared state of the session."""
        session = self.user.session
        session.shown, session.on_joined, session.on_message = self.shown, self._joined, self._heard

    def _joined(self, label: str) -> None:
        """Start to request the edits of a room that was joined. Called in the I/O callback: it must not block."""
        if self._sharing is not None:
            self._behind[label] = gevent.spawn(self._catch_up, label, self.user.session.conn)

    def _heard(self, event: Heard) -> None:
        """Store the newest message of the person in each room. Called in the I/O callback for each message."""
        _, label, text, seq, sender, _, _ = event
        if label is not None and sender == self.user.own_credentials().user_id and (text or "").startswith(PREFIX):
            body = decode_fields(text or "")
            if body is not None and seq > self._own.get(label, (0, 0, 0))[0]:
                self._own[label] = (seq, body[1], body[3])

    def _catch_up(self, label: str, conn: int) -> None:
        """Request the edits that this connection missed, again and again until they come or the connection ends."""
        room = next((room for room in self.user.rooms if room.label == label), None)
        while room is not None and self.user.session.connected_now and self.user.session.conn == conn:
            if self._ask_for_edits(room, self.shown.edits.get(label, 0)):
                return
            gevent.sleep(AGAIN_S)

    def _ask_for_edits(self, room: Room, after: int) -> bool:
        if self._sharing is None:
            return False
        edits, asked = self._asked(self._sharing.edits_after(self.user.own_credentials(), room, after))
        if edits is None or asked is None:
            return False
        self.shown.answered_edits(room.label, edits, asked.sent_ns, asked.received_ns)
        return True

    # -- requests ---------------------------------------------------------------------------------------------------

    def _asked(self, flow: Flow[T]) -> tuple[T | None, Exchange | None]:
        """Run a flow; return (its result, its first exchange, but with the `received_ns` of the last one).

        The result is None if the flow failed, the exchange None if nothing was sent.
        """
        seen: list[Exchange] = []
        result: T | None = None
        with self.user.recording():
            try:
                result = self.user.quietly(observed(flow, seen.append))
            except FlowError as error:
                self.user.failed("STATE", "shared state", error)
        return result, replace(seen[0], received_ns=seen[-1].received_ns) if seen else None

    def _changed(
        self, flow: Flow[T], value_of: Callable[[T | None], int], *, state: State, **change: int
    ) -> tuple[T | None, Exchange | None]:
        """Run a change of shared state and record it with its answer, or without one; return as `_asked` does.

        - `value_of`: returns the new value from the result of the flow, or from None
        - `state`, `change`: arguments of `write_change`
        """
        sent_ns, result, asked = time.monotonic_ns(), None, None

        def tell() -> None:
            write_change(
                self.part.journal, self.user.number, Place.BACKEND, state, sent_ns=sent_ns,
                received_ns=time.monotonic_ns(), status=asked.status if asked else 0, value=value_of(result), **change,
            )  # fmt: skip

        self._untold.append(tell)
        try:
            result, asked = self._asked(flow)
        finally:
            if tell in self._untold:
                self._untold.remove(tell)
                tell()
            wait_s = self.part.target.contract.shared_state_s or 0.0
            self._settled_at = time.monotonic() + wait_s + LATE_S
        return result, asked

    # -- the end ----------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Implement `Behaviour.busy`: return whether a change may still take effect, or edits are being requested."""
        catching_up = any(not greenlet.dead for greenlet in self._behind.values())
        return catching_up or time.monotonic() < self._settled_at

    def stay_away(self) -> None:
        """Implement `Behaviour.stay_away`: disconnect a device that could not catch up.

        The convergence check (I22) then excludes it. A change without an answer is recorded as one that the platform
        may have made.
        """
        untold, self._untold = self._untold, []
        for tell in untold:
            tell()
        catching_up = [greenlet for greenlet in self._behind.values() if not greenlet.dead]
        gevent.killall(catching_up)
        if catching_up:
            self.user.hang_up()
