"""Collector: process that reads the platform's final state between drain and judging.

    python -m earwitness.harness.run.collect RUN_DIR [--deadline SECONDS] [--parallel N]

It reads run.json (`tag`, `target`) and roster.json (`extra.people`, `extra.rooms`). One member of each conversation
logs in again and reads its whole history: STORED records and one READ_END in the journal `collector`.
`checks.messages.stored` judges whether messages are missing. The identities that the platform's places state, and the
rows of the users tables where these can be read, become IDENTITY records and tables/users.jsonl. A history that could
not be read leaves no READ_END: checks that need it return UNKNOWN.

Exit codes: 0 everything was read, 2 the collector could not begin, 3 something could not be read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import httpx

from earwitness.checks.history.record import AGENT, NOBODY, NONE, Flag, Kind, Place, State
from earwitness.checks.roster import Roster
from earwitness.harness.client.body import Body, decode
from earwitness.harness.client.flow import FlowError, Unbounded, run_flow_async
from earwitness.harness.client.http_asyncio import http_client
from earwitness.harness.client.network import Unlisted
from earwitness.harness.client.statements import digest_of, write_seen
from earwitness.harness.dialects.protocol import Credentials, Person, Room, StoredRow, Target
from earwitness.harness.dialects.reading import read_history
from earwitness.harness.dialects.registry import open_target
from earwitness.harness.errors import EarwitnessError, Exit, RecordError, TargetError
from earwitness.harness.progress import say, show
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.meta import process_meta
from earwitness.harness.record.named import write_record
from earwitness.harness.record.rundir import RunDirectory, read_json, write_whole
from earwitness.harness.record.sidecar import Sidecar
from earwitness.harness.report.live_file import READING
from earwitness.harness.run.databases import Row, UserTables, as_json, differing, place_name, read_tables

NAME = "collector"
DEADLINE_S = 110.0
PARALLEL = 16
READERS_TRIED = 20
"""Most members of a conversation that are tried one after another, because many may be banned at the end of a run."""
REQUEST_S = 20.0
PROGRESS_S = 2.0
PUBLISH_S = 0.5
"""Seconds between updates of the file with the progress, which the live page reads."""


class Collector:
    """Reader of a run's final state.

    `missing`: sentences about what could not be read.
    """

    def __init__(
        self, directory: RunDirectory, target: Target, roster: Roster, journal: Journal, parallel: int
    ) -> None:
        """Find the users who connected in the run of `directory`, and choose the rooms to read.

        At most `parallel` requests run at once.
        """
        self.directory, self.target, self.journal = directory, target, journal
        self.tag = str(directory.run["tag"])
        self.people = tuple(Person(**row) for row in roster.extra["people"])
        by_number = {person.number: person for person in self.people}
        self.rooms = tuple(
            Room(number=row["number"], label=row["label"], members=tuple(by_number[n] for n in row["members"]))
            for row in roster.extra["rooms"]
        )
        self.client_of: dict[int, int] = {}
        for client, user in enumerate(roster.user_of):
            self.client_of.setdefault(user, client)
        self.identified = _identified(directory)
        # A room without a member who connected was never opened, and nothing was sent there. Without identities: all.
        came = {roster.user_of[client] for client in self.identified if client < len(roster.user_of)}
        self.rooms_used = [
            room for room in self.rooms if not came or any(person.number in came for person in room.members)
        ]
        self._came = came
        self.missing: list[str] = []
        self.rows_read = 0
        self.rooms_read = 0
        self._turn = asyncio.Semaphore(parallel)
        self._logins: dict[int, asyncio.Task[Credentials]] = {}
        self.http: httpx.AsyncClient

    async def collect(self, http: httpx.AsyncClient) -> None:
        """Read histories, users tables and identities into the journal and `tables/users.jsonl`. Call it once.

        Never fails for a single read: a failed read adds a sentence to `missing`.
        """
        self.http = http
        progress = asyncio.create_task(self._progress())
        try:
            reads = [self._read_room(room) for room in self.rooms_used] if self.target.contract.history else []
            await asyncio.gather(*reads, self._databases())
            await asyncio.gather(*(self._identity(number) for number in sorted(self._logins)))
        finally:
            tasks: list[asyncio.Task[object]] = [progress, *self._logins.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- history --------------------------------------------------------------------------------------------------

    async def _read_room(self, room: Room) -> None:
        """Read the history of a room through one member, or through the next one if that fails, and record it.

        If no member can read it, add a sentence to `missing`.
        """
        trouble = "it has no members"
        for person in self._readers(room):
            try:
                credentials = await self._login(person)
                async with self._turn:
                    if self.target.parts.names_rooms:
                        await run_flow_async(self.target.open_room(credentials, room), self.http)
                    rows = await read_history(self.target, credentials, room, self.http)
            except Unbounded as error:
                trouble = str(error)
                break
            except (FlowError, Unlisted, httpx.HTTPError) as error:
                trouble = f"{type(error).__name__}: {error}"
                continue
            self._write_down(room, person, rows)
            return
        self.missing.append(f"the history of {room.label} could not be read: {trouble}")

    def _readers(self, room: Room) -> Sequence[Person]:
        """Return the members through whom to try to read a room, at most READERS_TRIED.

        Members whom the collector has logged in already come first, to save logins, then members who connected during
        the run.
        """

        def rank(person: Person) -> tuple[bool, bool, int]:
            return person.number not in self._logins, person.number not in self._came, person.number

        return sorted(room.members, key=rank)[:READERS_TRIED]

    async def _login(self, person: Person) -> Credentials:
        task = self._logins.get(person.number)
        if task is None:
            task = self._logins[person.number] = asyncio.create_task(self._log_in(person))
        return await asyncio.shield(task)

    async def _log_in(self, person: Person) -> Credentials:
        async with self._turn:
            return await run_flow_async(self.target.login(person), self.http)

    def _write_down(self, room: Room, person: Person, rows: Sequence[StoredRow]) -> None:
        client = self.client_of.get(person.number, NOBODY)
        existing = self.target.parts.has_rooms is not None
        last, count = NONE, 0
        for row in rows:
            body = decode(row.text)
            if existing and (body is None or body.tag != self.tag):
                continue  # the room existed before the run: messages of others are not leftovers
            self._stored(room, client, row, body)
            last, count = max(last, row.seq), count + 1
        self._write(Kind.READ_END, client=client, conv=room.number, counter=count, seq=last)
        self.rooms_read += 1
        self.rows_read += count

    def _stored(self, room: Room, client: int, row: StoredRow, body: Body | None) -> None:
        flags, author, conv = 0, NOBODY, room.number
        counter = proc = attempt = digest = 0
        if body is not None:
            tag, author, conv, counter, proc, attempt, digest, sound = body
            if not sound:
                flags = int(Flag.CORRUPT)
            elif tag != self.tag:
                flags, author = int(Flag.FOREIGN_RUN), NOBODY
            if conv != room.number or row.conversation not in (None, room.label):
                flags |= int(Flag.MISROUTED)
        else:
            flags = int(Flag.CORRUPT if row.text.startswith(f"ew1:{self.tag}:") else Flag.FOREIGN_RUN)
            if flags == Flag.FOREIGN_RUN and row.sender in self.target.parts.agents:
                author, digest = AGENT, crc32(row.text.encode("utf-8", "surrogatepass"))
        sender = NONE if row.sender is None else self.journal.intern(row.sender)
        size = len(row.text) if row.text.isascii() else len(row.text.encode("utf-8", "surrogatepass"))
        write_record(
            self.journal, time.monotonic_ns(), Kind.STORED, flags=flags, attempt=attempt, proc=proc, client=client,
            conv=conv, author=author, counter=counter, seq=row.seq, aux=sender, size=size, digest=digest,
        )  # fmt: skip

    def _write(
        self, kind: Kind, *, client: int, conv: int = NOBODY, counter: int = 0, seq: int = NONE, aux: int = NONE
    ) -> None:
        write_record(
            self.journal, time.monotonic_ns(), kind, client=client, conv=conv, counter=counter, seq=seq, aux=aux
        )

    # -- identities -----------------------------------------------------------------------------------------------

    async def _identity(self, number: int) -> None:
        """Record the user id that each place states for the user `number`, if the collector has logged the user in."""
        task, client = self._logins[number], self.client_of.get(number, NOBODY)
        if not task.done() or task.cancelled() or task.exception() is not None:
            return
        credentials = task.result()
        if client not in self.identified:
            # The load's own statement is kept where there is one: another id at this login must be visible.
            self.journal.identity(client, credentials.user_id)
            self.identified.add(client)
        self._states(client, Place.AUTH, credentials.user_id)
        try:
            async with self._turn:
                statements = await run_flow_async(self.target.identity(credentials), self.http)
        except (FlowError, Unlisted, httpx.HTTPError) as error:
            self.missing.append(f"no service stated who {credentials.person.name} is: {type(error).__name__}: {error}")
            return
        for statement in statements:
            self._states(client, Place(statement.place), statement.user_id)

    def _states(self, client: int, place: Place, user_id: str | None) -> None:
        aux = NONE if user_id is None else self.journal.intern(user_id)
        self._write(Kind.IDENTITY, client=client, counter=int(place), aux=aux)

    async def _databases(self) -> None:
        queries = self.target.parts.databases
        if not queries:
            return
        accounts = {p.number: p for p in self.target.parts.people}
        people = [accounts.get(person.number, person) for person in self.people]
        pattern = "%" if accounts else f"%{self.tag}%"
        try:
            tables = await read_tables(queries, pattern, people, self.target.contract.sync_bound_s)
        except TargetError as error:
            self.missing.append(str(error))
            return
        for person in people:
            self._table_rows(person, tables)
        ours = {person.email.lower() for person in people}
        for place, rows in tables.rows.items():
            for row in rows:
                if not accounts or str(row["email"]).lower() in ours:
                    self.directory.append("users", {"table": place_name(place), **as_json(row)})
        for email, what in tables.differences.items():
            self.directory.append("users", {"differs": what, "email": email, "after_s": round(tables.looked_s, 3)})

    def _table_rows(self, person: Person, tables: UserTables) -> None:
        """Record an IDENTITY for each row of a user in each users table.

        Some situations are recorded with a text in place of the user id, which differs from the ids of all logins: a
        user without a row, and a row that differs from the auth service's row in other columns than the id. A user who
        never connected and is in no table is skipped.
        """
        client = self.client_of.get(person.number, NOBODY)
        rows = {place: tables.of(place, person.email) for place in tables.rows}
        if client == NOBODY or (client not in self.identified and not any(rows.values())):
            return
        own = rows.get(Place.AUTH_DATABASE, [])
        if client not in self.identified and own:
            # the account was created, but the login's answer never came
            self.journal.identity(client, str(own[0]["id"]))
            self.identified.add(client)
        for place, found in rows.items():
            self._seen(client, place, found, tables)
            for row in found or ({"id": f"no row in the {place_name(place)}"},):
                differs = differing(own[0], row) if len(own) == len(found) == 1 else []
                stranger = f"other {', '.join(differs)} in the {place_name(place)}"
                self._states(client, place, stranger if differs and "id" not in differs else str(row["id"]))

    def _seen(self, client: int, place: Place, found: Sequence[Row], tables: UserTables) -> None:
        """Record how many rows a user has in the table of `place`, and a digest of the columns that all tables have."""
        columns = [set(row) for rows in tables.rows.values() for row in rows[:1]]
        both = sorted(set.intersection(*columns)) if columns else []
        values = [found[0][name] for name in both if name != "is_active"] if found else []
        look = {"asked_ns": tables.asked_ns, "seen_ns": time.monotonic_ns(), "of": client}
        write_seen(
            self.journal, NOBODY, place, State.PROFILE, **look, value=len(found),
            digest=digest_of(*values) if found else 0,
        )  # fmt: skip
        if found and "is_active" in both:
            active = int(bool(found[0]["is_active"]))
            write_seen(self.journal, NOBODY, place, State.ACTIVE, **look, value=active, digest=digest_of(active))

    async def _progress(self) -> None:
        next_line = time.monotonic() + PROGRESS_S
        try:
            while True:
                progress = {"done": self.rooms_read, "of": len(self.rooms_used)}
                write_whole(self.directory.path / READING, json.dumps(progress).encode())
                await asyncio.sleep(PUBLISH_S)
                if time.monotonic() >= next_line:
                    next_line += PROGRESS_S
                    show(f"  {self.said()}")
        finally:
            (self.directory.path / READING).unlink(missing_ok=True)

    def said(self) -> str:
        """Return words for the progress: numbers of rooms and messages read so far."""
        return f"{self.rooms_read} of {len(self.rooms_used)} rooms read, {self.rows_read} messages"


def _identified(directory: RunDirectory) -> set[int]:
    """Return the numbers of the clients whose user id on the platform a journal of this run states already."""
    clients = set()
    for path in directory.journals.glob("*.names.jsonl"):
        sidecar = Sidecar(path)
        sidecar.read()
        clients |= {client for client, _ in sidecar.identities}
    return clients


async def collect(run_dir: Path, *, deadline_s: float = DEADLINE_S, parallel: int = PARALLEL) -> int:
    """Collect a run's final state into its directory; return the exit code: 0, or 3 if something is missing.

    deadline_s  seconds until the collection is ended
    parallel    most requests at the same time

    Raises EarwitnessError if the collection cannot begin.
    """
    directory = RunDirectory.open(run_dir)
    roster = Roster.from_dict(read_json(run_dir / "roster.json"))
    for key, where, found in (
        ("tag", "run.json", "tag" in directory.run),
        ("target", "run.json", "target" in directory.run),
        ("people", "roster.json (extra)", "people" in roster.extra),
        ("rooms", "roster.json (extra)", "rooms" in roster.extra),
    ):
        if not found:
            raise RecordError(f"{run_dir}: {where} has no {key}, so the final state cannot be read.")
    target = open_target(directory.run["target"])
    journal = Journal.create(directory.journals, NAME, meta=process_meta(role=NAME, roster=roster.digest()))
    collector = Collector(directory, target, roster, journal, parallel)
    try:
        async with (
            asyncio.timeout(deadline_s),
            http_client(target.network, timeout_s=REQUEST_S) as http,
        ):
            await collector.collect(http)
    except TimeoutError:
        collector.missing.append(f"the deadline of {deadline_s:.0f} s was over with {collector.rooms_read} rooms read")
    finally:
        journal.close({"rows": collector.rows_read, "rooms": collector.rooms_read, "missing": collector.missing})
    for sentence in collector.missing:
        say(sentence)
    show(f"  {collector.said()}")
    return Exit.UNKNOWN if collector.missing else Exit.PASS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the collector with command-line arguments (None: those of the process); return the exit code 0, 2 or 3."""
    parser = argparse.ArgumentParser(
        prog="python -m earwitness.harness.run.collect", description="Read a run's final state."
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("--deadline", type=float, default=DEADLINE_S, metavar="SECONDS")
    parser.add_argument("--parallel", type=int, default=PARALLEL, metavar="N", help="requests under way at once")
    arguments = parser.parse_args(argv)
    try:
        return asyncio.run(
            collect(arguments.run_dir, deadline_s=arguments.deadline, parallel=max(1, arguments.parallel))
        )
    except EarwitnessError as error:
        say(str(error))
        return Exit.CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())
