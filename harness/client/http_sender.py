"""HTTP senders: each message is sent as a request. The answer acknowledges it, or streams the answer of an agent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import gevent
from gevent.lock import BoundedSemaphore

from earwitness.harness.client.events import JOINED, LEFT, Heard
from earwitness.harness.client.flow import FlowError, Unbounded
from earwitness.harness.client.link import TRANSPORT
from earwitness.harness.client.session import ChatSession
from earwitness.harness.errors import Exceeded, TargetError


class Poster:
    """HTTP sender of one user, with one request at a time.

    Two messages have an order only if the second is sent after the answer to the first. No platform promises an order
    for concurrent requests.

    post     sends (room label, message id, text) and returns the answer as ACK or NACK; raises FlowError if the outcome
             is unknown
    session  the user's session
    """

    session: ChatSession

    def __init__(self, post: Callable[[str, str, str], Sequence[Heard]]) -> None:
        """Start without messages. Each message waits until the request before it is answered."""
        self._post = post
        self._turn = BoundedSemaphore(1)
        self._letter = ("", "", "")
        self._over = False

    def say(self, label: str, payload: str, planned_ns: int | None) -> None:
        """Send the next message as a request, and record it and its answer; block until the answer has come.

        First it waits until no other request is in progress. `planned_ns`: planned start in monotonic ns, or None.
        No-op while the user is not connected, since nothing would be delivered to them.
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

    @property
    def busy(self) -> bool:
        """Return False: a message that waits for its answer counts as `pending` in the session."""
        return False

    def cut(self) -> None:
        """No-op: answers to requests come whether the user is connected or not."""

    def close(self) -> None:
        """Record no answers from now on."""
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


Happened: TypeAlias = Callable[[Sequence[Heard]], None]
"""Callback that records events, with the present time."""
STREAMS_AT_ONCE: Final = 200
"""Most streamed answers of one user at a time: fewer than the 256 values of `proc`, which distinguishes them."""
Letter: TypeAlias = tuple[str, str, str]
"""Room label, message id and text of a message."""


class StreamPoster:
    """HTTP sender of one user whose messages are answered by streams. Several may be in progress at once.

    If a stream breaks off before its last event, or sends nothing for too long, the record has an answer without an
    end. The acknowledgement of the message is not affected. If the tester itself ends a stream, it records that the
    user left the room, so that no check reports a missing end.

    ask      sends (room label, message id, text, callback), calls back with each event, and returns further events;
             raises FlowError if it is unknown whether the message was accepted, or if the answer is not whole
    session  the user's session
    """

    session: ChatSession

    def __init__(self, ask: Callable[[str, str, str, Happened], Sequence[Heard]]) -> None:
        """Start without messages. `ask`: see the class."""
        self._ask = ask
        self._streams: dict[gevent.Greenlet, Letter] = {}
        self._letter: Letter = ("", "", "")
        self._over = False

    @property
    def busy(self) -> bool:
        """Return whether an answer is being streamed."""
        return bool(self._streams)

    def say(self, label: str, payload: str, planned_ns: int | None) -> None:
        """Send the next message and record its streamed answer; block until the stream ends.

        `planned_ns`: planned start in monotonic ns, or None. A planned message does not wait for its answer. No-op
        while the user is not connected.
        """
        stream = self.begin(label, payload, planned_ns)
        if stream is not None and planned_ns is None:
            stream.join()

    def begin(self, label: str, payload: str, planned_ns: int | None) -> gevent.Greenlet | None:
        """Send the next message and return the greenlet that records its answer; None if the user is not connected.

        Blocks while STREAMS_AT_ONCE of the user's answers are in progress.
        """
        while len(self._streams) >= STREAMS_AT_ONCE:
            gevent.wait(list(self._streams), count=1)
        if self._over or not self.session.connected_now:
            return None
        if self._streams:
            self.session.forget_order()
        self.session.send(time.monotonic_ns(), label, payload, planned_ns, self._keep, posted=True, asks=True)
        return self._start()

    def again(self, message_id: str) -> None:
        """Resend a message if it is still unknown whether it was accepted, and the user is connected."""
        if not self._over and self.session.connected_now and message_id in self.session.unanswered():
            self.session.retry(time.monotonic_ns(), message_id, self._keep)
            self._start().join()

    def cut(self) -> None:
        """End all streams, because the user has lost the connection. It does not block."""
        streams, self._streams = self._streams, {}
        for stream, letter in streams.items():
            stream.kill(block=False)
            self.session.abandon(time.monotonic_ns(), letter[1])

    def close(self) -> None:
        """Stop recording: end the streams that are in progress, and record that the user has left their rooms."""
        self._over = True
        labels = sorted({letter[0] for letter in self._streams.values()})
        if labels and self.session.connected_now:
            self.session.happened(time.monotonic_ns(), [_event(LEFT, label) for label in labels])
        self.cut()

    def _keep(self, label: str, message_id: str, text: str) -> str:
        """Store the message for the request that follows; the session calls it in place of a frame encoder."""
        self._letter = (label, message_id, text)
        return text

    def _start(self) -> gevent.Greenlet:
        stream = gevent.Greenlet(self._exchange, self._letter)
        self._streams[stream] = self._letter
        stream.start()
        return stream

    def _exchange(self, letter: Letter) -> None:
        stream = gevent.getcurrent()

        def happened(events: Sequence[Heard]) -> None:
            if stream in self._streams:  # else it was cut: what still comes belongs to no connection
                self.session.happened(time.monotonic_ns(), events)

        try:
            happened(self._ask(*letter, happened))
        except (Unbounded, Exceeded):
            TRANSPORT.exceeded += 1
            happened(_lost(letter[0]))
        except FlowError:
            pass  # Locust's statistics have it as a failed request
        except TargetError:
            TRANSPORT.failed += 1  # the dialect is wrong, and the platform is not blamed
            happened(_lost(letter[0]))
        finally:
            if self._streams.pop(stream, None) is not None:
                self.session.abandon(time.monotonic_ns(), letter[1])
                if self.session.on_answer is not None:
                    self.session.on_answer()


def _lost(label: str) -> Sequence[Heard]:
    """Return the events LEFT and JOINED of a room, for a user whose stream the tester itself has ended.

    After them the checks do not expect the end of the answer in that room.
    """
    return [_event(LEFT, label), _event(JOINED, label)]


def _event(what: int, label: str) -> Heard:
    return (what, label, None, -1, None, None, None)
