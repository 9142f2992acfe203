"""Runner of HTTP flows in load processes, on geventhttpclient. Pytest and tools run the same flows on httpx."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

import gevent.socket
import gevent.ssl
from geventhttpclient.connectionpool import ConnectionPool
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError, HTTPSocketPoolResponse
from geventhttpclient.url import URL

from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.flow import (
    Flow,
    FlowError,
    HttpRequest,
    HttpResponse,
    StreamedRequest,
    Streaming,
    Unbounded,
)
from earwitness.harness.client.gevent_shell import open_tunnel
from earwitness.harness.client.network import (
    ANY,
    PORTS,
    SECURE,
    Network,
    Proxy,
    Tunnel,
    Unlisted,
    by_way_of,
    place_of,
    proxy_of,
)

T = TypeVar("T")


class OnRequest(Protocol):
    """Callback after every request of a flow, answered (status > 0) or not (status 0 and an error)."""

    def __call__(self, name: str, method: str, ms: float, status: int, length: int, error: Exception | None, /) -> None:
        """Take the figures of one request: statistics name, method, milliseconds, status, bytes of the body, error."""


class _TooMuch(HTTPParseError):
    """Error for an answer that exceeds a limit of `harness.client.bounds`."""


class Unsendable(ValueError):
    """Error for a request that cannot be encoded as bytes: nothing was sent."""


class Pool:
    """Pool of kept-alive connections by origin, shared by all users of a process.

    network      hosts, TLS and proxies
    timeout_s    limit in seconds for connecting, and for each time without data from the server; streamed answers have
                 the limit `answer_s` of `harness.client.bounds` instead
    per_origin   most connections to one origin; further requests wait

    geventhttpclient's own client is not used: it repeats GET, PUT and DELETE silently up to a hundred times when the
    server closes without an answer, and a tester must see such a failure.
    """

    def __init__(self, network: Network = ANY, *, timeout_s: float = 10.0, per_origin: int = 100) -> None:
        """Start without connections; the first request to an origin opens one."""
        self._network = network
        self._timeout_s, self._per_origin = timeout_s, per_origin
        self._pools: dict[tuple[str, str, int], _Origin] = {}
        self._used: WeakSet[gevent.socket.socket] = WeakSet()

    def request(self, request: HttpRequest) -> HttpResponse:
        """Send one request and return its response. Redirects are not followed.

        A GET or HEAD whose answer is not streamed is sent again on another connection if the server dropped the kept
        one. Raises Unsendable; OSError or HTTPParseError if there was no valid answer; FlowError if a streamed answer
        ended regularly, but incomplete; TargetError for certificates or a proxy's address that cannot be used.
        """
        url = URL(request.url)
        pool = self._pool(url)
        data = _request_bytes(request, url, pool.forwarder)
        while True:
            sock = pool.get_socket()
            kept = sock in self._used
            self._used.add(sock)
            try:
                return _exchange(pool, sock, request, data)
            except (HTTPConnectionClosed, ConnectionResetError, BrokenPipeError):
                # A kept connection that the server dropped at this very moment says nothing about this request, and
                # a read may be repeated on a new one. Anything else is an answer that did not come.
                if not kept or request.method not in ("GET", "HEAD") or isinstance(request, StreamedRequest):
                    raise

    def close(self) -> None:
        """Close every idle connection; a request in progress closes its connection when it ends."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def _pool(self, url: URL) -> _Origin:
        port = url.port or PORTS.get(url.scheme, 80)
        key = (url.scheme, url.host, port)
        found = self._pools.get(key)
        if found is None:
            self._network.check(str(url))
            options = {"size": self._per_origin, "connection_timeout": self._timeout_s}
            tls = self._network.tls(gevent.ssl.create_default_context) if url.scheme in SECURE else None
            found = self._pools[key] = _Origin(str(url), tls, **options, network_timeout=self._timeout_s)
        return found


