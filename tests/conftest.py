"""Makes `tests/support` importable: the oracle and the simulator are shared by tests of several folders.

Files are given to processes whole, in the order in which they are collected. The whole runs of `tests/load` are the
longest ones, so they come first: what begins last must not take minutes while the other processors have nothing to do.

Whoever is started in the background of a script inherits a SIGINT that is ignored, and so would the processes that
our tests interrupt.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

SUPPORT = str(Path(__file__).parent / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = Path(__file__).parent / "load"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the others in their order."""
    items.sort(key=lambda item: LONGEST not in item.path.parents)
