"""The command `earwitness import FILE -o RUNDIR`: a run directory from a history of any client in any language.

It reads what `earwitness export` writes, and JSON lines with only the needed fields (docs/history-schema.md).
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from earwitness.checks.contract import Contract, ContractError
from earwitness.checks.roster import Origin, Roster
from earwitness.harness.described import first_sentence, from_json, read_toml
from earwitness.harness.errors import RecordError, SettingsError
from earwitness.harness.progress import Progress, show
from earwitness.harness.record.columns import SCHEMA
from earwitness.harness.record.derived_roster import Members, derived_roster, members_of
from earwitness.harness.record.drafts import IMPORT, drafted, remove
from earwitness.harness.record.evidence import KEY, conclude
from earwitness.harness.record.forms import JOURNAL, fault_of_run
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.latencies import fault_of_latencies
from earwitness.harness.record.parquet import require_pyarrow
from earwitness.harness.record.rows import RowError, Rows
from earwitness.harness.record.rundir import CHECKSUM, RUN_FILE, RunDirectory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `earwitness import` to its parser."""
    parser.add_argument("file", type=Path, help="FILE.parquet or FILE.jsonl")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUNDIR", help="run directory to create")
    parser.add_argument("--contract", type=Path, metavar="FILE", help="what the platform promises (contract.toml)")


def run(args: argparse.Namespace) -> int:
    """Import a history, print the number of records and the next command, and return the exit code 0.

    Raises RecordError or SettingsError as `import_history` does.
    """
    count = import_history(args.file, args.output, args.contract)
    show(f"{count:,} records of {args.file} → {args.output}. Judge them: earwitness check {args.output}")
    return 0


def import_history(file: Path, run_dir: Path, contract: Path | None = None) -> int:
    """Make the run directory `run_dir` from the history in `file`; return the number of records.

    Raises RecordError in one sentence with file, line and what was expected, and removes what it had written; Raises
    SettingsError for a contract that is not understood. `contract`: file of the platform's promises, if `file` does not
    have them.
    """
    promises = read_contract(contract).to_dict() if contract is not None else None
    existed = run_dir.exists()
    RunDirectory.require_free(run_dir)
    moved: list[Path] = []
    try:
        with drafted(run_dir / IMPORT, folder=True) as draft:
            count = _read(file, RunDirectory.at(draft), promises)
            for path in sorted(draft.iterdir(), key=lambda path: path.name == RUN_FILE):  # last: it makes a run of it
                moved.append(path.rename(run_dir / path.name))
    except BaseException as error:
        for path in moved:
            remove(path)
        if not existed:
            with contextlib.suppress(OSError):  # not empty: another process has written there
                run_dir.rmdir()
        if isinstance(error, OSError):
            raise RecordError(f"Cannot make the run directory {run_dir}: {error.strerror or error}.") from error
        raise
    return count


def _read(file: Path, directory: RunDirectory, promises: dict[str, object] | None) -> int:
    """Fill `directory` with the history in `file`; return the number of records.

    Raises RecordError, with file and line, if the history is not valid.
    """
    importer = _Import(directory)
    try:
        with Progress(f"reading {file}", file.stat().st_size if file.is_file() else 0) as progress:
            for where, row in _rows(file, progress):
                try:
                    importer.take(row)
                except RowError as error:
                    raise RecordError(f"{where}: {error}.") from None
        importer.finish(file, promises)
    except BaseException:
        importer.abandon()
        raise
    return importer.count


def read_contract(path: Path) -> Contract:
    """Return the contract in a TOML file, at its top level or under `[contract]`.

    Raises SettingsError if the file cannot be read, or for mistakes in the contract.
    """
    data = read_toml(path)
    promises = data.get("contract", data)
    if not isinstance(promises, dict):
        raise SettingsError(str(path), [f"contract = {promises!r} is not a table of promises"])
    try:
        return Contract.from_dict(promises)
    except ContractError as error:
        table = "contract" if "contract" in data else ""
        raise SettingsError(str(path), [fault.sentence(table) for fault in error.faults]) from None


