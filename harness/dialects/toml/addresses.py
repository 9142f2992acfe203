"""Addresses of a target file: `[urls]`, every other address in it, and the check of those on other machines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from earwitness.checks.declared import Text
from earwitness.checks.history.record import Place
from earwitness.harness.client.network import ANY, FRAME_MAX, SECURE, Network, host_of, hosts_of, is_loopback, proxy_of
from earwitness.harness.described import Table
from earwitness.harness.dialects.toml.requests import LOGGED_IN, RequestTemplate, address_fault, checked, is_absolute
from earwitness.harness.dialects.toml.template import Template
from earwitness.harness.dialects.values import Address, DatabaseQuery
from earwitness.harness.errors import TargetError

DATABASE = "postgres"
HTTP = Text(pattern=r"(https?://[^/\s][\s\S]*)?", problem="is no http address")
SOCKET = Text(pattern=r"wss?://[^/\s][\s\S]*", problem="is no ws address", empty=False)
ANY_SOCKET = Text(pattern=r"((wss?|tcp|tls)://[^/\s][\s\S]*)?", problem="is no ws and no tcp address")
ROOM_NAMES = frozenset({"room", "label"})
KEPT_HOSTS = 5
"""Most hosts that an error message names; a file may have more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """Content of the table `[urls]` of a target file.

    http, socket  addresses; "" where the file has none
    address       `socket` as a template: it may have placeholders of a user and of a room
    hosts         further hosts that a run may contact: a login function sends requests to them, or the platform names
                  them
    network       TLS files and the longest frame; `network_of` adds the hosts
    """

    http: str = ""
    socket: str = ""
    address: Template = field(default_factory=lambda: Template(""))
    hosts: tuple[str, ...] = ()
    network: Network = ANY

    @property
    def by_room(self) -> bool:
        """Return whether the socket's address has a placeholder of a room: then a user has one socket for each room."""
        return bool(self.address.names & ROOM_NAMES)


def read_urls(top: Table, *, any_protocol: bool = False) -> Urls:
    """Return the content of `[urls]`. Mistakes are collected in `top` and raised together later.

    `any_protocol`: the socket may be of TCP, or be absent if there is an http address.
    """
    table = top.table("urls", example='{ http = "http://127.0.0.1:8000" }', required=True)
    if table is None:
        return Urls()
    http = table.value("http", HTTP, example='"http://127.0.0.1:8000"') or ""
    kind = ANY_SOCKET if any_protocol else SOCKET
    socket = table.value("socket", kind, example='"ws://127.0.0.1:8000/ws"', required=not any_protocol) or ""
    if any_protocol and not socket and not http:
        table.fault("http", "or socket: one of them is needed", 'socket = "ws://127.0.0.1:8000/ws"')
    for key, url in (("http", http), ("socket", socket)):
        if url and (problem := address_fault(url)):
            table.fault(key, f"= {url!r} {problem}", f'{key} = "{"http" if key == "http" else "ws"}://127.0.0.1:8000"')
    address = _socket_address(table, socket)
    hosts = table.texts("hosts", example='["auth.chat.example"]')
    for host in hosts:
        if host_of(f"http://{host}") in ("", host_of("http://")) or re.search(r"[/@\s?#]", host):
            table.fault("hosts", f"= {host!r} is no host", 'hosts = ["auth.chat.example"]')
    network = _read_network(table)
    table.finish()
    return Urls(http=http, socket=socket, address=address, hosts=hosts, network=network)


def _socket_address(table: Table, socket: str) -> Template:
    """Return the template of the socket's address.

    A placeholder in its host is a mistake, because the host is checked before the run.
    """
    example = '"ws://127.0.0.1:8000/ws/{room}"'
    template = checked(table, "socket", socket, LOGGED_IN | ROOM_NAMES, example=example, quoting="url")
    if template.names and not re.search(r"[/?]", template.prefix.partition("://")[2]):
        table.fault("socket", "has a placeholder in its host; write the host out", f"socket = {example}")
    return template


def _read_network(table: Table) -> Network:
    folder = Path(table.faults.where).parent

    def path(key: str, example: str) -> str | None:
        name = table.text(key, example=example)
        if name and not (folder / name).is_file():
            table.fault(key, f"= {name!r}: there is no such file", f'{key} = "{example}"')
        return str(folder / name) if name else None

    certificate, key = path("certificate_file", "client.pem"), path("key_file", "client.key")
    if key and not certificate:
        table.fault("key_file", "needs certificate_file", 'certificate_file = "client.pem"')
    return Network(
        ca_file=path("ca_file", "ca.pem"),
        certificate_file=certificate,
        key_file=key,
        frame_bytes=table.whole("frame_bytes_max", FRAME_MAX, example=str(FRAME_MAX), least=1) or FRAME_MAX,
        compress=table.flag("compress"),
    )


