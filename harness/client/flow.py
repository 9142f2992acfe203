"""HTTP without I/O: a flow is a generator that yields requests, is sent responses, and returns its result.

    def profile(url: str, token: str) -> Flow[dict]:
        response = yield HttpRequest("GET", url, headers={"authorization": f"Bearer {token}"})
        return response.json()

The same flow then runs on httpx in pytest and tools (`run_flow`, `run_flow_async`) and on Locust's gevent client
(`harness.client.http_gevent`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import quote, quote_plus, urljoin, urlsplit

import orjson

from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.network import shown
from earwitness.harness.client.server_events import EventSplitter
from earwitness.harness.progress import one_line

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
MAX_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)
EVENT_STREAM = "text/event-stream"
HIDDEN = "(hidden)"
SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """HTTP request of a flow. The client that runs the flow never follows redirects.

    `name` groups requests in statistics, so it contains no ids.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    name: str = ""


def _ignore() -> None:
    """No-op: default of `StreamedRequest.on_open`."""


def _drop(event: str) -> None:
    """No-op: default of `StreamedRequest.on_event`."""


def _complete() -> str:
    """Return "", so that any stream counts as complete: default of `StreamedRequest.missing`."""
    return ""


@dataclass(frozen=True, slots=True)
class StreamedRequest(HttpRequest):
    """HTTP request whose answer is a stream of server-sent events, which are passed on while they arrive.

    The callbacks must not block. They are called only for an answer with status 200 and the type `text/event-stream`;
    the flow is then sent a response without a body. Any other answer is read whole, and sent to the flow with its body.

    on_open   called when the head of the answer has arrived
    on_event  called with the lines of each event (`server_events.parse_event` reads them)
    missing   called at the end of the stream; returns words for what is missing, which become a FlowError, or "" if the
              answer is complete

    `answer_s` of `harness.client.bounds` limits the wait for the first byte, and each silence. `stream_s` and `body_mb`
    limit the whole stream.
    """

    on_open: Callable[[], None] = _ignore
    on_event: Callable[[str], None] = _drop
    missing: Callable[[], str] = _complete


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """HTTP response, as it is sent into a flow.

    Header names are in lower case. `set_cookies` has each `Set-Cookie` header separately, because there may be several.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""
    set_cookies: tuple[str, ...] = ()

    def json(self) -> Any:
        """Return the body as parsed JSON.

        Raises ValueError, also for deep nesting, lone surrogates, and numbers of thousands of digits.
        """
        return orjson.loads(self.body)


Flow: TypeAlias = Generator[HttpRequest, HttpResponse, T]
"""An HTTP conversation: a generator of requests that receives responses and returns a result."""


class FlowError(Exception):
    """Error of a flow that got no answer, or an answer with which it cannot continue.

    The message states the step, what was expected and what came instead.
    """

    def __init__(self, step: str, expected: str, response: HttpResponse | None = None, detail: str = "") -> None:
        """Make the message, one line; of the response's body only the first 200 bytes are quoted.

        `step`: what was tried; `expected`: what the answer should have been; `detail`: what came instead, if there is
        no response.
        """
        self.step, self.expected, self.response = step, expected, response
        if response is not None:
            to = redirect_of(response.status, response.headers.get("location", ""))
            detail = f"{response.status} {response.body[:200]!r}{to}"
        super().__init__(one_line(f"{step}: expected {expected}, got {detail}"))

    @property
    def status(self) -> int:
        """Return the HTTP status of the answer, 0 if there was none."""
        return self.response.status if self.response is not None else 0

    def hide(self, secrets: Iterable[str]) -> None:
        """Remove `secrets` from the message, because a platform may repeat in its answer what it was sent."""
        text = str(self)
        for secret in (one for one in secrets if len(one) >= SHORTEST_SECRET):
            for form in sorted(_spellings(secret), key=len, reverse=True):
                text = text.replace(form, HIDDEN)
        self.args = (text,)


class Unbounded(FlowError):
    """Error of a flow whose answer, or whose answers together, exceed a limit of `harness.client.bounds`.

    A retry would not help, because the answer would exceed the limit again.
    """


def redirect_of(status: int, location: str) -> str:
    """Return words for an error message about a redirect that is not followed, "" if the answer is no redirect."""
    if status not in REDIRECTS or not location:
        return ""
    return f", a redirect to {shown(location)}, which is not followed"


def _spellings(secret: str) -> set[str]:
    """Return the forms in which `secret` may appear in an answer, or in the quoted `repr` of the answer's bytes."""
    plain = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    plain |= {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    return plain | {repr(form.encode("utf-8", "replace"))[2:-1] for form in plain}


def hiding(flow: Flow[T], secrets: Iterable[str]) -> Flow[T]:
    """Return a flow that does what `flow` does, but whose FlowError shows none of `secrets`."""
    try:
        return (yield from flow)
    except FlowError as error:
        error.hide(secrets)
        raise


class Browser:
    """Cookie jar of one virtual browser. Cookies are kept for each host, and shared by its ports, as in browsers."""

    def __init__(self) -> None:
        """Start without cookies."""
        self._cookies: dict[tuple[str, str, str], str] = {}

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"", name: str = ""
    ) -> Flow[HttpResponse]:
        """Send one request with this browser's cookies, and store the cookies of the answer; return the answer.

        `name` labels the request in statistics; "" stands for METHOD and path.
        """
        parts = urlsplit(url)
        sent = dict(headers or {})
        cookie = "; ".join(
            f"{key}={value}"
            for (host, path, key), value in self._cookies.items()
            if host == parts.hostname and (parts.path or "/").startswith(path)
        )
        if cookie:
            sent["cookie"] = cookie
        response = yield HttpRequest(method, url, sent, body, name or f"{method} {parts.path}")
        self._store(parts.hostname or "", response)
        return response

    def follow(self, url: str, *, stop: Callable[[str], bool] | None = None, name: str = "") -> Flow[HttpResponse]:
        """Send a GET, follow redirects across hosts as a browser does, and return the last answer.

        `stop`: if it returns true for the address of a redirect, the flow ends with that redirect. `name` labels the
        first request in statistics, the others are labelled METHOD and path. Raises FlowError after `MAX_REDIRECTS`
        redirects.
        """
        for _ in range(MAX_REDIRECTS + 1):
            response = yield from self.request("GET", url, name=name)
            if response.status not in REDIRECTS:
                return response
            url = urljoin(url, response.headers.get("location", ""))
            if stop is not None and stop(url):
                return response
            name = ""
        raise FlowError("following redirects", f"at most {MAX_REDIRECTS} of them", detail=f"one more, to {url}")

    def _store(self, host: str, response: HttpResponse) -> None:
        for line in response.set_cookies:
            jar: SimpleCookie = SimpleCookie()
            try:
                jar.load(line)
            except CookieError:
                continue
            for key, morsel in jar.items():
                place = (host, morsel["path"] or "/", key)
                if morsel["max-age"] == "0" or morsel.value == "":
                    self._cookies.pop(place, None)
                else:
                    self._cookies[place] = morsel.value


