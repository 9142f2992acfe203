"""Inputs of each kind, drawn by a seed, and their outcomes."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import mutations
import pyarrow as pa
import pyarrow.parquet as pq
import valid_inputs as valid
from damage import simulated_run
from spoken_target import speak

from earwitness.harness.cli import main
from earwitness.harness.described import from_json
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.errors import EarwitnessError
from earwitness.harness.planning.arrivals import Arrivals, Shape
from earwitness.harness.platform.faults import faults_of, read_schedule
from earwitness.harness.progress import printable
from earwitness.harness.record.evidence import KEY
from earwitness.harness.record.rundir import CHECKSUM, checksum, read_json
from earwitness.harness.report.thresholds import parse_all
from earwitness.harness.settings import load_settings

LONGEST: Final = 3000
"""Longest allowed message of a refusal in characters: a longer one cannot be a single sentence."""
COUNTS: Final = (1, 1, 1, 2, 2, 3)
REFUSED: Final = "refused"
SERVICES: Final = ("auth", "backend-1", "backend-2", "frontend", "postgres", "valkey", "links")
ENDPOINTS: Final = {
    "backends": {"backend-1": "http://127.0.0.1:9", "backend-2": "http://127.0.0.1:9"},
    "auth": "http://127.0.0.1:9",
    "links": ["edge/backend-1", "edge/backend-2", "client/edge", "backend-1/auth"],
}


@dataclass(frozen=True, slots=True)
class Trial:
    """Result of one input.

    `outcome`: "refused", or the verb and its exit code; `wrong`: what should not have happened, in words, "" if
    nothing.
    """

    kind: str
    outcome: str
    wrong: str = ""


def command(*arguments: str | Path) -> Trial:
    """Run a verb of `earwitness` in this process; return the result."""
    said = io.TextIOWrapper(io.BytesIO(), "ascii", newline="\n")  # a terminal that knows no other letters
    errors = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc(file=errors)
            code = -1
    said.flush()
    text = errors.getvalue() + (said.buffer.getvalue().decode() if code != 2 else "")
    outcome = REFUSED if code == 2 else f"{arguments[0]} {code}"
    if "Traceback" in text or not 0 <= code <= 4:
        return Trial("", "wrong", f"{arguments[0]}: exit {code}: {text[-1500:]}")
    if code == 2:
        return Trial("", outcome, _no_sentence(text))
    return Trial("", outcome)


def _no_sentence(text: str) -> str:
    """Return what is wrong with the text of a refusal; "" if it is one sentence that begins with "earwitness: "."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) != 1 or not lines[0].startswith("earwitness: "):
        return f"not one sentence: {text[:600]!r}"
    if len(text) > LONGEST:
        return f"a sentence of {len(text):,} characters: {text[:200]!r}"
    return ""


