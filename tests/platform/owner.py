"""A program that owns a platform, run to be killed. With `gevent`: monkey-patched, as Locust is; with `fork`: it
has a forked child that goes on sleeping.

Prints one JSON line about the platform and itself, then waits for the end of standard input.
"""

# ruff: noqa: E402  (gevent patches before anything else is imported)
from __future__ import annotations

import sys

ticks = 0
if "gevent" in sys.argv:
    from gevent import monkey

    monkey.patch_all()
    import gevent

    def tick() -> None:
        global ticks
        while True:
            ticks += 1
            gevent.sleep(0.01)

    gevent.spawn(tick)

import json
import os
import time

from earwitness.harness.platform.launch import launch


def main() -> None:
    started = time.monotonic()
    platform = launch()
    child = None
    if "fork" in sys.argv:
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    about = {
        "seconds": time.monotonic() - started,
        "ticks": ticks,
        "child": child,
        "endpoints": platform.endpoints,
        "pids": [service["pid"] for service in platform.control.status().values()],
    }
    print(json.dumps(about), flush=True)
    sys.stdin.read()
    print(json.dumps({"exit": platform.stop()}), flush=True)


main()
