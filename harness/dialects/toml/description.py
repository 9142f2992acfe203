"""Description of a platform: a target file as data.

Every table is read and checked, and all mistakes are reported together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from earwitness.checks.contract import KEYS, Contract
from earwitness.checks.history.record import Place
from earwitness.harness.client.bounds import Bounds, read_bounds
from earwitness.harness.client.network import Network
from earwitness.harness.described import Faults, Table, read_toml
from earwitness.harness.dialects.protocol import Address, DatabaseQuery, FaultCommands
from earwitness.harness.dialects.toml.addresses import all_addresses, network_of, read_urls
from earwitness.harness.dialects.toml.exchange import Exchange
from earwitness.harness.dialects.toml.frames import FrameRules, read_frame_rules
from earwitness.harness.dialects.toml.history import HistoryRules, read_history
from earwitness.harness.dialects.toml.logins import Login, read_login
from earwitness.harness.dialects.toml.paths import Getter
from earwitness.harness.dialects.toml.requests import RequestTemplate
from earwitness.harness.dialects.toml.sections import (
    Presentation,
    Resume,
    Rooms,
    Send,
    check_exchange,
    finished_request,
    read_accounts,
    read_databases,
    read_fault_commands,
    read_identity,
    read_presentations,
    read_resume,
    read_rooms,
    read_send,
)
from earwitness.harness.dialects.toml.template import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Everything that a target file states.

    http       base URL of requests, "" if the file has none
    socket     template of the socket's address
    addresses  every address that a run could use
    network    the hosts of these addresses, TLS settings, and the longest frame
    accounts   rows of the file of accounts; () if none is named
    to_socket  how credentials are presented to the socket, and `to_http` to requests
    exchange   rules for frames of a socket that are no messages
    resume     rules of the table [resume], None without it; likewise `history` and `probe`
    identity   for each item of [identity]: place, request, path of the user id in its answer
    stated     promises that the file states, by key of the contract
    unjudged   warnings by name of a promise: the file describes data for it, and [contract] does not mention it
    """

    name: str
    allow_load: bool
    max_users: int | None
    http: str
    socket: Template
    addresses: tuple[Address, ...]
    network: Network
    accounts: tuple[Mapping[str, object], ...]
    login: Login
    to_socket: Presentation
    to_http: Presentation
    exchange: Exchange
    rooms: Rooms
    send: Send
    frames: FrameRules
    resume: Resume | None
    history: HistoryRules | None
    identity: tuple[tuple[Place, RequestTemplate, Getter], ...]
    probe: RequestTemplate | None
    databases: Mapping[Place, DatabaseQuery]
    faults: Mapping[str, FaultCommands]
    contract: Contract
    unjudged: Mapping[str, str]
    bounds: Bounds
    stated: frozenset[str]


def read_description(path: Path) -> Description:
    """Read a target file. Raises SettingsError, which names every mistake of the file at once."""
    return read_tables(Table(read_toml(path), Faults(str(path))), path)


def read_tables(top: Table, path: Path) -> Description:
    """Return the description that the tables of a target file give. `path`: the file, to which relative paths belong.

    Raises SettingsError, which names every mistake of the file at once.
    """
    faults = top.faults
    urls = read_urls(top)
    socket, http_presentation = read_presentations(top, by_room=urls.by_room)
    accounts = read_accounts(top, path.parent)
    login_table = top.table("login", example='{ by = "password" }', required=True)
    login = read_login(login_table, path.parent) if login_table else None
    history_table = top.table("history", example='{ url = "/rooms/{room}/messages" }')
    history = read_history(history_table) if history_table else None
    frames_table = top.table("frames", example='{ kind = "type" }', required=True)
    frames = read_frame_rules(frames_table) if frames_table else None
    probe_table = top.table("probe", example='{ url = "/me" }')
    name, allow_load = top.text("name", path.stem, example="our chat"), top.flag("allow_load")
    max_users = top.whole("max_users", example="100", least=1)
    rooms, send, resume = read_rooms(top), read_send(top), read_resume(top)
    identity = tuple(read_identity(inner) for inner in top.tables("identity", example='[{ place = "auth" }]'))
    probe = finished_request(probe_table, "probe", "/me") if probe_table else None
    databases, commands = read_databases(top), read_fault_commands(top)
    contract, limits = _contract(top, path), read_bounds(top)
    exchange = replace(socket.exchange, end=send.end, binary=send.binary, joined=rooms.joined)
    _consistency(top, contract, history, resume, send, frames, exchange)
    unjudged = dict(_unjudged(top, resume, databases, frames))
    top.finish()
    faults.raise_any()
    assert login is not None, "a login without faults"
    assert frames is not None, "frames without faults"
    requests = [*login.requests, *rooms.requests, *(one[1] for one in identity)]
    single = (send.request, probe, history.request if history else None)
    addresses = all_addresses(urls, [*requests, *filter(None, single)], databases)
    return Description(
        name=name, allow_load=allow_load, max_users=max_users, http=urls.http, socket=urls.address, addresses=addresses,
        network=network_of(urls, addresses), accounts=accounts, login=login, to_socket=socket, exchange=exchange,
        to_http=http_presentation, rooms=rooms, send=send, frames=frames, resume=resume, history=history,
        identity=identity, probe=probe, databases=databases, faults=commands, contract=contract, unjudged=unjudged,
        bounds=limits, stated=_stated(top),
    )  # fmt: skip


