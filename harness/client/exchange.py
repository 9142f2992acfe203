"""Exchanges of a flow: when each request was sent and what was answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic_ns
from typing import TypeVar

from earwitness.harness.client.flow import Flow, FlowError, HttpRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    sent_ns      `time.monotonic_ns()`, read before the first byte was sent
    received_ns  `time.monotonic_ns()`, read after the last byte was received
    status       HTTP status; 0: no answer
    timeout      there was no answer in time
    """

    request: HttpRequest
    sent_ns: int
    received_ns: int
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: bool = False


def observed(flow: Flow[T], saw: Callable[[Exchange], None], headers: Mapping[str, str] | None = None) -> Flow[T]:
    """Return the same flow, which calls `saw` with each exchange before it continues.

    It works with any HTTP client. `headers` are added to each request.
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