class Trials:
    """Generator of inputs, which tries them in a folder of its own."""

    def __init__(self, place: Path, kind: str = "") -> None:
        self.place = place
        os.environ.update(valid.SECRETS)
        self.kinds: Mapping[str, Callable[[random.Random], Trial]] = {
            "jsonl": self._jsonl,
            "parquet": self._parquet,
            "import with contract": self._both,
            "contract": self._contract,
            "run directory": self._run_directory,
            "target": self._target,
            "settings": self._settings,
            "faults": self._faults,
            "arrivals": lambda rng: _text(rng, valid.ARRIVALS, _arrive),
            "shape": lambda rng: _text(rng, valid.SHAPES, _shape),
            "threshold": lambda rng: _text(rng, valid.THRESHOLDS, lambda text: parse_all("--threshold", [text])),
        }
        self.only = [kind] if kind else list(self.kinds)
        self._prepare()

    def one(self, seed: int) -> Trial:
        """Draw the input of a seed, try it, and return the result."""
        kind, rng = self.only[seed % len(self.only)], random.Random(seed)
        try:
            trial = self.kinds[kind](rng)
        except EarwitnessError as error:
            sentence = printable(f"earwitness: {error}")
            trial = Trial("", REFUSED, _no_sentence(sentence))
        except Exception:
            trial = Trial("", "wrong", traceback.format_exc()[-1500:])
        for name in ("run", "copy"):
            shutil.rmtree(self.place / name, ignore_errors=True)
        return Trial(kind, trial.outcome, trial.wrong)

    def _prepare(self) -> None:
        """Make the valid inputs that are mutated: a hand-written history, exports of a run, run directories."""
        valid.beside_targets(self.place)
        self.plain = valid.plain_history()
        (self.place / "plain.jsonl").write_text("\n".join(map(mutations.as_json, self.plain)))
        simulated_run(self.place / "simulated", 1)
        for name in ("export.jsonl", "export.parquet"):
            with contextlib.redirect_stdout(io.StringIO()):
                assert main(["export", str(self.place / "simulated"), "-o", str(self.place / name)]) == 0
        self.exported = [json.loads(line) for line in (self.place / "export.jsonl").read_text().splitlines()]
        self.table = pq.read_table(self.place / "export.parquet")
        self.parquet_bytes = (self.place / "export.parquet").read_bytes()
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["import", str(self.place / "plain.jsonl"), "-o", str(self.place / "imported")]) == 0

    # -- histories --------------------------------------------------------------------------------------------------

    def _judged(self, file: Path, rng: random.Random, *options: str | Path) -> Trial:
        run = self.place / "run"
        trial = command("import", file, "-o", run, *options)
        if trial.outcome == REFUSED or trial.wrong:
            left = "left a directory behind" if run.exists() and not trial.wrong else ""
            return Trial("", trial.outcome, trial.wrong or left)
        trial = command("check", run)
        if trial.wrong or rng.random() < 0.8:
            return trial
        again = command("export", run, "-o", self.place / f"again{rng.choice(('.jsonl', '.parquet'))}")
        return again if again.wrong else trial

    def _lines(self, rng: random.Random) -> Path:
        rows = copy.deepcopy(self.plain if rng.random() < 0.7 else self.exported)
        file, count = self.place / "h.jsonl", rng.choice(COUNTS)
        if rng.random() < 0.2:
            text = "\n".join(map(mutations.as_json, rows)).encode()
            for _ in range(count):
                text = mutations.data(rng, text)
        else:
            for _ in range(count):
                at = rng.randrange(len(rows))
                if rng.random() < 0.1:
                    rows.insert(at, rows.pop(rng.randrange(len(rows))))
                else:
                    rows[at] = mutations.tree(rng, rows[at])
            text = "\n".join(map(mutations.as_json, rows)).encode()
        file.write_bytes(text)
        return file

    def _jsonl(self, rng: random.Random) -> Trial:
        return self._judged(self._lines(rng), rng)

    def _columns(self, rng: random.Random) -> Path:
        """Return the path of a Parquet file with mistakes in its bytes, its column names, or its columns."""
        file, way = self.place / "h.parquet", rng.random()
        if way < 0.3:
            content = self.parquet_bytes
            for _ in range(rng.choice(COUNTS)):
                content = mutations.data(rng, content)
            file.write_bytes(content)
            return file
        table = self.table
        for _ in range(rng.choice(COUNTS)):
            table = _other_headers(rng, table) if rng.random() < 0.4 else _other_column(rng, table)
        try:
            pq.write_table(table, file)
        except pa.ArrowException:
            file.write_bytes(b"")
        return file

    def _parquet(self, rng: random.Random) -> Trial:
        return self._judged(self._columns(rng), rng)

    def _promises(self, rng: random.Random) -> Path:
        file = self.place / "contract.toml"
        _write_toml(rng, file, valid.contract())
        return file

    def _contract(self, rng: random.Random) -> Trial:
        return self._judged(self.place / "plain.jsonl", rng, "--contract", self._promises(rng))

    def _both(self, rng: random.Random) -> Trial:
        file = self._lines(rng) if rng.random() < 0.5 else self._columns(rng)
        return self._judged(file, rng, "--contract", self._promises(rng))

    def _run_directory(self, rng: random.Random) -> Trial:
        """Try a run directory with mutated `run.json` and roster, whose checksum is made valid again.

        Return the result.
        """
        run = self.place / "copy"
        shutil.copytree(self.place / rng.choice(("imported", "simulated")), run)
        for name in rng.choice((("run.json",), ("run.json",), ("roster.json", "run.json"))):
            value: Any = read_json(run / name)
            if rng.random() < 0.5:
                value.pop(KEY, None)
            for _ in range(rng.choice(COUNTS)):
                value = mutations.tree(rng, value)
            if isinstance(value, dict) and CHECKSUM in value and "@" not in json.dumps(value):  # no mark to write out
                value[CHECKSUM] = checksum(value)
            (run / name).write_text(mutations.as_json(value))
        for verb in ("verify", "export", "check"):
            trial = command(verb, run, *(("-o", self.place / "again.jsonl") if verb == "export" else ()))
            if trial.wrong:
                return trial
        return trial

    # -- what is written for a run ----------------------------------------------------------------------------------

    def _target(self, rng: random.Random) -> Trial:
        file = self.place / "chat.toml"
        _write_toml(rng, file, rng.choice(valid.targets()))
        target = load_target(file)
        speak(target, rng)
        return Trial("", "spoken")

    def _settings(self, rng: random.Random) -> Trial:
        file = self.place / "earwitness.toml"
        variables = dict(valid.VARIABLES)
        if rng.random() < 0.5:
            variables = {}
        elif rng.random() < 0.7:
            changed = mutations.tree(rng, variables)
            variables = {str(k): str(v) for k, v in changed.items()} if isinstance(changed, dict) else {}
        _write_toml(rng, file, valid.settings())
        try:
            load_settings(file, variables)
        finally:
            file.unlink()
        return Trial("", "read")

    def _faults(self, rng: random.Random) -> Trial:
        def plan(text: str) -> None:
            planned = read_schedule(text, named=rng.random() < 0.2)
            faults_of(planned, SERVICES, ENDPOINTS)

        return _text(rng, valid.SCHEDULES, plan)


