"""The end of a run waits for silence: nothing is recorded any more, whatever heartbeats still arrive."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import gevent.monkey
gevent.monkey.patch_all()
import time
from types import SimpleNamespace
from earwitness.harness.client.link import TRANSPORT
from earwitness.harness.load import worker

part = SimpleNamespace(journal=SimpleNamespace(records=0))

def pause(seconds):
    time.sleep(seconds)
    TRANSPORT.frames_in += 1
    part.journal.records += {records}

worker.gevent = SimpleNamespace(sleep=pause)
print(worker.Part._wait(part, lambda: False, time.monotonic() + 0.8, 0.2))
"""


@pytest.mark.parametrize(("records", "silent"), [(0, True), (1, False)])
def test_heartbeats_do_not_break_the_silence(records: int, silent: bool) -> None:
    """Frames keep coming in both cases; only records count."""
    code = CODE.format(records=records)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == (str(silent), 0), done.stderr