def _stated(top: Table) -> frozenset[str]:
    """Return the promises that the file states, by key of the contract."""
    table = top.data.get("contract")
    return frozenset(table if isinstance(table, dict) else ())


def _contract(top: Table, path: Path) -> Contract:
    table = top.table("contract", example='{ sequence = "none" }', required=True)
    return Contract(**{"name": path.stem, **(table.fields(KEYS) if table else {})})


def _consistency(
    top: Table,
    contract: Contract,
    history: HistoryRules | None,
    resume: Resume | None,
    send: Send,
    frames: FrameRules | None,
    exchange: Exchange,
) -> None:
    """Collect a mistake for each promise that this file cannot check, and for keys that contradict each other."""
    if frames is None:
        return
    check_exchange(top, exchange, frames, send)
    kinds = {rule.name: rule.at for rule in frames.rules}
    if contract.history and history is None:
        top.fault("contract.history", "is promised, but there is no [history]", "history = false")
    if contract.resume and resume is None:
        top.fault("contract.resume", "is promised, but there is no [resume]", "resume = false")
    if contract.acknowledges and "ack" not in kinds and send.request is None:
        top.fault("contract.acknowledges", "is promised, but there is no [frames.ack]", "acknowledges = false")
    message = kinds.get("message", {})
    if contract.sequence != "none" and "seq" not in message:
        top.fault("contract.sequence", "is promised, but [frames.message] has no seq", 'sequence = "none"')
    if contract.names_sender and "sender" not in message:
        top.fault("contract.names_sender", "is promised, but [frames.message] has no sender", "names_sender = false")


def _unjudged(
    top: Table, resume: Resume | None, databases: Mapping[Place, DatabaseQuery], frames: FrameRules | None
) -> Iterator[tuple[str, str]]:
    """Yield (promise, warning) for data that the file describes although [contract] does not mention the promise.

    Such data is recorded and not judged; without the warning, no user would notice.
    """
    table = top.data.get("contract")
    given = table if isinstance(table, dict) else {}
    mapped = {rule.name: rule.at for rule in frames.rules} if frames else {}
    described = {
        "sequence": ("frames.message.seq", "seq" in mapped.get("message", {}), "numbers of messages", '"contiguous"'),
        "resume": ("[resume]", resume is not None, "resuming", "true"),
        "retry_after": ("frames.nack.retry_after", "retry_after" in mapped.get("nack", {}), "waits", "true"),
        "sync_bound_s": ("[databases]", len(databases) == 2, "differences of the two tables", "10.0"),
    }
    for promise, (where, there, what, value) in described.items():
        if there and promise not in given:
            says = f"{where} is described, but [contract] does not mention {promise}"
            denied = '"none"' if promise == "sequence" else "false"
            way_out = f", {promise} = {denied} if it is not promised" if promise != "sync_bound_s" else ""
            wanted = f"Write {promise} = {value} if the platform promises it{way_out}."
            yield promise, f"{says}: {what} are not judged. {wanted}"
