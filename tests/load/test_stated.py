"""What a run states for its report: latencies from the planned start by second, and the options of its command.

Both run in a process of their own, because Locust changes the one that imports it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.shipped import STORIES

SAMPLED = """
import sys
from pathlib import Path
from types import SimpleNamespace
from locust.stats import RequestStats
from earwitness.harness.client.tally import ACKNOWLEDGED, ACKNOWLEDGED_FROM_PLAN, Tally
from earwitness.harness.load.statistics import Publisher
from earwitness.harness.run.sampler import SelfSampler

tally = Tally()
publisher = Publisher(SimpleNamespace(stats=RequestStats()), tally)
for planned_ms in ((10, 10, 10), (), (400,)):
    for ms in planned_ms:
        tally.histogram(ACKNOWLEDGED_FROM_PLAN).add(ms * 1_000_000)
        tally.histogram(ACKNOWLEDGED).add(1_000_000)
    publisher.publish()
    SelfSampler(Path(sys.argv[1]), "load-0", publisher.planned_ack).close()
publisher.close()
"""
STATED = """
import sys
from argparse import Namespace
from json import dumps, loads
from earwitness.harness.load.run_settings import RunSettings

print(dumps(RunSettings(Namespace(**loads(sys.argv[1])), None, [], None, (), None).stated))
"""


def ran(code: str, argument: str, folder: Path) -> str:
    """Return what a program prints."""
    done = subprocess.run([sys.executable, "-c", code, argument], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_latencies_from_the_planned_start_are_those_since_the_last_sample(tmp_path: Path) -> None:
    """Each row has only its own; a row without any answer has none; the latency from the real start stays apart."""
    table = tmp_path / "services.jsonl"
    ran(SAMPLED, str(table), tmp_path)
    rows = [json.loads(line) for line in table.read_text("utf-8").splitlines()]
    assert [(row.get("planned_ack_ms") or {}).get("samples") for row in rows] == [3, None, 1]
    assert rows[0]["planned_ack_ms"]["p99"] == pytest.approx(10, rel=0.01)
    assert rows[2]["planned_ack_ms"]["p99"] == pytest.approx(400, rel=0.01)


def stated(folder: Path, **values: object) -> Any:
    """What a run with these options states, started in a folder."""
    return json.loads(ran(STATED, json.dumps(values), folder))


def test_options_that_stand_nowhere_else(tmp_path: Path) -> None:
    """Defects, target, own checks, another drain, no faults, and the file of a story that its name does not find."""
    given = {"defect": "backend=drop-push:0.1", "target": "chat.toml", "check": ["c.py"], "drain_s": 60.0}
    found = stated(tmp_path, **given, faults=" none ", locustfile="stories/x.py")
    assert found == {**given, "faults": "none", "story_file": "stories/x.py"}


@pytest.mark.parametrize("folder", ["locustfiles", str(STORIES)])
def test_defaults_are_not_stated(tmp_path: Path, folder: str) -> None:
    """A story that its name finds needs no path."""
    given = {"defect": "", "target": "", "check": [], "drain_s": 20.0, "faults": ""}
    assert stated(tmp_path, **given, locustfile=f"{folder}/ws_ordering.py") == {}
