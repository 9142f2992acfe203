"""HTTP sender: each message is sent as a request, whose answer is the acknowledgement."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gevent.lock import BoundedSemaphore

from earwitness.harness.client.events import Heard
from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.session import ChatSession


class Poster:
    """HTTP sender of one user, with one request at a time.

    A message is ordered behind another only if it is sent after the other one's answer; concurrent requests would
    arrive in an order that nothing promises.

    post     sends (room label, message id, text) and returns the answer as ACK or NACK; raises FlowError if the
             outcome is unknown
    session  the user's session
    """

    session: ChatSession

    def __init__(self, post: Callable[[str, str, str], Sequence[Heard]]) -> None:
        """Start idle; messages wait until the request before them is answered."""
        self._post = post
        self._turn = BoundedSemaphore(1)
        self._letter = ("", "", "")
        self._over = False

    def say(self, label: str, payload: str, planned_ns: int | None) -> None:
        """Send the next message and record it with its answer; block while another request is in progress.

        `planned_ns`: planned start in monotonic ns, or None. No-op while the user is not connected, since nothing would
        be delivered to them.
        """
        with self._turn:
            if self.session.connected_now:
                self.session.send(time.monotonic_ns(), label, payload, planned_ns, self._keep)
                self._exchange()

    def again(self, message_id: str) -> None:
        """Resend a message if it is still unknown whether it was accepted, and the user is connected."""
        with self._turn:
            if self.session.connected_now and message_id in self.session.unanswered():
                self.session.retry(time.monotonic_ns(), message_id, self._keep)
                self._exchange()

    def close(self) -> None:
        """Stop recording. Answers that arrive later are ignored."""
        self._over = True

    def _keep(self, label: str, message_id: str, text: str) -> str:
        """Store the message for the request that follows; the session calls it in place of a frame encoder."""
        self._letter = (label, message_id, text)
        return text

    def _exchange(self) -> None:
        letter = self._letter
        answers: Sequence[Heard] | None = None
        try:
            answers = self._post(*letter)
        except FlowError:
            answers = None  # Locust's statistics have it as a failed request
        now_ns = time.monotonic_ns()
        if self._over:
            return
        if answers is None:
            self.session.abandon(now_ns, letter[1])
        else:
            self.session.answered(now_ns, answers)
