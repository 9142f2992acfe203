"""Histories of accounts and tokens that exactly one check rejects. A record takes 1,000 ns; all bounds are 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from literal import Told

from earwitness.checks.history.record import NOBODY, Artefact, Flag, Kind, Place, State

PROMISES: dict[str, Any] = {
    "token_leeway_s": 0.0,
    "revocation_bound_s": 0.0,
    "sync_bound_s": 0.0,
    "refresh_single_use": True,
    "sockets_end_with_token": True,
}
AUTH, BACKEND, SOCKET = int(Place.AUTH), int(Place.BACKEND), int(Place.SOCKET)


def _token(told: Told, kind: Artefact = Artefact.ACCESS, number: int = 1, **slots: int) -> None:
    told.write(Kind.TOKEN, client=0, counter=number, attempt=int(kind), **slots)


def _accepted(told: Told, number: int = 1, place: int = BACKEND, **slots: int) -> None:
    """Record a request that was accepted at once.

    `number`: number of the token; `place`: the service that accepted it.
    """
    now = 1000 * (len(told.rows) + 1)
    named = {"client": 0, "author": 0, "counter": number, "attempt": place, "seq": now, "size": 200}
    told.write(Kind.REQUEST, **named | {"flags": int(Flag.ACCEPTED)} | slots)


def _expired(told: Told) -> None:
    _token(told, seq=500)
    _accepted(told)


def _revoked(told: Told) -> None:
    _token(told)
    told.write(Kind.REVOKE, client=1, author=0, counter=0, seq=2000, size=200, flags=int(Flag.ACCEPTED))
    _accepted(told)


def _forged(told: Told) -> None:
    _token(told, proc=1)
    _accepted(told)


def _refreshed_twice(told: Told) -> None:
    _token(told, Artefact.REFRESH)
    _accepted(told, place=AUTH)
    _accepted(told, place=AUTH)


def _ticket_used_twice(told: Told) -> None:
    _token(told, Artefact.TICKET)
    _accepted(told, place=SOCKET)
    _accepted(told, place=SOCKET)


def _outlived(told: Told) -> None:
    """Record a socket that was opened before its token's deadline and receives a message that was sent after it."""
    _token(told, seq=3500)
    told.join(0, 1)
    _accepted(told, place=SOCKET, conn=1, seq=2000)
    told.invoke(1, 2, 1)
    told.ok(1, 2, 1)
    told.deliver(0, 1, 1, 1)


def _look(told: Told, place: Place, rows: int, digest: int) -> None:
    now = 1000 * (len(told.rows) + 1)
    named = {"client": NOBODY, "author": 0, "attempt": int(place), "proc": int(State.PROFILE)}
    told.write(Kind.SEEN, **named, aux=rows, digest=digest, seq=now)


def _not_synced(told: Told) -> None:
    _look(told, Place.AUTH_DATABASE, 1, 5)
    _look(told, Place.MAIN_DATABASE, 0, 0)


def _two_accounts(told: Told) -> None:
    told.write(Kind.LOGIN, client=0, counter=200, aux=1)
    _look(told, Place.AUTH_DATABASE, 2, 5)
    _look(told, Place.MAIN_DATABASE, 2, 5)


GOLDEN_AUTH: dict[str, Callable[[Told], None]] = {
    "I29": _expired,
    "I30": _revoked,
    "I31": _forged,
    "I32": _refreshed_twice,
    "I33": _ticket_used_twice,
    "I34": _outlived,
    "I41": _not_synced,
    "I42": _two_accounts,
}