def all_addresses(
    urls: Urls, requests: Iterable[RequestTemplate], databases: Mapping[Place, DatabaseQuery]
) -> tuple[Address, ...]:
    """Return every address that a run with this file could speak to.

    `requests`: only those with an absolute address add one. A database counts by its hosts, without user and password.
    """
    found = [Address("urls.http", urls.http), Address("urls.socket", urls.socket)]
    found += [Address("urls.hosts", f"http://{host}") for host in urls.hosts]
    found += [Address(one.where, one.url.prefix) for one in requests if is_absolute(one.url.prefix)]
    for place, query in databases.items():
        key = f"databases.{place.name.lower().removesuffix('_database')}.dsn"
        found += [Address(key, f"{DATABASE}://{host}") for host in _database_hosts(query.dsn)]
    return tuple(address for address in found if address.url)


def _database_hosts(dsn: str) -> Iterator[str]:
    """Yield the hosts in a DSN's address and in its parameter `host`; without any, those in the variable PGHOST.

    Yield nothing for a local socket.
    """
    try:
        parts = urlsplit(dsn)
    except ValueError:
        return
    given = parts.netloc.rpartition("@")[2].split(",")
    given += [host for key, text in parse_qsl(parts.query) if key == "host" for host in text.split(",")]
    given = [host for host in given if host] or os.environ.get("PGHOST", "").split(",")
    yield from (host for host in given if host and not host.startswith("/"))


def network_of(urls: Urls, addresses: Iterable[Address]) -> Network:
    """Return the network of `urls`, limited to the hosts of `addresses`: every client of the target uses it."""
    return replace(urls.network, hosts=hosts_of(address.url for address in addresses))


def check_addresses(
    addresses: Iterable[Address], network: Network, *, allow_load: bool, max_users: int | None, path: str
) -> bool:
    """Check every address before the first request; return whether all of them are on this machine.

    Raises TargetError for an address elsewhere unless `allow_load` is true and `max_users` is given, and for a proxy or
    a TLS file that cannot be used. `path`: the target file, for the error.
    """
    away: dict[str, str] = {}
    secure = False
    for address in addresses:
        scheme, host = urlsplit(address.url).scheme, host_of(address.url)
        if not is_loopback(host):
            away.setdefault(host, address.key)
        if scheme != DATABASE:
            secure = secure or scheme in SECURE
            proxy_of(address.url)
    missing = [
        *(["allow_load = true"] if not allow_load else []),
        *(["max_users = 100"] if max_users is None else []),
    ]
    if away and missing:
        raise TargetError(f"{path}: {_named(away)}; if the owner agrees to the load, write {' and '.join(missing)}.")
    if secure or network.ca_file or network.certificate_file:
        network.tls()
    return not away


def _named(away: Mapping[str, str]) -> str:
    hosts = [f"{host} ({key})" for host, key in list(away.items())[:KEPT_HOSTS]]
    more = f" and {len(away) - KEPT_HOSTS} more" if len(away) > KEPT_HOSTS else ""
    return f"{', '.join(hosts)}{more} {'is' if len(away) == 1 else 'are'} not this machine"


def proxied(addresses: Iterable[Address]) -> list[str]:
    """Return a sentence for each host that is reached through a proxy.

    The proxy's delays and errors count as the platform's.
    """
    ways = {host_of(one.url): proxy_of(one.url) for one in addresses if urlsplit(one.url).scheme != DATABASE}
    return [
        f"{host} is reached through {way}: what it does counts as the platform's." for host, way in ways.items() if way
    ]


def check_here(named: Mapping[str, str]) -> None:
    """Raise TargetError if an address of the reference platform is not on this machine.

    `named`: name of the setting or endpoint -> its value. Values without "://" are no addresses, and are skipped.
    """
    for key, url in named.items():
        if "://" in url and not is_loopback(host := host_of(url)):
            raise TargetError(
                f"{key} names {host}, which is not this machine: a run would speak to it through the reference "
                "platform. Take it back, or test that platform with --target and a target.toml that allows load."
            )
