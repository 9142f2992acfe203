"""Reader of the users tables of the platform's databases: reads until they agree or the promised time has passed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from earwitness.checks.history.record import Place
from earwitness.harness.dialects.protocol import DatabaseQuery, Person
from earwitness.harness.errors import TargetError

CONNECT_S = 10.0
LOOK_AGAIN_S = 0.2

Row = Mapping[str, Any]


@dataclass(slots=True)
class UserTables:
    """Rows of the run's users in each database, from the last read.

    looked_s     seconds from the first read to the end of the last one
    asked_ns     `time.monotonic_ns()` at the beginning of the last read
    differences  e-mail -> how the tables differ, see `differences`; empty if they agree
    """

    rows: dict[Place, list[Row]]
    looked_s: float = 0.0
    asked_ns: int = 0
    differences: dict[str, str] = field(default_factory=dict)

    def of(self, place: Place, email: str) -> list[Row]:
        """Return the rows of a user at `place` by e-mail, ignoring case."""
        return [row for row in self.rows.get(place, ()) if str(row.get("email", "")).lower() == email.lower()]


async def read_tables(
    queries: Mapping[Place, DatabaseQuery], pattern: str, people: Sequence[Person], bound_s: float | None
) -> UserTables:
    """Read the users tables until they agree about `people` or `bound_s` seconds are over; return the last read.

    If they still differ, `differences` of the result states how. `bound_s` None: read once. A single table is read
    once, because there is nothing to compare. `pattern` is the parameter `$1` of each query. Raises TargetError if a
    table cannot be read, or its rows have no `id` and `email`.
    """
    begin = time.monotonic()
    while True:
        asked_ns = time.monotonic_ns()
        found = await asyncio.gather(*(_read(place, query, pattern) for place, query in queries.items()))
        tables = UserTables(dict(zip(queries, found, strict=True)), time.monotonic() - begin, asked_ns)
        tables.differences = differences(tables, people) if len(queries) > 1 else {}
        if not tables.differences or tables.looked_s >= (bound_s or 0.0):
            return tables
        await asyncio.sleep(LOOK_AGAIN_S)


async def _read(place: Place, query: DatabaseQuery, pattern: str) -> list[Row]:
    import asyncpg  # optional package: a target file with `databases` is refused without it

    what = place_name(place)
    try:
        connection = await asyncpg.connect(
            query.dsn, timeout=CONNECT_S, server_settings={"default_transaction_read_only": "on"}
        )
        try:
            records = await connection.fetch(query.query, pattern, timeout=CONNECT_S * 3)
        finally:
            await connection.close(timeout=CONNECT_S)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise TargetError(f"The {what} cannot be read: {type(error).__name__}: {error}") from error
    rows: list[Row] = [dict(record) for record in records]
    if rows and not {"id", "email"} <= rows[0].keys():
        raise TargetError(f"The query of the {what} gives {', '.join(rows[0])}, but id and email are needed.")
    return rows


def differences(tables: UserTables, people: Iterable[Person]) -> dict[str, str]:
    """Return e-mail -> difference between the tables in words: a missing or repeated row, or unequal columns."""
    found = {}
    for person in people:
        rows = {place: tables.of(place, person.email) for place in tables.rows}
        counts = {place: len(rows[place]) for place in rows}
        if not any(counts.values()):
            continue
        wrong = [f"{n or 'no'} row{'s' * (n > 1)} in the {place_name(place)}" for place, n in counts.items() if n != 1]
        if not wrong:
            first, *others = (rows[place][0] for place in rows)
            wrong = sorted({key for other in others for key in differing(first, other)})
        if wrong:
            found[person.email] = ", ".join(wrong)
    return found


def differing(first: Row, other: Row) -> list[str]:
    """Return the names, sorted, of the columns that both rows have, but with unequal values."""
    return sorted(key for key in first.keys() & other.keys() if first[key] != other[key])


def place_name(place: Place) -> str:
    """Return the name of a place in lower-case words, such as "auth database"."""
    return place.name.lower().replace("_", " ")


def as_json(row: Row) -> dict[str, object]:
    """Return the row with values that JSON can hold; values of other types are converted to text."""
    plain = (str, int, float, bool, type(None))
    return {key: value if isinstance(value, plain) else str(value) for key, value in row.items()}
