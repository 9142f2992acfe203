"""What intact blocks after a damaged one prove."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from earwitness.checks.history.record import RECORD_BYTES
from earwitness.harness.record.importer import import_history
from earwitness.harness.record.journal import BLOCK_RECORDS
from earwitness.harness.report.judging import judge_run

NAME = "import"


def rows(leak: bool) -> Iterator[dict[str, Any]]:
    """Three blocks: Ann and Bob meet in the first; in the third Eve hears what Ann says, if there is a leak."""
    yield {"roster": {"members": {"g": ["ann", "bob"]}}}
    yield {"kind": "connect", "client": "ann"}
    yield {"kind": "connect", "client": "bob"}
    yield {"kind": "connect", "client": "eve"}
    for _ in range(2 * BLOCK_RECORDS):
        yield {"kind": "probe", "client": "ann", "name": "x", "status": 200, "duration_us": 1}
    yield {"kind": "invoke", "client": "ann", "conversation": "g", "message": "m1", "text": "hello"}
    yield {"kind": "deliver", "client": "eve" if leak else "bob", "conversation": "g", "message": "m1", "text": "hello"}


@pytest.mark.parametrize(("leak", "outcome"), [(True, "FAIL"), (False, "UNKNOWN")])
def test_a_leak_behind_damage(tmp_path: Path, leak: bool, outcome: str) -> None:
    """It is told with the journal and the records that prove it; without one damage is no PASS."""
    lines = [row if "roster" in row else {"time_ns": n * 1000, **row} for n, row in enumerate(rows(leak))]
    (tmp_path / "h.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_history(tmp_path / "h.jsonl", tmp_path / "run")
    data = tmp_path / "run" / "journals" / f"{NAME}.ewj"
    content = bytearray(data.read_bytes())
    content[RECORD_BYTES * 10] ^= 1
    data.write_bytes(content)
    verdict = judge_run(tmp_path / "run")
    checks = {check["id"]: check for check in [*verdict["harness"], *verdict["checks"]]}
    assert checks["H8"]["outcome"] == "UNKNOWN"
    assert checks["I12"]["outcome"] == outcome
    if leak:
        (witness,) = checks["I12"]["witnesses"]
        assert {record["journal"] for record in witness["records"]} == {NAME}
        assert min(record["index"] for record in witness["records"]) > 2 * BLOCK_RECORDS
        assert "found also in intact blocks after a damaged one" in checks["I12"]["why"]
