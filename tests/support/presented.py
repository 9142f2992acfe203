"""Records of accounts and tokens for literal histories: one call for each record, at the history's next time."""

from __future__ import annotations

from typing import Any

from earwitness.checks.history.record import CONTROL, FOREIGN, NOBODY, NONE, Artefact, Flag, Kind, Place, State, Way

MS = 1_000_000
ANSWERS = {200: Flag.ACCEPTED, 101: Flag.ACCEPTED, 401: Flag.REFUSED, 403: Flag.REFUSED, 429: Flag.REFUSED}
"""HTTP status → flags of the record; after another status it is unknown what happened."""


def now(history: Any) -> int:
    """Return the time (ns) of the next record."""
    return MS * (len(history.told) + 1)


def pause(history: Any, ms: int) -> None:
    """Let `ms` milliseconds pass, by adding PROBE records, which the checks of accounts and tokens ignore."""
    for _ in range(ms):
        history.add(Kind.PROBE, author=FOREIGN)


def token(
    history: Any, client: int, number: int, kind: Artefact = Artefact.ACCESS, *, lasts_ms: int | None = None,
    of: int = NONE, digest: int = 7, forged: int = 0, **slots: int,
) -> None:  # fmt: skip
    """Add a TOKEN record.

    `lasts_ms`: ms from now to its deadline, None: no deadline; `of`: number of the token that it belongs to; `forged`:
    number of the forgery, 0: genuine.
    """
    deadline = NONE if lasts_ms is None else now(history) + lasts_ms * MS
    named = {"counter": number, "attempt": int(kind), "seq": deadline, "aux": of, "digest": digest, "proc": forged}
    history.add(Kind.TOKEN, client, **named, **slots)


def ask(
    history: Any, client: int, number: int, status: int = 200, place: Place = Place.BACKEND, *, way: Way = Way.HEADER,
    owner: int | None = None, took_ms: int = 0, control: bool = False, conn: int = 0, **slots: int,
) -> None:  # fmt: skip
    """Add a REQUEST record with a token. `took_ms`: ms between its sending and its answer, which is now."""
    history.add(
        Kind.REQUEST, client, author=client if owner is None else owner, counter=number, attempt=int(place),
        proc=int(way) | (CONTROL if control else 0), seq=now(history) - took_ms * MS, size=status, conn=conn,
        flags=int(ANSWERS.get(status, 0)), **slots,
    )  # fmt: skip


def revoke(
    history: Any, owner: int, number: int = 0, status: int = 200, *, by: int | None = None, took_ms: int = 0,
    **slots: int,
) -> None:  # fmt: skip
    history.add(
        Kind.REVOKE, owner if by is None else by, author=owner, counter=number, attempt=int(Place.AUTH),
        seq=now(history) - took_ms * MS, size=status, flags=int(ANSWERS.get(status, 0)), **slots,
    )  # fmt: skip


def change(
    history: Any, client: int, digest: int, status: int = 200, *, state: State = State.PROFILE,
    value: int = NONE, took_ms: int = 0, **slots: int,
) -> None:  # fmt: skip
    history.add(
        Kind.WRITE, client, author=client, proc=int(state), attempt=int(Place.AUTH), digest=digest, aux=value,
        seq=now(history) - took_ms * MS, flags=int(ANSWERS.get(status, 0)), **slots,
    )  # fmt: skip


def see(
    history: Any, of: int, digest: int, place: Place = Place.BACKEND, *, state: State = State.PROFILE,
    value: int = NONE, took_ms: int = 0, pushed: bool = False, client: int = NOBODY, **slots: int,
) -> None:  # fmt: skip
    asked = NONE if pushed else now(history) - took_ms * MS
    history.add(
        Kind.SEEN, client, author=of, proc=int(state), attempt=int(place), digest=digest, aux=value, seq=asked, **slots
    )


def tables(history: Any, of: int, auth: tuple[int, int], main: tuple[int, int], **slots: int) -> None:
    """Add what both databases store about a user in the end. `auth`, `main`: (number of rows, digest)."""
    for place, (rows, digest) in ((Place.AUTH_DATABASE, auth), (Place.MAIN_DATABASE, main)):
        see(history, of, digest, place, value=rows, **slots)


def login(history: Any, client: int, *, took_ms: int = 1, status: int = 200, **slots: int) -> None:
    history.add(Kind.LOGIN, client, counter=status, aux=took_ms * 1000, **slots)
