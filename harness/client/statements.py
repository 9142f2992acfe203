"""Writers of records about credentials, requests and shared state, with named parameters (`checks.history.schema`).

Secrets are never passed here: an artefact is named by (client number of its owner, its own number).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from earwitness.checks.history.record import NOBODY, NONE, Artefact, Flag, Kind, Place, State, Way
from earwitness.harness.client.exchange import Exchange
from earwitness.harness.described import whole_number
from earwitness.harness.record.named import Writes, write_record

WAIT_MAX_S: Final = 10**9
"""Longest `Retry-After` in seconds that is recorded (about thirty years); a longer one counts as absent."""


Name = tuple[int, int]
"""Name of an artefact: (client number of its owner, its number among the artefacts of that client)."""
NOTHING: Name = (NOBODY, 0)
"""Name that states that no artefact was presented."""
REFUSALS = (1008, 4400, 4401, 4403, 4404, 4429)
"""Close codes by which a platform refuses a client.

Other codes (going away, restart, an error) count as neither accepted nor refused.
"""


def outcome(status: int) -> int:
    """Return the flag ACCEPTED or REFUSED, or 0 (neither), for an HTTP status or the close code of a refused socket."""
    if 100 <= status < 400:
        return int(Flag.ACCEPTED)
    if (400 <= status < 500 and status != 408) or status in REFUSALS:
        return int(Flag.REFUSED)
    return 0


def digest_of(*values: object) -> int:
    """Return the CRC-32 of values in their order.

    Records of the kinds TOKEN, WRITE and SEEN hold this number, so that checks can compare values.
    """
    return crc32("\x1f".join(map(str, values)).encode("utf-8", "surrogatepass"))


def write_token(
    journal: Writes, kind: Artefact, client: int, number: int, *, deadline_ns: int = NONE, belongs_to: int = NONE,
    digest: int = 0, forged: int = 0, flags: int = 0,
) -> int:  # fmt: skip
    """Record that an artefact was issued, or forged; return the record's number.

    kind, number  type of the artefact, and its number among those of `client`
    deadline_ns   monotonic ns until which it is valid, NONE if unknown
    belongs_to    number of the artefact from which it was derived
    digest        CRC-32 of whom it names and what it permits, see `digest_of`
    forged        number of its forgery, 0 for a genuine artefact
    flags         which clock the deadline depends on, see TOKEN in the record schema
    """
    return write_record(
        journal, time.monotonic_ns(), Kind.TOKEN, flags=flags, attempt=kind, proc=forged, client=client,
        counter=number, seq=deadline_ns, aux=belongs_to, digest=digest,
    )  # fmt: skip


def write_request(
    journal: Writes, client: int, place: Place, *, sent_ns: int, received_ns: int, status: int, way: Way | int = 0,
    name: Name = NOTHING, bits: int = 0, conn: int = 0, timeout: bool = False, retry_after_ms: int = NONE,
    remaining: int = NOBODY,
) -> int:  # fmt: skip
    """Record a request to `place` and its answer; return the record's number.

    - `sent_ns`, `received_ns`: monotonic ns
    - `status`: HTTP status, or close code of a refused socket; 0: no answer
    - `timeout`: there was no answer in time
    - `name`: the artefact that the request presents; `way`: how the request carries it (header, query, …), 0 for none
    - `bits`: SPOOFED (under a false client address) or CONTROL (control of a forgery); 0 for neither
    - `conn`: number of the connection that the request opened or used; 0: a plain HTTP request
    - `retry_after_ms`, `remaining`: as `stated_budget` returns them
    """
    flags = outcome(status) | (int(Flag.TIMEOUT) if timeout else 0)
    return write_record(
        journal, received_ns, Kind.REQUEST, flags=flags, attempt=place, proc=int(way) | bits, client=client, conn=conn,
        author=name[0], counter=name[1], seq=sent_ns, aux=retry_after_ms, size=status, digest=remaining,
    )  # fmt: skip


def write_exchange(
    journal: Writes, client: int, place: Place, exchange: Exchange, *, way: Way | int = 0, name: Name = NOTHING,
    bits: int = 0,
) -> int:  # fmt: skip
    """Record an HTTP request from its `Exchange`, with the budget that its answer states; return the record's number.

    The other parameters are those of `write_request`.
    """
    retry_after_ms, remaining = stated_budget(exchange.headers)
    return write_request(
        journal, client, place, sent_ns=exchange.sent_ns, received_ns=exchange.received_ns, status=exchange.status,
        way=way, name=name, bits=bits, timeout=exchange.timeout, retry_after_ms=retry_after_ms, remaining=remaining,
    )  # fmt: skip


def stated_budget(headers: Mapping[str, str]) -> tuple[int, int]:
    """Return (Retry-After in ms, remaining requests) from the headers of an answer.

    Without Retry-After the first is NONE, without X-RateLimit-Remaining the second is NOBODY. A header that cannot be
    read counts as absent.
    """
    wait, remaining = headers.get("retry-after", ""), headers.get("x-ratelimit-remaining", "")
    wait_s, left = whole_number(wait, WAIT_MAX_S), whole_number(remaining, NOBODY)
    return NONE if wait_s is None else wait_s * 1000, NOBODY if left is None else left


def write_revoke(
    journal: Writes, client: int, place: Place, *, sent_ns: int, received_ns: int, status: int, name: Name
) -> int:
    """Record a logout or a ban; return the record's number.

    `name`: the access token of the session that a logout ends; with number 0 all artefacts of the client, for a ban.
    """
    return write_record(
        journal, received_ns, Kind.REVOKE, flags=outcome(status), attempt=place, client=client, author=name[0],
        counter=name[1], seq=sent_ns, size=status,
    )  # fmt: skip


def write_change(
    journal: Writes, client: int, place: Place, state: State, *, sent_ns: int, received_ns: int, status: int,
    of: int, digest: int, value: int = NONE, what: int = 0, conv: int = NOBODY, base: int = 0,
) -> int:  # fmt: skip
    """Record a change of shared state, as WRITE; return the record's number.

    - `sent_ns`, `received_ns`: monotonic ns; `status`: of HTTP, 0: no answer
    - `of`: client number of the state's owner; for an edit, of the message's author
    - `digest`: CRC-32 of the new value; `value`: the value itself where it is a number
    - `what`: for an edit, the message's counter; otherwise the version that the platform stated, 0: none
    - `base`: version that an edit changes, if the edit names it; 0: any
    """
    return write_record(
        journal, received_ns, Kind.WRITE, flags=outcome(status), attempt=place, proc=state, client=client, conn=base,
        conv=conv, author=of, counter=what, seq=sent_ns, aux=value, size=status, digest=digest,
    )  # fmt: skip


def write_presence(
    journal: Writes, client: int, conn: int, *, told_ns: int, conv: int, about: int, online: bool
) -> int:
    """Record that a device was shown a user as online or offline; return the record's number.

    `client` was shown it on the connection `conn` at `told_ns` (monotonic ns), in the conversation `conv` (NOBODY:
    everywhere). `about`: number of a client, or the interned user id of the platform.
    """
    return write_record(
        journal, told_ns, Kind.PRESENCE, client=client, conn=conn, conv=conv, author=about, counter=int(online)
    )


def write_seen(
    journal: Writes, client: int, place: Place, state: State, *, asked_ns: int, seen_ns: int, of: int, digest: int,
    value: int = NONE, what: int = 0, conv: int = NOBODY, conn: int = 0,
) -> int:  # fmt: skip
    """Record shared state that a device was shown, as SEEN; return the record's number.

    `asked_ns`, `seen_ns`: monotonic ns of the request and of the answer; `asked_ns` is NONE if the state was pushed on
    the connection `conn`. The other parameters are those of `write_change`.
    """
    return write_record(
        journal, seen_ns, Kind.SEEN, attempt=place, proc=state, client=client, conn=conn, conv=conv, author=of,
        counter=what, seq=asked_ns, aux=value, digest=digest,
    )  # fmt: skip
