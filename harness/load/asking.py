"""Questions to the platform's agent, whose answers come as a stream of events."""

from __future__ import annotations

import time
from typing import Any

from harness.client.events import Heard
from harness.load.users import ChatUser
from harness.target.protocol import Room


class Asking(ChatUser):
    """A user who asks the agent; for I24. The end of the test waits for the answers that are being told. Needs a target
    with `harness.target.capabilities.AsksAgents`; else a question is said as an ordinary message."""

    abstract = True

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._runs: dict[str, str] = {}  # run → label of its room: begun and not ended on this connection

    def ask(self, room: Room, count: int = 1) -> None:
        """Ask so many questions at once, and wait until they are accepted; the answers come meanwhile."""
        self._go_on_or_stop()
        if not self.online and not self._back_online():
            return
        put = getattr(self.part.target, "encode_question", None)
        for _ in range(count):
            payload = self.part.plan.payload(self.number, self.session.counter + 1)
            self._send(self.session.send(time.monotonic_ns(), room.label, payload, encode=put))
        self._await_answers(0)

    def connect(self) -> None:
        self._runs.clear()
        super().connect()

    def _listen(self) -> None:
        super()._listen()
        self.session.on_agent, self.session.on_left = self._told, self._parted

    @property
    def busy(self) -> bool:
        return super().busy or (self.online and bool(self._runs))

    def _told(self, heard: Heard) -> None:
        """Inside the io callback."""
        run, event, _ = heard[6]
        if event in ("completed", "error"):
            self._runs.pop(run, None)
        else:
            self._runs[run] = heard[1] or ""

    def _parted(self, label: str) -> None:
        self._runs = {run: where for run, where in self._runs.items() if where != label}
