"""Exchange: one HTTP request of a flow with its answer and both times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic_ns
from typing import TypeVar

from earwitness.harness.client.flow import Flow, FlowError, HttpRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request and its answer.

    sent_ns      `time.monotonic_ns()`, read before the first byte was sent
    received_ns  `time.monotonic_ns()`, read after the last byte was received, or when the request had failed
    status       HTTP status of the answer; 0: no answer
    headers      headers of the answer; empty without an answer
    timeout      no answer came within the time limit
    """

    request: HttpRequest
    sent_ns: int
    received_ns: int
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: bool = False


def observed(flow: Flow[T], saw: Callable[[Exchange], None], headers: Mapping[str, str] | None = None) -> Flow[T]:
    """Return a flow that does what `flow` does, and calls `saw` with each exchange before it continues.

    Any HTTP client can run it. `headers` are added to each request. A failed request is passed to `saw` with status 0.
    """
    try:
        request = next(flow)
        while True:
            if headers:
                request = replace(request, headers={**request.headers, **headers})
            sent_ns = monotonic_ns()
            try:
                response = yield request
            except FlowError as error:
                late = isinstance(error.__cause__, TimeoutError)
                saw(Exchange(request, sent_ns, monotonic_ns(), timeout=late))
                request = flow.throw(error)
            else:
                saw(Exchange(request, sent_ns, monotonic_ns(), response.status, response.headers))
                request = flow.send(response)
    except StopIteration as end:
        result: T = end.value
        return result
