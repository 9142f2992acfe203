"""Measure the microseconds of CPU time to record one event, minus those of a loop that records nothing.

python -m benchmarks.record journal|bare|frames|lines|read [--events N]

journal   `Journal.write`: 64 bytes into a memory-mapped file; nothing is lost at SIGKILL
bare      as `journal`, but without sealing: no checksums, no seals
frames    as `journal`, and the raw frame of each event is stored too (--keep-frames)
lines     orjson lines with the same fields into a buffered file; its end is lost at SIGKILL
read      read a journal back in batches, with ids remapped, as the judge does
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

import earwitness.checks.judge  # noqa: F401  # its import is not what is measured
from earwitness.checks.roster import Roster
from earwitness.harness.record import journal as writing
from earwitness.harness.record.frames import FrameStore
from earwitness.harness.record.history import open_history
from earwitness.harness.record.journal import Journal, Write
from earwitness.harness.record.rundir import RunDirectory

MODES = ("journal", "bare", "frames", "lines", "read")
FRAME = '{"type":"message","conversation":"a0c5701d-r2-of-10","seq":15,"text":"' + "x" * 55 + '"}'
"""Frame of 128 bytes, like the frames of `benchmarks.client`."""


def nothing(
    t: int, kind: int, flags: int, attempt: int, proc: int, client: int, conn: int, conv: int, author: int,
    counter: int, seq: int, aux: int, size: int, digest: int, /,
) -> int:  # fmt: skip
    return 1


def _cpu_s(write: Write, events: int, aux: int = -1) -> float:
    begin = time.process_time()
    for n in range(events):
        write(time.monotonic_ns(), 5, 0, 1, 1, 17, 4, 12, 88, n, 1000 + n, aux, 128, 0xDEADBEEF)
    return time.process_time() - begin


def _seal_nothing() -> None:
    """Switch off sealing for all journals of this process."""

    def forget(journal: Journal) -> None:
        journal._unsealed.clear()

    writing.tag_of = lambda records: ""
    Journal._seal = forget  # type: ignore[method-assign]


def _keeping(folder: Path) -> tuple[Write, Callable[[], None]]:
    """Return functions to write a record with its frame, and to close, as a session with --keep-frames does."""
    journal, store = Journal.create(folder, "bench", meta={}), FrameStore.create(folder, "bench")
    secrets = (b"x" * 700 + b"a token",)

    def write(*record: int) -> int:
        store.hearing(journal.records + 1, FRAME, secrets)
        n = journal.write(*record)
        store.heard(journal.records)
        return n

    def close() -> None:
        store.close()
        journal.close({})

    return write, close


def _lines(path: Path) -> tuple[Write, Callable[[], None]]:
    file = path.open("wb")

    def write(
        t: int, kind: int, flags: int, attempt: int, proc: int, client: int, conn: int, conv: int, author: int,
        counter: int, seq: int, aux: int, size: int, digest: int, /,
    ) -> int:  # fmt: skip
        row = {
            "t": t, "kind": kind, "flags": flags, "attempt": attempt, "proc": proc, "client": client, "conn": conn,
            "conv": conv, "author": author, "counter": counter, "seq": seq, "aux": aux, "size": size, "digest": digest,
        }  # fmt: skip
        return file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    return write, file.close


def _read_cpu_s(folder: Path, events: int) -> float:
    run = RunDirectory.create(folder, "benchmark", 0)
    run.write_roster(Roster(user_of=(0,), conversations=((0,),)))
    journal = Journal.create(run.journals, "bench", meta={})
    _cpu_s(journal.write, events, journal.intern("somebody"))
    journal.close({})
    begin = time.process_time()
    count = sum(len(batch.records) for batch in open_history(run.path).batches())
    cpu_s = time.process_time() - begin
    assert count == events
    return cpu_s


def measure(mode: str, events: int = 500_000) -> dict[str, Any]:
    """Measure one round of a mode; return mode, events and us_per_event, microseconds of CPU time per event."""
    with tempfile.TemporaryDirectory() as folder:
        if mode == "read":
            cpu_s = _read_cpu_s(Path(folder), events)
        else:
            empty_s = _cpu_s(nothing, events)
            if mode in ("journal", "bare"):
                if mode == "bare":
                    _seal_nothing()
                journal = Journal.create(Path(folder), "bench", meta={})
                write: Write = journal.write

                def close() -> None:
                    journal.close({})
            elif mode == "frames":
                write, close = _keeping(Path(folder))
            else:
                write, close = _lines(Path(folder) / "lines")
            cpu_s = _cpu_s(write, events) - empty_s
            close()
    return {"mode": mode, "events": events, "us_per_event": cpu_s / events * 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description="Microseconds of CPU to record one event.")
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--events", type=int, default=500_000)
    options = parser.parse_args()
    print(json.dumps(measure(options.mode, options.events)))


if __name__ == "__main__":
    main()
