"""HTTP flows on gevent's client: the same answers as on httpx, and clear words where there is none."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest

from earwitness.harness.client.flow import (
    Browser,
    Flow,
    FlowError,
    HttpRequest,
    HttpResponse,
    hiding,
    run_flow,
    run_flow_async,
)
from earwitness.harness.client.http_gevent import Pool, run_flow_gevent
from earwitness.harness.client.network import Network


@pytest.fixture
def pool() -> Any:
    made = Pool(timeout_s=0.5)
    yield made
    made.close()


def one(url: str, method: str = "GET", **request: Any) -> Flow[HttpResponse]:
    return (yield HttpRequest(method, url, **request))


def test_a_flow_gets_the_same_answers_as_on_httpx(server: Any, pool: Pool) -> None:
    """Cookies of one browser through a redirect, both set, one with a comma in its date."""

    def visit() -> Flow[Any]:
        browser = Browser()
        answer = yield from browser.follow(f"{server.http_url}/redirect")
        body = yield from browser.request("POST", f"{server.http_url}/echo", body=b"some bytes")
        return answer.status, answer.json(), answer.set_cookies, answer.url, body.body, dict(browser._cookies)

    with httpx.Client(timeout=5) as client:
        expected = run_flow(visit(), client)
    assert run_flow_gevent(visit(), pool=pool) == expected
    assert len(expected[2]) == 2


@pytest.mark.parametrize("end", ["", "/", "?q=1", "/?q=1"])
def test_an_address_without_a_path(server: Any, pool: Pool, end: str) -> None:
    """The root is asked for, as httpx does it; a request line without a path would be none."""
    with httpx.Client(timeout=5) as client:
        assert run_flow(one(f"{server.http_url}{end}"), client).body == b"root"
    assert run_flow_gevent(one(f"{server.http_url}{end}"), pool=pool).body == b"root"


@pytest.mark.parametrize("value", ["two\nlines", "日本"])
def test_a_header_that_no_request_can_have(server: Any, pool: Pool, value: str) -> None:
    """A failed step, told like any other, without the value: it may be a secret."""
    told: list[int] = []
    flow = one(f"{server.http_url}/cookies", headers={"x-key": value}, name="asking")
    with pytest.raises(FlowError, match=r"^asking: expected a request that can be sent") as caught:
        run_flow_gevent(flow, pool=pool, on_request=lambda *all_of_it: told.append(all_of_it[3]))
    assert value not in str(caught.value)
    assert told == [0]


def test_a_redirect_is_not_followed(server: Any, pool: Pool) -> None:
    """The flow decides where to go."""
    response = run_flow_gevent(one(f"{server.http_url}/redirect"), pool=pool)
    assert (response.status, response.headers["location"]) == (302, "/cookies")


def test_each_request_is_told(server: Any, pool: Pool) -> None:
    """Name, method, time, status, length; without a name the path stands for it."""
    told: list[tuple[Any, ...]] = []

    def two() -> Flow[None]:
        yield HttpRequest("GET", f"{server.http_url}/cookies?secret=1", name="visit")
        yield HttpRequest("POST", f"{server.http_url}/echo?secret=1", body=b"abc")

    run_flow_gevent(two(), pool=pool, on_request=lambda *all_of_it: told.append(all_of_it))
    assert [(t[0], t[1], *t[3:]) for t in told] == [
        ("visit", "GET", 200, 2, None),
        ("POST /echo", "POST", 200, 8, None),
    ]
    assert all(0 < t[2] < 500 for t in told)


@pytest.mark.parametrize("path", ["/half", "/garbage", "/silence", "/nothing"])
def test_no_whole_answer_is_a_flow_error_with_the_steps_name(server: Any, pool: Pool, path: str) -> None:
    """A body cut short, no HTTP, silence beyond the timeout: the error names the step, and is told."""
    told: list[tuple[Any, ...]] = []
    flow = one(f"{server.http_url}{path}", name="reading")
    with pytest.raises(FlowError, match=r"^reading: expected an answer from 127\.0\.0\.1") as caught:
        run_flow_gevent(flow, pool=pool, on_request=lambda *all_of_it: told.append(all_of_it))
    assert caught.value.status == 0
    assert told[0][3] == 0
    assert isinstance(told[0][5], Exception)


@pytest.mark.parametrize(
    ("path", "words"), [("/endless", "a body longer than"), ("/endless-head", "a head longer than")]
)
def test_an_answer_without_end(server: Any, pool: Pool, bounded: Any, path: str, words: str) -> None:
    """It is given up at a limit, on both clients: a platform must not use up the tester's memory."""
    bounded(body_mb=2)
    with pytest.raises(FlowError, match=words):
        run_flow_gevent(one(f"{server.http_url}{path}"), pool=pool)
    with httpx.Client(timeout=5) as client, pytest.raises((FlowError, httpx.RemoteProtocolError)):
        run_flow(one(f"{server.http_url}{path}"), client)


