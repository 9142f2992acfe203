"""Makes `tests/support` importable: the oracle and the simulator are shared by tests of several folders.

Whoever is started in the background of a script inherits a SIGINT that is ignored, and so would the processes that
our tests interrupt.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

SUPPORT = str(Path(__file__).parent / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
