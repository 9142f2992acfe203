"""HTTP without I/O: a flow yields requests, is sent responses, and returns its result.

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
    """One request.

    `name` groups it in statistics (no ids in it). The transport never follows redirects.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    name: str = ""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One response.

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
    """Error of a flow that got an answer from which it cannot continue.

    It names the step, what was expected and what came instead.
    """

    def __init__(self, step: str, expected: str, response: HttpResponse | None = None, detail: str = "") -> None:
        """Put step, expectation and answer into one line; of a body only the first 200 bytes are quoted."""
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
        """Remove `secrets` from the text: a platform may repeat in its answer what it was sent."""
        text = str(self)
        for secret in (one for one in secrets if len(one) >= SHORTEST_SECRET):
            for form in sorted(_spellings(secret), key=len, reverse=True):
                text = text.replace(form, HIDDEN)
        self.args = (text,)


class Unbounded(FlowError):
    """Error for answers that exceed a bound (`harness.client.bounds`): one, or all of a step together.

    Another user would get the same, so a retry does not help.
    """


def redirect_of(status: int, location: str) -> str:
    """Return the words about a redirect for an error message, "" if the answer is none.

    The words say that the redirect is not followed.
    """
    if status not in REDIRECTS or not location:
        return ""
    return f", a redirect to {shown(location)}, which is not followed"


def _spellings(secret: str) -> set[str]:
    """Return the forms in which a secret may appear in an answer, and in the part of its bytes that we show."""
    plain = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    plain |= {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    return plain | {repr(form.encode("utf-8", "replace"))[2:-1] for form in plain}


def hiding(flow: Flow[T], secrets: Iterable[str]) -> Flow[T]:
    """Return the same flow; its FlowError shows none of `secrets`."""
    try:
        return (yield from flow)
    except FlowError as error:
        error.hide(secrets)
        raise


class Browser:
    """Cookies of one virtual browser, kept per host as browsers do (ports share them)."""

    def __init__(self) -> None:
        """Start without cookies."""
        self._cookies: dict[tuple[str, str, str], str] = {}

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"", name: str = ""
    ) -> Flow[HttpResponse]:
        """Send one request with this browser's cookies, and store the cookies of the answer."""
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
        """Send a GET and follow redirects across hosts, as a browser does.

        If `stop(url)` is true, the flow ends with the redirect and does not visit that address. Raises FlowError after
        `MAX_REDIRECTS` redirects.
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
    """Run a flow to its end on a blocking httpx client (its own cookie jar is not used).

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
    """Run a flow to its end on an asyncio httpx client (its own cookie jar is not used).

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
