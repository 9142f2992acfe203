"""Streamed answers to requests: events are passed on while they arrive, on gevent, httpx and asyncio."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from earwitness.harness.client.flow import (
    Flow,
    FlowError,
    HttpResponse,
    StreamedRequest,
    Unbounded,
    run_flow,
    run_flow_async,
)
from earwitness.harness.client.http_gevent import Pool, run_flow_gevent

Run = Callable[[Flow[Any]], Any]


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(timeout_s=5)
    yield made
    made.close()


@pytest.fixture(params=["gevent", "httpx", "asyncio"])
def run(request: pytest.FixtureRequest, pool: Pool) -> Run:
    """Run a flow on one of the three clients."""

    async def on_asyncio(flow: Flow[Any]) -> Any:
        async with httpx.AsyncClient(timeout=5) as client:
            return await run_flow_async(flow, client)

    def on_httpx(flow: Flow[Any]) -> Any:
        with httpx.Client(timeout=5) as client:
            return run_flow(flow, client)

    return {
        "gevent": lambda flow: run_flow_gevent(flow, pool=pool),
        "httpx": on_httpx,
        "asyncio": lambda flow: asyncio.run(on_asyncio(flow)),
    }[request.param]


class Listener:
    """Callbacks of a request, and what they were called with."""

    def __init__(self, url: str) -> None:
        self.url, self.told, self.lacks = url, list[str](), ""

    def opened(self) -> None:
        self.told.append("open")

    def event(self, text: str) -> None:
        self.told.append(text)

    def missing(self) -> str:
        self.told.append("end")
        return self.lacks

    def ask(self, *parts: str, **script: str) -> Flow[HttpResponse]:
        body = json.dumps({"parts": parts, **script}).encode()
        return (
            yield StreamedRequest(
                "POST", f"{self.url}/stream", {}, body, "asking", self.opened, self.event, self.missing
            )
        )


@pytest.fixture
def listener(server: Any) -> Listener:
    return Listener(server.http_url)


def test_each_event_is_passed_on_when_it_arrives(listener: Listener, run: Run) -> None:
    """The server sends the next one only after the one before was passed on: otherwise this would never end."""

    def event(text: str) -> None:
        listener.told.append(text)
        httpx.get(f"{listener.url}/go")

    listener.event = event  # type: ignore[method-assign]
    response = run(listener.ask("data: a\n\n", "GO", "data: b", "\n\ndata:", " c\n\n", "GO", "GO", "data: [DONE]"))
    assert listener.told == ["open", "data: a", "data: b", "data: c", "data: [DONE]", "end"]
    assert (response.status, response.body) == (200, b"")


def test_an_answer_that_is_no_stream(listener: Listener, run: Run) -> None:
    """It is a plain one: its body is in the response, and no callback is called."""
    response = run(listener.ask('{"a"', ": 1}", type="application/json"))
    assert (response.json(), listener.told) == ({"a": 1}, [])


def test_a_stream_that_lacks_something(listener: Listener, run: Run) -> None:
    """It ended in order, but its reader knows better: the flow gets an error that names the step."""
    listener.lacks = "no [DONE] came"
    with pytest.raises(FlowError, match=r"^asking: expected a whole streamed answer, got no \[DONE\] came$"):
        run(listener.ask("data: a\n\n"))


def test_a_stream_that_is_cut(listener: Listener, run: Run) -> None:
    """What came is passed on; the end is an error and no end of the stream."""
    with pytest.raises((FlowError, httpx.RemoteProtocolError)):
        run(listener.ask("data: a\n\n", "data: half", end="cut"))
    assert listener.told == ["open", "data: a"]


def test_a_silence_ends_the_stream(listener: Listener, pool: Pool, bounded: Any) -> None:
    """It may last `answer_s`, however long the pool waits for other answers; other requests keep their own limit."""
    bounded(answer_s=1)
    begin = time.monotonic()
    with pytest.raises(FlowError, match="no answer in time"):
        run_flow_gevent(listener.ask("data: a\n\n", end="silent"), pool=pool)
    assert 0.9 < time.monotonic() - begin < 3
    assert listener.told == ["open", "data: a"]


def test_a_stream_without_end(listener: Listener, run: Run, bounded: Any) -> None:
    """It is given up at the limit of bytes, and at that of time."""
    bounded(body_mb=1)
    with pytest.raises(FlowError, match=r"longer|at most 1,048,576 bytes"):
        run(listener.ask(*["data: " + "x" * 65536 + "\n\n"] * 20))
    bounded(body_mb=64, stream_s=0)
    with pytest.raises(FlowError, match="had not ended"):
        run(listener.ask(*["data: x\n\n"] * 20))


def test_a_limit_of_ours_is_told_apart(listener: Listener, pool: Pool, bounded: Any) -> None:
    """What misses because of it is no fault of the platform, unlike a stream that was cut."""
    bounded(stream_s=0)
    with pytest.raises(Unbounded):
        run_flow_gevent(listener.ask("data: x\n\n"), pool=pool)
    bounded(stream_s=10)
    with pytest.raises(FlowError) as caught:
        run_flow_gevent(listener.ask("data: x\n\n", end="cut"), pool=pool)
    assert not isinstance(caught.value, Unbounded)


def test_a_stream_is_one_request_in_statistics(listener: Listener, pool: Pool) -> None:
    """Whole: with its status. Lacking something: with the error, because Locust would count a success."""
    told: list[tuple[int, str]] = []

    def on_request(*of: Any) -> None:
        told.append((of[3], str(of[5] or "")))

    run_flow_gevent(listener.ask("data: a\n\n"), pool=pool, on_request=on_request)
    listener.lacks = "an error inside"
    with pytest.raises(FlowError):
        run_flow_gevent(listener.ask("data: a\n\n"), pool=pool, on_request=on_request)
    assert told == [(200, ""), (0, "asking: expected a whole streamed answer, got an error inside")]


def test_a_connection_is_used_again(listener: Listener, pool: Pool) -> None:
    """After a whole stream the next request goes over the same connection, with the limits of its own kind."""
    for _ in range(3):
        run_flow_gevent(listener.ask("data: a\n\n"), pool=pool)
    (origin,) = pool._pools.values()
    assert len(pool._used) == 1
    assert origin.network_timeout == 5
