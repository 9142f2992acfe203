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
from earwitness.harness.progress import one_line

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
MAX_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)
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


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """HTTP response that a flow is sent.

    Header names are in lower case; `set_cookies` are separate because there may be several.
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
    """Error of a flow that got no answer, or one from which it cannot continue.

    It names the step, what was expected and what came instead.
    """

    def __init__(self, step: str, expected: str, response: HttpResponse | None = None, detail: str = "") -> None:
        """Make a message of one line; of the response's body only the first 200 bytes are quoted.

        `detail` replaces the answer if there is no response.
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

    A retry does not help: the answer would be the same.
    """


def redirect_of(status: int, location: str) -> str:
    """Return words for an error message about a redirect that is not followed, "" if the answer is no redirect."""
    if status not in REDIRECTS or not location:
        return ""
    return f", a redirect to {shown(location)}, which is not followed"


def _spellings(secret: str) -> set[str]:
    """Return the forms in which a secret may appear in an answer, and in the part of its bytes that we show."""
    plain = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    plain |= {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    return plain | {repr(form.encode("utf-8", "replace"))[2:-1] for form in plain}


def hiding(flow: Flow[T], secrets: Iterable[str]) -> Flow[T]:
    """Return the same flow, whose FlowError shows none of `secrets`."""
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
        for _ in range(MAX_REDIRECTS):
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


def _request_arguments(request: HttpRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
        "content": request.body or None,
        "follow_redirects": False,
    }


def from_httpx(response: httpx.Response, body: bytes) -> HttpResponse:
    """Return an httpx response whose body was read as an `HttpResponse`."""
    return HttpResponse(
        response.status_code,
        {k.lower(): v for k, v in response.headers.items()},
        body,
        str(response.url),
        tuple(response.headers.get_list("set-cookie")),
    )


def _joined(request: HttpRequest, body: bytearray, part: bytes, since_s: float) -> None:
    body += part
    most = bounds()
    if len(body) > most.body_bytes:
        raise Unbounded(request.name or "a request", f"at most {most.body_bytes:,} bytes", detail="a longer answer")
    if time.monotonic() - since_s > most.answer_s:
        raise _too_slow(request)


def _too_slow(request: HttpRequest) -> FlowError:
    expected = f"the whole answer within {bounds().answer_s} s"
    return FlowError(request.name or "a request", expected, detail="an answer that had not ended by then")


def run_flow(flow: Flow[T], client: httpx.Client) -> T:
    """Run a flow on a blocking httpx client and return the flow's result. The client's own cookie jar is not used.

    Raises FlowError; httpx's transport errors pass through.
    """
    try:
        request = next(flow)
        while True:
            client.cookies.clear()
            body, since_s = bytearray(), time.monotonic()
            with client.stream(**_request_arguments(request)) as response:
                for part in response.iter_bytes():
                    _joined(request, body, part, since_s)
            request = flow.send(from_httpx(response, bytes(body)))
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
    body, since_s = bytearray(), time.monotonic()
    try:
        async with (
            asyncio.timeout(bounds().answer_s) as deadline,
            client.stream(**_request_arguments(request)) as response,
        ):
            async for part in response.aiter_bytes():
                _joined(request, body, part, since_s)
    except TimeoutError:
        if not deadline.expired():
            raise
        raise _too_slow(request) from None
    return from_httpx(response, bytes(body))