class _Origin(ConnectionPool):
    """Connections to one origin, direct or through a proxy.

    `forwarder`: the proxy that forwards requests without TLS, or None. Requests over TLS go through a tunnel (CONNECT)
    instead.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None, **options: Any) -> None:
        self._tls, self._proxy = tls, proxy_of(url)
        self.forwarder = None if tls else self._proxy
        self._url, self._host = url, place_of(url)[0]
        target = place_of(url)
        peer = (self._proxy.host, self._proxy.port) if self._proxy else target
        super().__init__(*peer, *target, **options)

    def _connect_socket(self, sock: gevent.socket.socket, address: object) -> gevent.socket.socket:
        sock.connect(address)
        if self._tls is None:
            return sock
        if self._proxy is not None:
            open_tunnel(sock, Tunnel(self._proxy, self._url))
        return self._tls.wrap_socket(sock, server_hostname=self._host)


def _request_bytes(request: HttpRequest, url: URL, forwarder: Proxy | None) -> bytes:
    headers = {"host": url.netloc, "user-agent": "earwitness", "accept-encoding": "identity"}
    if request.body or request.method not in ("GET", "HEAD", "DELETE"):
        headers["content-length"] = str(len(request.body))
    headers.update((name.lower(), value) for name, value in request.headers.items())
    # An address may end with its host; a request line may not (RFC 9112 §3.2.1).
    where = url.request_uri if url.request_uri.startswith("/") else f"/{url.request_uri}"
    if forwarder is not None:  # RFC 9112 §3.2.2
        where = f"{url.scheme}://{url.netloc}{where}"
        headers |= forwarder.headers
    head = [f"{request.method} {where} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in head):
        raise Unsendable(f"a line break in the request {request.method} {url.path}")
    try:
        return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + request.body
    except UnicodeEncodeError:  # its text would show the header, which may be a secret
        raise Unsendable(f"a character that no header can have in {request.method} {url.path}") from None


class _Bounded(HTTPSocketPoolResponse):
    """Response that ends with an error when it exceeds a bound, because the whole body is held in memory."""

    _fed = 0

    def __init__(self, sock: gevent.socket.socket, pool: ConnectionPool, *, most_s: int, **options: Any) -> None:
        self._since_s, self._most_s = time.monotonic(), most_s
        super().__init__(sock, pool, **options)

    def feed(self, data: str | bytes) -> None:
        """Take bytes of the answer; raise HTTPParseError if it became too long or took too long."""
        self._fed += len(data)
        most = bounds().body_bytes if self.headers_complete else bounds().head_bytes
        if self._fed > most:
            raise _TooMuch(f"a {'body' if self.headers_complete else 'head'} longer than {most:,} bytes")
        if time.monotonic() - self._since_s > self._most_s:
            raise _TooMuch(f"an answer that had not ended after {self._most_s} s")
        super().feed(data)

    def some(self) -> bytes:
        """Block until bytes of the body arrive and return them; return b"" at the end of the body."""
        try:
            while not self._body_buffer and not self.message_complete and self._sock is not None:
                self.feed(self._sock.recv(self.block_size))
        except BaseException:
            self.release()
            raise
        data = bytes(self._body_buffer)
        self._body_buffer.clear()
        return data


def _exchange(pool: ConnectionPool, sock: gevent.socket.socket, request: HttpRequest, data: bytes) -> HttpResponse:
    streamed = isinstance(request, StreamedRequest)
    try:
        # A stream is allowed longer silences than other answers; a socket that is used again gets its own limit back.
        sock.settimeout(bounds().answer_s if streamed else pool.network_timeout)
        sock.sendall(data)
    except BaseException:
        pool.release_socket(sock)
        raise
    # From here on the response returns the socket to the pool, whole or broken.
    most_s = bounds().stream_s if streamed else bounds().answer_s
    raw = _Bounded(sock, pool, most_s=most_s, method=request.method, block_size=65536)
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in raw.headers:
        key = name.lower()
        if key == "set-cookie":
            cookies.append(value)
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    body = _read_stream(raw, request, headers) if streamed else raw.read()
    return HttpResponse(raw.status_code, headers, body, request.url, tuple(cookies))


def _read_stream(raw: _Bounded, request: HttpRequest, headers: Mapping[str, str]) -> bytes:
    """Pass the events of a streamed answer to the request until the answer ends; return b"".

    If the answer is no stream, return its body.
    """
    try:
        streaming = Streaming(request, raw.status_code, headers.get("content-type", ""))
        if not streaming.live:
            return bytes(raw.read())
        while part := raw.some():
            streaming.feed(part)
        streaming.end()
    finally:
        raw.release()  # no-op for an answer that has ended, which has returned its socket
    return b""


def run_flow_gevent(flow: Flow[T], *, pool: Pool, on_request: OnRequest | None = None) -> T:
    """Run a flow and return its result; `on_request` is called after each request.

    If a request gets no answer, a FlowError that states its name is raised inside the flow, which may handle the error.
    """
    try:
        request = next(flow)
        while True:
            try:
                response = _timed(pool, request, on_request)
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
    except (Unsendable, OSError, HTTPParseError, FlowError) as error:
        if on_request is not None:
            on_request(name, request.method, (perf_counter() - begin) * 1e3, 0, 0, error)
        if isinstance(error, FlowError):  # a stream that ended in order, but lacks something
            raise
        raise _unanswered(name, request, error) from error
    if on_request is not None:
        on_request(name, request.method, (perf_counter() - begin) * 1e3, response.status, len(response.body), None)
    return response


def _unanswered(name: str, request: HttpRequest, error: Exception) -> FlowError:
    if isinstance(error, Unsendable):
        return FlowError(name, "a request that can be sent", detail=str(error))
    if isinstance(error, Unlisted):
        return FlowError(name, "an address that the target file names", detail=str(error))
    if isinstance(error, _TooMuch):
        return Unbounded(name, f"an answer from {URL(request.url).netloc} within the limits", detail=str(error))
    what = "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
    expected = f"an answer from {URL(request.url).netloc}"
    return FlowError(name, expected, detail=f"{what}{by_way_of(request.url)}")
