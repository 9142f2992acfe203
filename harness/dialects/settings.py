"""Settings of a target file that every dialect in Python understands: addresses, limits, accounts, promises.

A dialect in Python has one function, `open_dialect(settings)`, which returns a `Target`. Its own keys are the table
`[options]`, which it reads from `settings.own`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from earwitness.checks.contract import KEYS, Contract
from earwitness.checks.history.record import Place
from earwitness.harness.client.bounds import Bounds, read_bounds
from earwitness.harness.client.network import Network
from earwitness.harness.described import Table
from earwitness.harness.dialects.protocol import Address, DatabaseQuery, FaultCommands, Person, Target
from earwitness.harness.dialects.toml.addresses import all_addresses, network_of, read_urls
from earwitness.harness.dialects.toml.sections import people_of, read_accounts, read_databases, read_fault_commands


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a target file that every dialect has.

    name                   name of the platform in reports
    path                   the file; relative paths in it belong to its folder
    http, socket           addresses of [urls]; "" where the file has none
    addresses              every address that a run could use
    network                how the hosts are reached
    contract               promises: those of the dialect, changed by [contract]
    allow_load, max_users  what the file permits: load at all, and how many users (None: not stated)
    people                 accounts that exist, by user number; () where the tester makes its own
    databases, faults      queries by Place, and fault commands by name
    bounds                 limits on what the platform may send
    own                    table [options]: the dialect's own keys
    stated                 promises that the file or the dialect states, by key of the contract
    """

    name: str
    path: Path
    http: str
    socket: str
    addresses: tuple[Address, ...]
    network: Network
    contract: Contract
    allow_load: bool
    max_users: int | None
    people: tuple[Person, ...]
    databases: Mapping[Place, DatabaseQuery]
    faults: Mapping[str, FaultCommands]
    bounds: Bounds
    own: Table
    stated: frozenset[str]


class OpensDialect(Protocol):
    """Protocol of the function `open_dialect` of a dialect in Python."""

    def __call__(self, settings: Settings, /) -> Target:
        """Return the dialect for a target file; mistakes in `settings.own` are collected there, not raised."""


def read_settings(top: Table, path: Path, promises: Mapping[str, object]) -> Settings:
    """Return the settings that the tables of a target file give.

    `promises`: what the protocol itself promises, by key of the contract. Mistakes are collected in `top`; the caller
    raises them when the dialect has read its own keys.
    """
    top.text("dialect", example="socketio")
    name, allow_load = top.text("name", path.stem, example="our chat"), top.flag("allow_load")
    urls, accounts = read_urls(top, any_protocol=True), read_accounts(top, path.parent)
    databases = read_databases(top)
    table = top.table("contract", example='{ sequence = "none" }')
    given = table.fields(KEYS) if table else {}
    addresses = all_addresses(urls, (), databases)
    settings = Settings(
        name=name, path=path, http=urls.http, socket=urls.socket, addresses=addresses,
        network=network_of(urls, addresses), contract=Contract(**{"name": path.stem, **promises, **given}),
        allow_load=allow_load, max_users=top.whole("max_users", example="100", least=1), people=people_of(accounts),
        databases=databases, faults=read_fault_commands(top), bounds=read_bounds(top),
        own=top.table("options", example="{ … }") or Table({}, top.faults, "options"),
        stated=frozenset({*promises, *given}),
    )  # fmt: skip
    top.finish()
    return settings