class Streaming:
    """Decoder of the answer to a request whose head has arrived. It passes the events of a stream to the request.

    live  the answer is a stream; False: it is a plain answer, and the caller collects its bytes
    """

    def __init__(self, request: HttpRequest, status: int, kind: str) -> None:
        """Decide whether the answer is a stream; if so, call the request's `on_open`.

        `status`: HTTP status; `kind`: the header content-type, "" if there is none.
        """
        self._request, self._events = request, EventSplitter()
        streamed = isinstance(request, StreamedRequest)
        self.live = streamed and status == 200 and kind.strip().lower().startswith(EVENT_STREAM)
        if isinstance(request, StreamedRequest) and self.live:
            request.on_open()

    def feed(self, data: bytes) -> None:
        """Pass the events that `data` completes to the request's `on_event`."""
        for event in self._events.feed(data):
            self._pass_on(event)

    def end(self) -> None:
        """Process the end of the stream. Raises FlowError if the request's `missing` returns a text."""
        rest = self._events.rest()
        if rest is not None:
            self._pass_on(rest)
        if isinstance(self._request, StreamedRequest) and (missing := self._request.missing()):
            raise FlowError(self._request.name or "a request", "a whole streamed answer", detail=missing)

    def _pass_on(self, event: str | bytes) -> None:
        if isinstance(self._request, StreamedRequest):
            self._request.on_event(event if isinstance(event, str) else event.decode(errors="replace"))


