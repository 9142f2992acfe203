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


SETTLE = """
import gevent.monkey
gevent.monkey.patch_all()
from types import SimpleNamespace
from earwitness.harness.load import worker

waited = []
def wait(done, end, quiet_s=None):
    waited.append((done(), quiet_s is not None))
    return True

session = SimpleNamespace(resume_points=lambda: {{"r": 4}}, acked_points=lambda: {{"r": {acked}}}, outside=set())
user = SimpleNamespace(online=True, session=session, rooms=[SimpleNamespace(label="r")])
contract = SimpleNamespace(echo={echo}, sequence="contiguous")
part = SimpleNamespace(
    target=SimpleNamespace(contract=contract), _talking=lambda: [user], _wait=wait, _last_record_at=0.0
)
worker.Part.settle(part, {{"r": 5}}, 9.0)
print(waited)
"""


@pytest.mark.parametrize(
    ("echo", "acked", "waited"),
    [
        (True, 5, [(False, False)]),
        (False, 5, [(True, False), (False, True)]),
        (False, 4, [(False, False), (False, True)]),
    ],
    ids=["its echo is missing", "nobody sends it back", "another's is missing"],
)
def test_an_own_message_that_nobody_sends_back(echo: bool, acked: int, waited: list[tuple[bool, bool]]) -> None:
    """Without echo the answer stands for it, and silence is awaited too: messages of others may still be under way."""
    code = SETTLE.format(echo=echo, acked=acked)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == (str(waited), 0), done.stderr
