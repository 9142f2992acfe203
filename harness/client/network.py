"""Network of a run: the hosts it may reach, TLS, proxies and the longest frame.

Each target has one `Network`. The rehearsal, the load and the final reads use it for all their connections, so the same
rules hold for all.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from earwitness.harness.errors import TargetError

FRAME_MAX = 16 * 2**20
"""Default limit for the bytes of a WebSocket message; a longer one ends the connection with 1009."""
PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
SECURE = ("https", "wss", "tls")
HERE = "localhost"
ANSWER_MAX = 65536
"""Most bytes of a proxy's answer that are read."""


class Unlisted(TargetError, ConnectionError):
    """Error for a request to a host that was not checked before the run. Nothing was sent to it."""


class ProxyError(ConnectionError):
    """Error for a proxy, named by the environment, that does not answer or refuses the connection."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """HTTP proxy that an environment variable names.

    variable  name of the environment variable that names the proxy
    login     user and password, as they are sent (Base64)
    """

    host: str
    port: int
    variable: str
    login: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Return words for error messages that name the proxy, without its login."""
        return f"the proxy {self.url} named by {self.variable}"

    @property
    def url(self) -> str:
        """Return the proxy's address, `http://HOST:PORT`, without user and password."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that log in to the proxy; empty if the proxy has no login."""
        return {"proxy-authorization": f"Basic {self.login}"} if self.login else {}

    @classmethod
    def parse(cls, text: str, variable: str) -> Proxy:
        """Parse `http://[USER:PASSWORD@]HOST:PORT` or HOST:PORT, the value of the environment variable `variable`.

        Raises TargetError, which does not show the value, because that may hold a password.
        """
        way_out = f"set {variable}=http://HOST:PORT, or NO_PROXY to the hosts that need no proxy"
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            port = parts.port or 80
        except ValueError:
            raise TargetError(f"{variable} names no proxy's address; {way_out}.") from None
        if parts.scheme != "http" or not parts.hostname:
            raise TargetError(f"{variable} names a proxy that is not spoken to by http; {way_out}.")
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        login = base64.b64encode(user.encode()).decode() if parts.username else ""
        return cls(parts.hostname, port, variable, login)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Settings for connections to a target.

    hosts             hosts (results of `host_of`) that were checked before the first request; None: any
    ca_file           file of a certificate authority to trust; None: SSL_CERT_FILE and SSL_CERT_DIR, else the system's
                      authorities
    certificate_file  client certificate; its key is in `key_file`, None: in the same file
    frame_bytes       most bytes of one WebSocket message
    compress          sockets offer permessage-deflate
    """

    hosts: frozenset[str] | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    frame_bytes: int = FRAME_MAX
    compress: bool = False

    def check(self, url: str) -> None:
        """Raise Unlisted if the host of `url` was not checked before the run."""
        if self.hosts is not None and (host := host_of(url)) not in self.hosts:
            raise Unlisted(
                f"{shown(url)} is an address of {host or 'no host'}, which the target file does not name, so nothing "
                f'was sent there; if it belongs to the platform: [urls] hosts = ["{host}"].'
            )

    def tls(self, create: Callable[..., ssl.SSLContext] = ssl.create_default_context) -> ssl.SSLContext:
        """Return a TLS context that verifies servers and presents the client certificate.

        `create`: makes the context; gevent's sockets need gevent's function. Raises TargetError if a file cannot be
        used.
        """
        return _context(create, self.ca_file, self.certificate_file, self.key_file, os.environ.get("SSL_CERT_FILE"))


ANY = Network()
"""Network with any host, and the certificates that the system trusts."""


def host_of(url: str) -> str:
    """Return the host of an address in the form that `Network.hosts` holds, "" if there is none.

    All loopback addresses are one host, `localhost`.
    """
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
    return HERE if is_loopback(host) else host


def is_loopback(host: str) -> bool:
    """Return whether `host` names this machine: localhost, a name below it, or a loopback address.

    Other names are not looked up.
    """
    if host == HERE or host.endswith(f".{HERE}"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def shown(url: str) -> str:
    """Return an address for messages, without user, password, query and fragment, which may be secret."""
    head, separator, rest = url.partition("?")[0].partition("#")[0].partition("://")
    if not separator:
        return head
    host, slash, path = rest.partition("/")
    return f"{head}://{host.rpartition('@')[2]}{slash}{path}"


def place_of(url: str) -> tuple[str, int]:
    """Return (host, port) of an address: "" if it has no host; the port of its scheme if it states none, else 0."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)