def _other_headers(rng: random.Random, table: pa.Table) -> pa.Table:
    metadata = dict(table.schema.metadata or {})
    key = b"earwitness" if b"earwitness" in metadata else b"pandas"
    text = metadata.get(key, b"[]")
    if rng.random() < 0.3:
        metadata[key] = mutations.data(rng, text)
    else:
        try:
            metadata[key] = mutations.as_json(mutations.tree(rng, from_json(text))).encode()
        except ValueError:
            metadata[key] = b"{"
    return table.replace_schema_metadata(metadata)


def _other_column(rng: random.Random, table: pa.Table) -> pa.Table:
    number = rng.randrange(table.num_columns)
    name, column = table.column_names[number], table.column(number)
    way = rng.randrange(5)
    if way == 0:
        return table.remove_column(number)
    if way == 1:
        other = mutations.text(rng, name).encode(errors="replace").decode() or "x"  # Parquet's names are UTF-8
        return table.rename_columns([other if n == number else one for n, one in enumerate(table.column_names)])
    if way == 2:
        kinds = (pa.float64(), pa.string(), pa.binary(), pa.timestamp("ns"), pa.int8(), pa.large_string(), pa.bool_())
        with contextlib.suppress(pa.ArrowException, NotImplementedError):
            return table.set_column(number, name, column.cast(rng.choice(kinds), safe=False))
        return table.remove_column(number)
    values = column.to_pylist()
    if not values:  # a mistake before has cut every row
        return table
    place = rng.randrange(len(values))
    values[place] = mutations.odd(rng) if rng.random() < 0.5 else values[rng.randrange(len(values))]
    with contextlib.suppress(pa.ArrowException, OverflowError, TypeError, UnicodeError):
        return table.set_column(number, name, pa.array(values, type=column.type if way == 3 else None))
    return table.slice(0, place)


def _write_toml(rng: random.Random, file: Path, value: Any) -> None:
    """Write `value` as TOML with mistakes: in its values or, in a fifth of the cases, in its text."""
    count = rng.choice(COUNTS)
    if rng.random() < 0.2:
        content = mutations.as_toml(value).encode()
        for _ in range(count):
            content = mutations.data(rng, content)
        file.write_bytes(content)
        return
    for _ in range(count):
        value = mutations.tree(rng, value)
    file.write_bytes(mutations.as_toml(value).encode(errors="replace"))


def _text(rng: random.Random, texts: tuple[str, ...], take: Callable[[str], object]) -> Trial:
    value = rng.choice(texts)
    for _ in range(rng.choice(COUNTS)):
        value = mutations.text(rng, value)
    take(value)
    return Trial("", "accepted")


def _arrive(text: str) -> None:
    arrivals = Arrivals.parse(text)
    if arrivals is not None:
        times = arrivals.times_s(3, 12, random.Random(1))
        seen = [next(times) for _ in range(50)]
        assert seen == sorted(seen), "arrivals out of order"
        assert seen[0] < seen[-1] < float("inf"), "arrivals that never come, or all at once"


def _shape(text: str) -> None:
    shape = Shape.parse(text)
    if shape is not None:
        users = [shape.users_at(passed, 100, 10.0) for passed in (0.0, 1.0, 5.0, 9.9)]
        assert all(count is not None and 1 <= count <= 100 for count in users), users