class _Import:
    """State of one import: its headers, its journals, and the converter of rows."""

    def __init__(self, directory: RunDirectory) -> None:
        self.count = 0
        self._directory = directory
        self._rows = Rows()
        self._run: dict[str, Any] = {}
        self._roster: Roster | None = None
        self._origin = Origin.JOINED
        self._members: Members = {}
        self._journals: dict[str, Journal] = {}
        self._footers: dict[str, dict[str, Any] | None] = {}
        self._headers: dict[str, Callable[[Any], None]] = {
            "earwitness": self._take_earwitness,
            "run": self._take_run,
            "roster": self._take_roster,
            "journal": self._take_journal,
        }

    def take(self, row: Mapping[str, object]) -> None:
        """Convert one row to a record of its journal, or store one header.

        Raises RowError if it is not understood.
        """
        if "kind" in row:
            name = row.get("journal", "import")
            self._rows.write(row, self._journal(name))
            self.count += 1
            return
        header = next((key for key in self._headers if key in row), None)
        if header is None:
            raise RowError(f"'kind' is missing, and this is none of the headers {', '.join(self._headers)}")
        try:
            self._headers[header](row[header])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, RowError):
                raise
            raise RowError(f"the header {header!r} is not understood ({error!r}); see docs/history-schema.md") from None

    def finish(self, file: Path, contract: dict[str, object] | None) -> None:
        """Close the journals, write the roster and conclude the run.

        Raises RecordError if there are no records, or the roster lacks a client.
        """
        if not self.count:
            raise RecordError(f"{file} holds no records.")
        roster = self._roster or self._derived()
        beyond = max(self._rows.user_of, default=-1)
        if beyond >= len(roster.user_of):
            raise RecordError(f"{file}: client {beyond} is not in its roster, which has {len(roster.user_of)} clients.")
        for name, journal in self._journals.items():
            journal.close(self._footers.get(name, {"imported": True}))
        self._directory.write_roster(roster, self._origin)
        run = {"story": "imported", "seed": 0, "tag": "", "state": "recorded", **self._run}
        run["contract"] = contract or run.get("contract") or Contract(name=file.stem).to_dict()
        if not (self._rows.exact and "roster" in self._run):  # an export states the origin of its roster itself
            run["roster"] = self._directory.run["roster"]
        conclude(self._directory, **{"journals": list(self._journals), **run, "imported_from": str(file)})

    def _derived(self) -> Roster:
        first = next(iter(self._journals.values()))
        roster = derived_roster(self._rows, self._members)
        clients = {number: name for name, number in self._rows.clients.known.items()}
        for client, user in enumerate(roster.user_of):  # a sender may be given by either name
            for name in {clients.get(client, roster.user_names[user]), roster.user_names[user]}:
                first.identity(client, name)
        return roster

    def abandon(self) -> None:
        """Close all journals without a footer, after an error."""
        for journal in self._journals.values():
            journal.close(None)

    def _take_earwitness(self, version: int) -> None:
        if version != SCHEMA:
            raise RowError(f"the schema is version {version!r}, this earwitness reads version {SCHEMA}")
        self._rows.exact = True

    def _take_run(self, run: Mapping[str, object]) -> None:
        if fault := fault_of_run(run):
            raise RowError(f"in the header 'run' {fault}")
        self._run = {key: value for key, value in run.items() if key not in (CHECKSUM, KEY)}  # of other files

    def _take_roster(self, roster: Mapping[str, Any]) -> None:
        self._origin = Origin.LATE if self.count else Origin.STATED
        if "user_of" in roster:
            self._roster = Roster.from_dict(roster)
        else:
            self._members = members_of(roster.get("members"))

    def _take_journal(self, said: Mapping[str, Any]) -> None:
        if fault := JOURNAL.inside(said) or fault_of_latencies(said.get("footer") or {}):
            raise RowError(f"in the header 'journal' {fault}")
        journal = self._journal(said["name"], said.get("meta", {}))
        for text in said.get("names", ()):  # in this order they get the ids that they had
            journal.intern(text)
        for client, user_id in said.get("identities", ()):
            journal.identity(client, user_id)
        self._footers[journal.name] = said.get("footer")

    def _journal(self, name: object, meta: Mapping[str, object] | None = None) -> Journal:
        if not isinstance(name, str):
            raise RowError(f"'journal' is {name!r}: expected a name")
        if name not in self._journals:
            self._journals[name] = Journal.create(self._directory.journals, name, meta=meta or {})
        return self._journals[name]


def _rows(file: Path, progress: Progress) -> Iterator[tuple[str, dict[str, object]]]:
    readers = {".parquet": _parquet_rows, ".jsonl": _line_rows}
    reader = readers.get(file.suffix)
    if reader is None:
        raise RecordError(f"{file}: expected a file with the ending .parquet or .jsonl.")
    try:
        yield from reader(file, progress)
    except OSError as error:
        raise RecordError(f"Cannot read {file}: {error.strerror or first_sentence(error)}.") from error


def _line_rows(file: Path, progress: Progress) -> Iterator[tuple[str, dict[str, object]]]:
    done = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            done += len(line)
            progress.at(done)
            if not line.strip():
                continue
            where = f"{file}:{number}"
            try:
                row = from_json(line)
            except ValueError as error:
                raise RecordError(f"{where}: expected a JSON object, this is no JSON ({error}).") from None
            if not isinstance(row, dict):
                raise RecordError(f"{where}: expected a JSON object, not {type(row).__name__}.")
            yield where, row


def _parquet_rows(file: Path, progress: Progress) -> Iterator[tuple[str, dict[str, object]]]:
    require_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            for header in _parquet_headers(file, table.schema_arrow.metadata or {}):
                yield f"{file}: header", header
            number, size = 0, file.stat().st_size
            if times := [field.name for field in table.schema_arrow if pa.types.is_temporal(field.type)]:
                raise RecordError(f"{file}: column {times[0]!r} holds times: expected numbers (time_ns: nanoseconds).")
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    progress.at(number * size // table.metadata.num_rows)
                    yield f"{file}: row {number}", {name: value for name, value in row.items() if value is not None}
    except pa.ArrowException as error:
        raise RecordError(f"{file} is damaged, or no Parquet file: {first_sentence(error)}.") from None
    except UnicodeDecodeError as error:
        raise RecordError(f"{file} is damaged: a text in it is not UTF-8 ({error.reason}).") from None


def _parquet_headers(file: Path, metadata: Mapping[bytes, bytes]) -> list[dict[str, object]]:
    try:
        headers = from_json(metadata.get(b"earwitness", b"[]"))
    except ValueError as error:
        raise RecordError(f"{file} is damaged: its metadata 'earwitness' is no JSON ({error}).") from None
    if not isinstance(headers, list) or not all(isinstance(header, dict) for header in headers):
        raise RecordError(f"{file} is damaged: its metadata 'earwitness' is no list of objects.")
    return headers
