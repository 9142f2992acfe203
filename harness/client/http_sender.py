"""Saying by HTTP: a request is the message, its answer the acknowledgement."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gevent.lock import BoundedSemaphore

from earwitness.harness.client.events import Heard
from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.session import ChatSession


class Poster:
    """One user's. One request at a time: a message stands behind another only once that one is answered, and requests
    beside each other would arrive in an order that nobody promised.

    post     sends (room label, message id, text) and gives the answer as ACK or NACK; FlowError: its fate is unknown
    session  the user's, whose `encode` is ours
    """

    session: ChatSession

    def __init__(self, post: Callable[[str, str, str], Sequence[Heard]]) -> None:
        self._post = post
        self._turn = BoundedSemaphore(1)
        self._letter = ("", "", "")
        self._over = False

    def encode(self, label: str, message_id: str, text: str) -> str:
        """In place of a frame: what the session says is kept for the request."""
        self._letter = (label, message_id, text)
        return text

    def say(self, label: str, payload: str, planned_ns: int | None) -> None:
        """The next message and its answer. Nothing is said while the user is not connected: nobody would hear."""
        with self._turn:
            if self.session.connected_now:
                self.session.send(time.monotonic_ns(), label, payload, planned_ns)
                self._exchange()

    def again(self, message_id: str) -> None:
        """A message whose fate is unknown, once more, if it still is unknown."""
        with self._turn:
            if self.session.connected_now and message_id in self.session.unanswered():
                self.session.retry(time.monotonic_ns(), message_id)
                self._exchange()

    def close(self) -> None:
        """The run is over: an answer that comes now is recorded no more."""
        self._over = True

    def _exchange(self) -> None:
        letter = self._letter
        answers: Sequence[Heard] | None = None
        try:
            answers = self._post(*letter)
        except FlowError:
            answers = None  # which Locust's statistics have as a failed request
        now_ns = time.monotonic_ns()
        if self._over:
            return
        if answers is None:
            self.session.abandon(now_ns, letter[1])
        else:
            self.session.answered(now_ns, answers)
