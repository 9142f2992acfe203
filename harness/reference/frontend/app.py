"""Frontend: serves the page and proxies `/api/*` to the backend and `/auth/*` to auth, so the page has one origin."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from earwitness.harness.reference.answers import ApiError, json_response
from earwitness.harness.reference.breaker import CircuitBreaker, CircuitOpen
from earwitness.harness.reference.service import Service

CONNECT_TIMEOUT_S = 2.0
BACKEND_TIMEOUT = aiohttp.ClientTimeout(total=15.0, sock_connect=CONNECT_TIMEOUT_S)
AUTH_TIMEOUT = aiohttp.ClientTimeout(total=3.5, sock_connect=CONNECT_TIMEOUT_S)
"""Timeout of auth's answers, longer than auth itself waits for the identity provider."""
PAGES = {
    "/": ("page.html", "text/html"),
    **{f"/{name}": (name, "text/javascript") for name in ("page.js", "rooms.js", "session.js", "view.js")},
    **{f"/{name}": (name, "text/css") for name in ("page.css", "room.css")},
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
#: Headers that apply to one connection only (RFC 9110 §7.6.1), or that the sender of the next message sets anew.
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade", "host", "content-length"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FrontendSettings:
    """Settings of the frontend.

    `public_url` and `auth_url` are the addresses that browsers use; `backend_url` is the edge. In `test_mode` the page
    is marked as a test environment.
    """

    name: str
    fd: int
    public_url: str
    auth_url: str
    backend_url: str
    test_mode: bool = False


class Unreachable(ApiError):
    """Error for a service behind the frontend that did not answer. The circuit breaker counts it as a failure."""


class Frontend(Service):
    """The frontend service.

    No URL of the page contains a token: the page exchanges a one-time code, and opens its socket with a ticket.
    """

    def __init__(self, settings: FrontendSettings) -> None:
        """Read the files of the page, and add their routes and those to backend and auth."""
        super().__init__(settings.name)
        self.settings = settings
        self.ws_url = websocket_url(settings.backend_url)
        self.auth_breaker = CircuitBreaker("auth", (Unreachable,))
        self.http = aiohttp.ClientSession(
            timeout=BACKEND_TIMEOUT, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), connector=_connector()
        )
        folder = files(__package__)
        self.pages = {path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in PAGES.items()}
        for path in PAGES:
            self.app.router.add_get(path, self.page)
        self.app.router.add_get("/config.json", self.config)
        self.app.router.add_route("*", "/api/{tail:.*}", self.to_backend)
        self.app.router.add_route("*", "/auth/{tail:.*}", self.to_auth)

    async def waiting_for(self) -> str | None:
        """Implement `Service.waiting_for`: check that auth and the backend are ready."""
        for what, url in (("auth", self.settings.auth_url), ("the backend", self.settings.backend_url)):
            try:
                async with self.http.get(f"{url}/ready") as response:
                    if response.status != 200:
                        return what
            except (aiohttp.ClientError, TimeoutError):
                return what
        return None

    async def stop(self) -> None:
        """Implement `Service.stop`: close the HTTP client."""
        await self.http.close()

    async def page(self, request: web.Request) -> web.Response:
        """Answer a request: return a file of the page, with its security headers."""
        body, kind = self.pages[request.path]
        if self.settings.test_mode:
            body = body.replace(b"<body>", b'<body data-mode="test">')
        parts = urlsplit(self.ws_url)
        policy = (
            "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'none'; "
            f"connect-src 'self' {parts.scheme}://{parts.netloc}"
        )
        headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            # The address of the page carries the one-time code of a login.
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    async def config(self, request: web.Request) -> web.Response:
        """Answer a request: return the page's configuration: the addresses of auth and of the socket."""
        return json_response({"auth_url": self.settings.auth_url, "ws_url": self.ws_url})

    async def to_backend(self, request: web.Request) -> web.Response:
        """Answer a request: forward a request to the backend and return the answer."""
        return await self.forward(request, self.settings.backend_url, "the backend", BACKEND_TIMEOUT)

    async def to_auth(self, request: web.Request) -> web.Response:
        """Answer a request: forward a request to auth through a circuit breaker and return the answer.

        While auth does not answer, users get an error at once instead of after a wait.
        """
        try:
            return await self.auth_breaker.call(
                lambda: self.forward(request, self.settings.auth_url, "auth", AUTH_TIMEOUT)
            )
        except CircuitOpen as error:
            raise ApiError(
                503, "unavailable", "Logins do not work just now; try again.", retry_after_s=error.retry_after_s
            ) from None

    async def forward(self, request: web.Request, base: str, what: str, timeout: aiohttp.ClientTimeout) -> web.Response:
        """Forward a request unchanged to the service at `base`, and return its answer.

        Nothing is sent twice. `what`: name of the service, for the error. Raises Unreachable without an answer within
        `timeout`.
        """
        # As the client wrote it: decoding and encoding again could change its meaning.
        url = URL(base.rstrip("/") + request.raw_path, encoded=True)
        headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP)
        headers["X-Forwarded-For"] = ", ".join(filter(None, (headers.get("X-Forwarded-For"), request.remote)))
        body = await request.read()
        try:
            async with self.http.request(
                request.method, url, headers=headers, data=body or None, allow_redirects=False, timeout=timeout
            ) as answer:
                content = await answer.read()
        except TimeoutError:
            raise Unreachable(504, "gateway_timeout", f"The frontend got no answer of {what} in time.") from None
        except aiohttp.ClientError:
            raise Unreachable(503, "unavailable", f"The frontend cannot reach {what}.", retry_after_s=1) from None
        kept = CIMultiDict((k, v) for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP)
        return web.Response(body=content, status=answer.status, headers=kept)


def _connector() -> aiohttp.TCPConnector:
    # Shorter than the 75 s of the services behind: a connection that is being closed is never used again.
    return aiohttp.TCPConnector(limit=200, keepalive_timeout=30)


def websocket_url(backend_url: str) -> str:
    """Return the address of the WebSocket of a backend whose http(s) address is `backend_url`."""
    parts = urlsplit(backend_url)
    return urlunsplit(
        ("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path.rstrip("/") + "/ws", "", "")
    )
