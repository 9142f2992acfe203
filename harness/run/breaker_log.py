"""Reader of calls through circuit breakers, from the logs of the calling services.

Lines `… call {"dependency", "begun_ns", "ended_ns", "state", "called", "answered"}` become CALL records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from earwitness.checks.history.record import Flag, Kind
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.meta import process_meta
from earwitness.harness.record.named import write_record
from earwitness.harness.record.rundir import RunDirectory

JOURNAL = "calls"
_MARK = b" call {"
_STATES = {"closed": 1, "open": 2, "half-open": 3}


class CallLog:
    """Reader of the lines that services append to their logs after this object was made.

    `logs`: path of each service's log, by name of the service.
    """

    def __init__(self, logs: Mapping[str, Path]) -> None:
        """Store the present sizes of `logs`: earlier lines are skipped."""
        self._logs = dict(logs)
        self._begun = {name: path.stat().st_size if path.exists() else 0 for name, path in self._logs.items()}

    def write(self, run: RunDirectory) -> int:
        """Write all calls since this object was made to the journal `calls`; return the number of calls.

        The records are in the order of the ends of the calls.
        """
        calls = [(name, call) for name in self._logs for call in self._calls(name)]
        calls.sort(key=lambda each: each[1]["ended_ns"])
        journal = Journal.create(run.journals, JOURNAL, meta=process_meta())
        for name, call in calls:
            author = journal.intern(f"{name}/{call['dependency']}")
            flags, state = int(Flag.ACCEPTED) if call["answered"] else 0, _STATES.get(call["state"], 0)
            write_record(
                journal, call["ended_ns"], Kind.CALL, flags=flags, author=author, counter=state, seq=call["begun_ns"],
                aux=int(call["called"]),
            )  # fmt: skip
        journal.close({})
        return len(calls)

    def _calls(self, name: str) -> Iterator[dict[str, Any]]:
        path = self._logs[name]
        if not path.exists():
            return
        with path.open("rb") as log:
            log.seek(self._begun[name])
            for line in log:
                _, mark, told = line.partition(_MARK)
                if mark:
                    try:
                        yield json.loads(b"{" + told)
                    except ValueError:
                        continue  # cut off by the end of its process
