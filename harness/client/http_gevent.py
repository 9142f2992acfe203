"""Run HTTP flows inside Locust, on geventhttpclient: the same flows that pytest runs on httpx."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Protocol, TypeVar

import gevent.ssl
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError
from geventhttpclient.url import URL

from harness.client.flow import Flow, FlowError, HttpRequest, HttpResponse

T = TypeVar("T")


class OnRequest(Protocol):
    """Told of every request: statistics name, method, milliseconds, status (0: no answer), bytes of the body, error."""

    def __call__(
        self, name: str, method: str, ms: float, status: int, length: int, error: Exception | None, /
    ) -> None: ...


class Pool:
    """Kept connections by origin, shared by all users of a process.

    timeout_s    to connect, and for each silence of the server
    per_origin   connections to one origin at the same time; more requests wait
    ca_file      own certificate authority for https
    """

    def __init__(self, *, timeout_s: float = 10.0, per_origin: int = 100, ca_file: str | None = None) -> None:
        self._timeout_s, self._per_origin, self._ca_file = timeout_s, per_origin, ca_file
        self._clients: dict[tuple[str, str, int | None], HTTPClient] = {}

    def request(self, request: HttpRequest) -> HttpResponse:
        """One request, one response; redirects are the flow's business. Raises OSError or HTTPParseError."""
        url = URL(request.url)
        client = self._client(url)
        raw = client.request(request.method, url.request_uri, body=request.body or None, headers=dict(request.headers))
        body = bytes(raw.read())
        headers: dict[str, str] = {}
        cookies: list[str] = []
        for name, value in raw.headers:
            key = name.lower()
            if key == "set-cookie":
                cookies.append(value)
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        return HttpResponse(raw.status_code, headers, body, request.url, tuple(cookies))

    def close(self) -> None:
        """Close every idle connection; a request that is on ends by itself."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _client(self, url: URL) -> HTTPClient:
        key = (url.scheme, url.host, url.port)
        found = self._clients.get(key)
        if found is None:
            options: dict[str, Any] = {}
            if self._ca_file is not None and url.scheme == "https":
                options["ssl_options"] = {"ca_certs": self._ca_file}
                options["ssl_context_factory"] = gevent.ssl.create_default_context
            found = self._clients[key] = HTTPClient.from_url(
                url,
                concurrency=self._per_origin,
                connection_timeout=self._timeout_s,
                network_timeout=self._timeout_s,
                **options,
            )
        return found


_shared = Pool()


def run_flow_gevent(flow: Flow[T], *, pool: Pool | None = None, on_request: OnRequest | None = None) -> T:
    """Run a flow to its end. A request without an answer becomes a FlowError that names it, thrown into the flow so
    that the flow may handle it."""
    used = pool or _shared
    try:
        request = next(flow)
        while True:
            try:
                response = _timed(used, request, on_request)
            except FlowError as error:
                request = flow.throw(error)
            else:
                request = flow.send(response)
    except StopIteration as end:
        result: T = end.value
        return result


def _timed(pool: Pool, request: HttpRequest, on_request: OnRequest | None) -> HttpResponse:
    name = request.name or f"{request.method} {URL(request.url).path}"
    begin = perf_counter()
    try:
        response = pool.request(request)
    except (OSError, HTTPParseError) as error:
        if on_request is not None:
            on_request(name, request.method, (perf_counter() - begin) * 1e3, 0, 0, error)
        what = "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
        raise FlowError(name, f"an answer from {URL(request.url).netloc}", detail=what) from error
    if on_request is not None:
        on_request(name, request.method, (perf_counter() - begin) * 1e3, response.status, len(response.body), None)
    return response