def proxy_of(url: str) -> Proxy | None:
    """Return the proxy that the environment names for an address, None if the address is reached directly.

    Raises TargetError if its address cannot be used.
    """
    host, port = place_of(url)
    if is_loopback(host):
        return None
    kind = "https" if urlsplit(url).scheme in SECURE else "http"
    names = (f"{kind}_proxy", f"{kind}_proxy".upper(), "all_proxy", "ALL_PROXY")
    variable = next((name for name in names if os.environ.get(name)), None)
    if variable is None or _passed_by(host, port, os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""):
        return None
    return Proxy.parse(os.environ[variable], variable)


def _passed_by(host: str, port: int, no_proxy: str) -> bool:
    """Return whether NO_PROXY covers a host and port.

    Hosts in NO_PROXY stand for their subdomains too, with or without a port; `*` stands for all hosts.
    """
    for entry in filter(None, (part.strip().lower() for part in no_proxy.split(","))):
        name, colon, number = entry.rpartition(":")
        if not (colon and number.isdigit()):
            name, number = entry, str(port)
        name = name.strip("[]").lstrip("*").lstrip(".")
        if number == str(port) and (not name or host == name or host.endswith(f".{name}")):
            return True
    return False


def by_way_of(url: str) -> str:
    """Return words for an error message that name the proxy of `url`, "" if `url` is reached directly."""
    proxy = proxy_of(url)
    return f"; it goes through {proxy}" if proxy else ""


class Tunnel:
    """HTTP tunnel through a proxy (CONNECT, RFC 9110 §9.3.6), without I/O."""

    def __init__(self, proxy: Proxy, url: str) -> None:
        """Make the CONNECT request for the host and port of `url`."""
        host, port = place_of(url)
        self._proxy = proxy
        self._received = b""
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {where} HTTP/1.1", f"host: {where}", *(f"{k}: {v}" for k, v in proxy.headers.items())]
        self.request = "\r\n".join([*lines, "", ""]).encode("latin-1")

    def answered(self, received: bytes) -> bool:
        """Process bytes from the proxy (b"": it closed the connection); return whether the tunnel is open.

        Raises ProxyError if the proxy refused.
        """
        self._received += received
        head, end, _ = self._received.partition(b"\r\n\r\n")
        if not end and received and len(head) <= ANSWER_MAX:
            return False
        status = head.split(b"\r\n", 1)[0].decode("latin-1")[:100]
        if not end or status.split(" ")[1:2] != ["200"]:
            raise ProxyError(f"{self._proxy} answered {status!r} instead of opening a tunnel")
        return True


@lru_cache(maxsize=8)
def _context(
    create: Callable[..., ssl.SSLContext],
    ca_file: str | None,
    certificate: str | None,
    key: str | None,
    environment: str | None,
) -> ssl.SSLContext:
    if environment and ca_file is None and not Path(environment).is_file():
        raise TargetError(f"SSL_CERT_FILE names {environment!r}, and there is no such file.")  # OpenSSL would be silent
    try:
        made = create(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TargetError(f"The certificate authority file {ca_file!r} cannot be used: {error}.") from error
    if certificate is not None:
        files = f"The client certificate {certificate!r}" + (f" with the key {key!r}" if key else "")
        try:
            made.load_cert_chain(certificate, key, password=_refuse_password)
        except (OSError, ssl.SSLError) as error:
            raise TargetError(f"{files} cannot be used: {error}.") from error
        except _Encrypted:
            raise TargetError(f"{files} cannot be used: the key is encrypted; give one without a password.") from None
    made.set_alpn_protocols(["http/1.1"])
    return made


class _Encrypted(Exception):
    """Error for a key with a password, which OpenSSL would request on the terminal."""


def _refuse_password() -> NoReturn:
    raise _Encrypted


def hosts_of(urls: Iterable[str]) -> frozenset[str]:
    """Return the hosts of addresses, for `Network.hosts`."""
    return frozenset(host for url in urls if (host := host_of(url)))