def _request_arguments(request: HttpRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
        "content": request.body or None,
        "follow_redirects": False,
    }


def from_httpx(response: httpx.Response, body: bytes) -> HttpResponse:
    """Return an `HttpResponse` with the status and headers of `response` and the `body` that was read from it."""
    return HttpResponse(
        response.status_code,
        {k.lower(): v for k, v in response.headers.items()},
        body,
        str(response.url),
        tuple(response.headers.get_list("set-cookie")),
    )


class _Reading:
    """Body of an answer that httpx is reading, within the limits of `harness.client.bounds`."""

    def __init__(self, request: HttpRequest, since_s: float) -> None:
        self._request, self._since_s, self._length = request, since_s, 0
        self.body = bytearray()
        self.most_s = bounds().stream_s if isinstance(request, StreamedRequest) else bounds().answer_s
        self._stream: Streaming | None = None

    def head(self, response: httpx.Response) -> None:
        """Process the status and headers of the answer: decide whether it is a stream."""
        kind = response.headers.get("content-type", "")
        self._stream = Streaming(self._request, response.status_code, kind)

    def feed(self, part: bytes) -> None:
        """Process bytes of the body. Raises FlowError if the body became too long, or the answer took too long."""
        self._length += len(part)
        most = bounds().body_bytes
        if self._length > most:
            raise Unbounded(self._request.name or "a request", f"at most {most:,} bytes", detail="a longer answer")
        if time.monotonic() - self._since_s > self.most_s:
            raise self.too_slow()
        if self._stream is not None and self._stream.live:
            self._stream.feed(part)
        else:
            self.body += part

    def end(self) -> None:
        """Process the end of the answer. Raises FlowError if the request's `missing` returns a text."""
        if self._stream is not None and self._stream.live:
            self._stream.end()

    def too_slow(self) -> FlowError:
        """Return the error for an answer that takes longer than `most_s` seconds."""
        expected = f"the whole answer within {self.most_s} s"
        return FlowError(self._request.name or "a request", expected, detail="an answer that had not ended by then")


def run_flow(flow: Flow[T], client: httpx.Client) -> T:
    """Run a flow on a blocking httpx client and return the flow's result. The client's own cookie jar is not used.

    Raises FlowError; httpx's transport errors pass through.
    """
    try:
        request = next(flow)
        while True:
            client.cookies.clear()
            reading = _Reading(request, time.monotonic())
            with client.stream(**_request_arguments(request)) as response:
                reading.head(response)
                for part in response.iter_bytes():
                    reading.feed(part)
            reading.end()
            request = flow.send(from_httpx(response, bytes(reading.body)))
    except StopIteration as end:
        result: T = end.value
        return result


async def run_flow_async(flow: Flow[T], client: httpx.AsyncClient) -> T:
    """Run a flow on an asyncio httpx client and return the flow's result. The client's own cookie jar is not used.

    Raises FlowError; httpx's transport errors pass through.
    """
    try:
        request = next(flow)
        while True:
            request = flow.send(await _answer(request, client))
    except StopIteration as end:
        result: T = end.value
        return result


async def _answer(request: HttpRequest, client: httpx.AsyncClient) -> HttpResponse:
    client.cookies.clear()
    reading = _Reading(request, time.monotonic())
    try:
        async with (
            asyncio.timeout(reading.most_s) as deadline,
            client.stream(**_request_arguments(request)) as response,
        ):
            reading.head(response)
            async for part in response.aiter_bytes():
                reading.feed(part)
    except TimeoutError:
        if not deadline.expired():
            raise
        raise reading.too_slow() from None
    reading.end()
    return from_httpx(response, bytes(reading.body))
