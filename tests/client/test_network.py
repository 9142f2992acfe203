"""One network for every client: hosts, proxies, TLS; the same answer whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import NAMED, Certificates
from cryptography.hazmat.primitives import serialization
from forward_proxy import ForwardProxy

from earwitness.checks.history.record import Kind
from earwitness.harness.client.flow import Flow, FlowError, HttpRequest, HttpResponse, run_flow_async
from earwitness.harness.client.http_asyncio import http_client
from earwitness.harness.client.http_gevent import Pool, run_flow_gevent
from earwitness.harness.client.network import (
    Network,
    Proxy,
    ProxyError,
    Tunnel,
    Unlisted,
    host_of,
    hosts_of,
    proxy_of,
    shown,
)
from earwitness.harness.errors import TargetError


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForwardProxy]:
    running = ForwardProxy()
    monkeypatch.setenv("ALL_PROXY", running.url)
    yield running
    running.close()


def get(url: str) -> Flow[HttpResponse]:
    return (yield HttpRequest("GET", url, name="get"))


def asked_by_gevent(network: Network, url: str) -> HttpResponse:
    pool = Pool(network, timeout_s=5)
    try:
        return run_flow_gevent(get(url), pool=pool)
    finally:
        pool.close()


def asked_by_httpx(network: Network, url: str) -> HttpResponse:
    async def ask() -> HttpResponse:
        async with http_client(network, timeout_s=5) as http:
            return await run_flow_async(get(url), http)

    return asyncio.run(ask())


CLIENTS = pytest.mark.parametrize("ask", [asked_by_gevent, asked_by_httpx], ids=["gevent", "httpx"])
Ask = Callable[[Network, str], HttpResponse]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://CHAT.example:8443/x", "chat.example"), ("http://chat.example./", "chat.example"),
        ("ws://127.0.0.1:1/", "localhost"), ("http://[::1]:1", "localhost"), ("http://a.localhost", "localhost"),
        ("http://127.0.0.1@chat.example/", "chat.example"), ("http://[::1", ""), ("/path", ""),
    ],
)  # fmt: skip
def test_hosts(url: str, host: str) -> None:
    """All names of this machine are one host; what no client could use is none."""
    assert host_of(url) == host
    assert hosts_of([url]) == ({host} if host else set())


def test_what_is_shown_of_an_address() -> None:
    """No password, no query: codes and tokens stand there."""
    assert shown("https://u:pw@chat.example/in?code=1#x") == "https://chat.example/in"
    assert shown("/in?code=1") == "/in"


@CLIENTS
def test_a_host_that_was_not_checked(ask: Ask, server: Any) -> None:
    """Refused and named, and nothing is sent: not even the name is looked up."""
    network = Network(hosts=hosts_of([server.http_url]))
    assert ask(network, f"{server.http_url}/cookies").status == 200
    with pytest.raises((FlowError, Unlisted), match=r"http://chat\.example/x is an address of chat\.example") as caught:
        ask(network, "http://chat.example/x?token=secret")
    assert 'hosts = ["chat.example"]' in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_socket_to_a_host_that_was_not_checked(dial: Any) -> None:
    """The same for both shells."""
    line = dial("ws://chat.example/x", network=Network(hosts=frozenset({"localhost"})))
    with pytest.raises(Unlisted, match=r"chat\.example"):
        line.open()
    assert line.kinds() == []


@pytest.mark.parametrize(
    ("environment", "url", "variable"),
    [
        ({"HTTP_PROXY": "p:1"}, "http://chat.example/", "HTTP_PROXY"),
        ({"http_proxy": "http://p:1", "HTTP_PROXY": "http://q:1"}, "ws://chat.example/", "http_proxy"),
        ({"HTTP_PROXY": "p:1"}, "https://chat.example/", None),
        ({"HTTPS_PROXY": "p:1"}, "wss://chat.example/", "HTTPS_PROXY"),
        ({"ALL_PROXY": "p:1"}, "wss://chat.example/", "ALL_PROXY"),
        ({"ALL_PROXY": "p:1"}, "http://127.0.0.1:8000/", None),
        ({"ALL_PROXY": "socks5://p:1"}, "http://localhost/", None),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "other, .example"}, "http://chat.example/", None),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "chat.example:80"}, "http://chat.example/", None),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "chat.example:81,hat.example"}, "http://chat.example/", "ALL_PROXY"),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "*"}, "http://chat.example/", None),
    ],
)
def test_which_proxy(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, variable: str | None
) -> None:
    """As curl has it; this machine needs none, whatever the environment says."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_of(url)
    assert (found and found.variable) == variable
    assert found is None or (found.host, found.port) == ("p", 1)


