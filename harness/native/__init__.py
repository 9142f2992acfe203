"""Native hot path: `_hot.c`, compiled at set-up if there are a C compiler and Python's headers, else plain Python.

The Python path defines the right behaviour, and is the fallback. `HOT` is the compiled module, or None; `WHY` states
the reason in words, for `run.json` and the verdict. The choice is made once, when this module is first imported:
`EARWITNESS_NATIVE=off` chooses the Python path; with `EARWITNESS_NATIVE=on` no run starts without the native path.

    python -m earwitness.harness.native.build    compiles the module anew, or prints what is missing for that
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Final, Protocol

from earwitness.harness.errors import SettingsError

MODULE: Final = "earwitness.harness.native._hot"
VARIABLE: Final = "EARWITNESS_NATIVE"
VERSION: Final = 4
"""Version of `_hot.c` that this code expects: a module that was compiled from another version is not used."""
REBUILD: Final = "python -m earwitness.harness.native.build"


SOCKETS: Final = sys.platform == "linux"
"""True if the native core reads and writes sockets itself, instead of Python."""


class Core(Protocol):
    """Protocol of the native core of one connection (`ChatSession.core` makes it).

    frames   number of frames that the last call of `receive` or `pull` recorded
    next     size in bytes of the next frame, which is complete and which Python must process; 0 if the frame is
             incomplete, or the core does not know its size
    got      number of bytes that the last call of `pull` read, at `now` (monotonic ns)
    written  number of bytes of its frame that the last call of `post` wrote
    sent     number of messages that the last call of `post_many` recorded; their frames have `made` bytes
    """

    frames: int
    next: int
    got: int
    now: int
    written: int
    sent: int
    made: int

    def receive(self, now_ns: int, data: bytes, at: int, /) -> int:
        """Record the usual frames of `data` from byte `at` on; return the position of the first byte not processed."""

    def send(self, now_ns: int, label: str, payload: str, planned_ns: int | None, asks: bool, /) -> bytes | None:
        """Record one message and return its masked frame; None if Python must send it, and nothing was recorded.

        `label`: the room; `payload`: the text; `planned_ns`: planned time of the sending, None without one; `asks`:
        whether the message is a question to the platform's agent.
        """

    def again(self, now_ns: int, message_id: str, /) -> bytes | None:
        """Record one more sending of an unanswered message; return its masked frame, or None as `send` does."""

    def pull(self, fd: int, /) -> int | bytes | None:
        """Read once from the socket `fd` and record the usual frames.

        Return the number of bytes read if all frames were recorded; else the bytes from the first frame on that Python
        must process; 0 at the end of the stream; None if there is nothing to read.
        """

    def post(
        self, fd: int, now_ns: int, label: str, payload: str, planned_ns: int | None, asks: bool, /
    ) -> int | bytes | None:
        """Record one message as `send` does, and write its frame to the socket `fd`.

        Return the frame's size in bytes; the frame itself if the kernel accepted only `written` bytes of it; None as
        `send` does.
        """

    def post_many(
        self, fd: int, label: str, payloads: list[str], starts: list[int] | None, at: int, joined: bool, /
    ) -> bytes:
        """Record the messages `payloads[at:]` to one room, and write their frames to the socket `fd`.

        `starts`: planned start of each in monotonic ns, None means now. Each frame is written by itself; `joined`: one
        write takes many. The clock is read before each write, and the records of all its messages have that time.
        Stops before a message that Python must send, and when the kernel does not accept all. Returns the bytes that it
        has not accepted.
        """


def choose(wanted: str) -> tuple[ModuleType | None, str, str]:
    """Return (the compiled module or None, the reason in words, a sentence about a wrong setting or "").

    `wanted`: "on"; "off"; or "": use the module if it is compiled.
    """
    if wanted not in ("", "on", "off"):
        return None, f"{VARIABLE}={wanted}", f"{wanted!r} is neither on nor off: set one of them, or nothing"
    if wanted == "off":
        return None, f"{VARIABLE}=off", ""
    try:
        found = importlib.import_module(MODULE)
    except ModuleNotFoundError:
        why = "it is not compiled here"
    except ImportError as error:
        why = f"it cannot be loaded ({error})"
    else:
        if found.VERSION == VERSION:
            return found, "compiled at set-up", ""
        why = f"it was compiled from version {found.VERSION} of its source, and this is version {VERSION}"
    fault = f"the native path cannot be used: {why}. Compile it: {REBUILD}" if wanted == "on" else ""
    return None, f"{why}; `{REBUILD}` compiles it", fault


_chosen: Final = choose(os.environ.get(VARIABLE, ""))
HOT: Final[ModuleType | None] = _chosen[0]
WHY: Final[str] = _chosen[1]


def check_setting() -> None:
    """Raise SettingsError if EARWITNESS_NATIVE is neither on nor off, or on without the compiled module."""
    if _chosen[2]:
        raise SettingsError(VARIABLE, [_chosen[2]])


def described() -> dict[str, str]:
    """Return the native path's entry in a run's description: {"native": "on" or "off", "why": reason in words}."""
    return {"native": "off" if HOT is None else "on", "why": WHY}