def test_an_answer_that_takes_too_long(server: Any, pool: Pool, bounded: Any) -> None:
    """However steadily it drips: its time is over, on all clients."""
    bounded(answer_s=0)
    with pytest.raises(FlowError, match="had not ended after 0 s"):
        run_flow_gevent(one(f"{server.http_url}/endless"), pool=pool)
    with httpx.Client(timeout=5) as client, pytest.raises(FlowError, match="whole answer within 0 s"):
        run_flow(one(f"{server.http_url}/endless"), client)

    async def ask() -> None:
        async with httpx.AsyncClient(timeout=5) as client:
            await run_flow_async(one(f"{server.http_url}/endless"), client)

    with pytest.raises(FlowError, match="whole answer within 0 s"):
        asyncio.run(ask())


def test_an_answer_nested_too_deeply() -> None:
    """As any other that is no JSON."""
    with pytest.raises(ValueError, match="depth limit"):
        HttpResponse(200, {}, b"[" * 100_000).json()


def test_what_was_sent_is_hidden(server: Any, pool: Pool) -> None:
    """A platform that repeats a secret in its answer, in whatever spelling, does not bring it into our words."""
    secret = 'pa ss"wörd'
    body = f"{secret}|{quote(secret)}|{quote_plus(secret)}|{json.dumps(secret)}".encode()

    def ask() -> Flow[None]:
        response = yield HttpRequest("POST", f"{server.http_url}/echo", body=body)
        raise FlowError("login", "a token", response, detail=response.body.decode())

    with pytest.raises(FlowError) as caught:
        run_flow_gevent(hiding(ask(), [secret, "a"]), pool=pool)
    assert "wörd" not in str(caught.value)
    for form in ("w%C3%B6rd", "\\xc3\\xb6rd", "u00f6rd"):
        assert form not in str(caught.value)
    assert "a token" in str(caught.value)  # too short to be a secret


def test_nobody_listens(pool: Pool) -> None:
    """Connection refused is a FlowError too."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(FlowError, match="refused"):
            run_flow_gevent(one(f"http://127.0.0.1:{taken.getsockname()[1]}/"), pool=pool)


def test_a_flow_may_handle_the_missing_answer(server: Any, pool: Pool) -> None:
    """The error is raised inside the flow, which can go on with another request."""

    def careful() -> Flow[int]:
        try:
            yield HttpRequest("GET", f"{server.http_url}/half")
        except FlowError:
            response = yield HttpRequest("GET", f"{server.http_url}/cookies")
            return response.status
        return 0

    assert run_flow_gevent(careful(), pool=pool) == 200


def test_a_failed_request_does_not_use_up_the_pool(server: Any) -> None:
    """With one connection an origin, requests go on after each kind of failure."""
    pool = Pool(timeout_s=0.3, per_origin=1)
    for path in ("/half", "/garbage", "/silence"):
        with pytest.raises(FlowError):
            run_flow_gevent(one(f"{server.http_url}{path}"), pool=pool)
        assert run_flow_gevent(one(f"{server.http_url}/cookies"), pool=pool).status == 200
    pool.close()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_a_request_is_never_repeated_silently(server: Any, pool: Pool, method: str) -> None:
    """A server that hangs up instead of answering has been asked once, and that is told."""

    def asked() -> int:
        return int(run_flow_gevent(one(f"{server.http_url}/counts"), pool=pool).body)

    before = asked()
    fresh = Pool(timeout_s=0.5)
    with pytest.raises(FlowError):
        run_flow_gevent(one(f"{server.http_url}/nothing", method), pool=fresh)
    assert asked() == before + 1


def test_a_kept_connection_that_was_dropped_is_replaced(server: Any, pool: Pool) -> None:
    """A read on a kept connection that the server hangs up on is asked again on a new one, and fails there."""
    assert run_flow_gevent(one(f"{server.http_url}/cookies"), pool=pool).status == 200
    told: list[Any] = []
    with pytest.raises(FlowError):
        run_flow_gevent(one(f"{server.http_url}/nothing"), pool=pool, on_request=lambda *t: told.append(t))
    assert len(told) == 1


def test_a_line_break_in_a_header_is_not_sent(server: Any, pool: Pool) -> None:
    """No second header can be smuggled in."""
    with pytest.raises(FlowError, match="line break"):
        run_flow_gevent(one(f"{server.http_url}/cookies", headers={"x": "a\r\nb: c"}), pool=pool)


def test_https_with_an_own_authority(certificates: Any) -> None:
    """A TLS server with our CA answers; without the CA it is a FlowError."""
    program = (
        "import http.server, ssl, sys\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler)\n"
        "tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); tls.load_cert_chain(sys.argv[1], sys.argv[2])\n"
        "server.socket = tls.wrap_socket(server.socket, server_side=True)\n"
        "print(server.server_port, flush=True); server.serve_forever()\n"
    )
    command = [sys.executable, "-c", program, certificates.certificate, certificates.key]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        url = f"https://localhost:{int(process.stdout.readline())}/"
        trusting, strict = Pool(Network(ca_file=certificates.authority), timeout_s=3), Pool(timeout_s=3)
        assert run_flow_gevent(one(url), pool=trusting).status == 501
        with pytest.raises(FlowError, match="certificate verify failed"):
            run_flow_gevent(one(url), pool=strict)
        trusting.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
