"""The last scrape of a process that ends: awaited if a scraper has come before, and never for long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
import earwitness.harness.load  # Locust patches this process first
import gevent, httpx
from earwitness.harness.load.metrics import Metrics
from earwitness.harness.run.metrics import RunMetrics

case, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
runner = SimpleNamespace(user_count=0)
environment = SimpleNamespace(stats=SimpleNamespace(entries={}))
metrics = Metrics(SimpleNamespace(runner=runner, environment=environment, latest_part=None))
metrics.serve(port)
run = RunMetrics(folder, story="s", seed=1, target="t", users=1, room_sizes=(), thresholds=(), faults={})
metrics.begin(run)
seen = []

def scrape():
    seen.append(httpx.get(f"http://127.0.0.1:{port}/metrics").text)

def finished(text):
    return 'earwitness_run_stage{run="%s",stage="finished"} 1.0' % folder.name in text

if case != "nobody":
    scrape()
    gevent.sleep(1.0)
    scrape()
    assert not any(map(finished, seen))
metrics.enter("finished")
stop = []
if case == "comes":
    gevent.spawn_later(0.6, scrape)
if case == "interrupted":
    gevent.spawn_later(0.3, stop.append, 1)
before = time.monotonic()
metrics.close(lambda: bool(stop))
print(f"{time.monotonic() - before:.2f} {int(finished(seen[-1]) if seen else 0)}")
"""


@pytest.mark.parametrize(
    ("case", "least_s", "most_s", "sees"),
    [
        ("nobody", 0.0, 5.0, 0),
        ("comes", 0.5, 10.0, 1),
        ("gone", 2.4, 10.0, 0),  # one and a half intervals of one second, and one second
        ("interrupted", 0.2, 2.3, 0),
    ],
)
def test_the_last_scrape(case: str, least_s: float, most_s: float, sees: int, port: int, tmp_path: Path) -> None:
    """In a process of its own, because Locust patches the one that imports it."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, case, str(port), str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    waited_s, saw = done.stdout.split()[-2:]
    assert int(saw) == sees
    assert least_s <= float(waited_s) <= most_s
    assert ("waiting for a last scrape" in done.stdout + done.stderr) == (case != "nobody")