@pytest.mark.parametrize("text", ["socks5://p:1", "https://p:1", "http://:pw@", "http://u:pw@[::1"])
def test_a_proxy_that_cannot_be_used(text: str) -> None:
    """One sentence with the variable and a way out, and without the password."""
    with pytest.raises(TargetError, match=r"HTTP_PROXY .* set HTTP_PROXY=http://HOST:PORT, or NO_PROXY") as caught:
        Proxy.parse(text, "HTTP_PROXY")
    assert "pw" not in str(caught.value)


def test_a_password_for_the_proxy() -> None:
    """It is sent, and shown nowhere."""
    proxy = Proxy.parse("http://ann:p%40w@[::1]:3128", "HTTPS_PROXY")
    assert b"proxy-authorization: Basic YW5uOnBAdw==\r\n" in Tunnel(proxy, "wss://chat.example/x").request
    assert str(proxy) == "the proxy http://[::1]:3128 named by HTTPS_PROXY"
    assert "YW5u" not in repr(proxy)


@CLIENTS
def test_requests_through_a_proxy(ask: Ask, server: Any, proxy: ForwardProxy) -> None:
    """A host that only the proxy can find: the whole address is given to it."""
    url = server.http_url.replace("127.0.0.1", NAMED)
    assert ask(Network(), f"{url}/cookies").status == 200
    assert proxy.asked == [f"GET {url}/cookies"]
    assert ask(Network(), f"{server.http_url}/cookies").status == 200
    assert len(proxy.asked) == 1


def test_sockets_through_a_proxy(dial: Any, server: Any, proxy: ForwardProxy, certificates: Certificates) -> None:
    """A tunnel, and TLS with the platform inside of it."""
    url = server.secure_url.replace("localhost", NAMED)
    line = dial(f"{url}/welcome", welcome=True, network=Network(ca_file=certificates.authority)).open()
    line.close()
    assert line.kinds() == [Kind.CONNECT, Kind.IDENTITY, Kind.DISCONNECT]
    assert proxy.asked == [f"CONNECT {url.removeprefix('wss://')}"]


@CLIENTS
def test_a_proxy_that_nobody_answers_at(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the proxy and its variable: the platform is not to blame."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(Exception, match=r"it goes through the proxy http://127\.0\.0\.1:1 named by HTTP_PROXY"):
        ask(Network(), f"http://{NAMED}/x")


def test_a_proxy_without_an_answer_to_sockets(dial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for both shells; a refusal is told in the proxy's own words."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(ProxyError, match=r"it goes through the proxy http://127\.0\.0\.1:1 named by HTTP_PROXY"):
        dial(f"ws://{NAMED}/x").open()
    refusing = ForwardProxy(b"HTTP/1.1 407 Who are you\r\n\r\n")
    try:
        monkeypatch.setenv("HTTP_PROXY", refusing.url)
        with pytest.raises(ProxyError, match=r"named by HTTP_PROXY answered .HTTP/1\.1 407 Who are you."):
            dial(f"ws://{NAMED}/x").open()
    finally:
        refusing.close()


def test_files_that_cannot_be_used(certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence each that names the file; nobody is asked for a password."""
    with pytest.raises(TargetError, match=r"The client certificate .*ca\.pem.* cannot be used"):
        Network(certificate_file=certificates.authority, key_file=certificates.key).tls()
    key = serialization.load_pem_private_key(Path(certificates.key).read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    with pytest.raises(TargetError, match=r"locked\.key.* the key is encrypted"):
        Network(certificate_file=certificates.certificate, key_file=str(locked)).tls()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(TargetError, match=r"SSL_CERT_FILE names .*none\.pem.* no such file"):
        Network().tls()


@CLIENTS
def test_an_authority_of_the_environment(
    ask: Ask, server: Any, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE holds for each client, and `ca_file` stands in for it."""
    url = server.secure_url.replace("wss://", "https://")
    monkeypatch.setenv("SSL_CERT_FILE", certificates.authority)
    assert ask(Network(), f"{url}/echo").status == 426
    assert ask(Network(ca_file=certificates.authority), f"{url}/echo").status == 426
