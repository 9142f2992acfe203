"""What a load process loads, and its end: whoever closes its part may end the process next."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent
from gevent.event import Event
from earwitness.harness.load.worker import Part

part = object.__new__(Part)
part._closed, part._footer_written = False, Event()
begun, go_on = Event(), Event()

def slowly():
    begun.set()
    go_on.wait()
    print("written")

def second():
    begun.wait()
    assert not part.ended
    gevent.spawn(go_on.set)
    part.close()
    print("may leave")

part._close = slowly
gevent.joinall([gevent.spawn(part.close), gevent.spawn(second)], timeout=5, raise_error=True)
assert part.ended
"""


def test_who_comes_second_waits_for_the_footer() -> None:
    """A worker that was told to end twice may leave only when its journal is whole, whoever began to close it. In a
    process of its own, because Locust patches the one that imports it."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split("\n")[:2], done.returncode) == (["written", "may leave"], 0), done.stderr


def test_a_load_process_loads_no_compiler() -> None:
    """It judges nothing; the compiler of the checks would cost each one half a second and 70 MB."""
    code = "import sys, earwitness.harness.load; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr
