"""Native hot path: `_hot.c`, compiled at set-up where a C compiler and Python's headers are, else Python does its work.

The Python path is the definition of what is right, and the fallback. `HOT` is the compiled module, or None; `WHY` says
which and why, in words that stand in `run.json` and in the verdict. The choice is made once, when this module is first
imported: `EARWITNESS_NATIVE=off` chooses the Python path; with `EARWITNESS_NATIVE=on` no run starts without the native
one.

    python -m earwitness.harness.native.build    compiles it anew, and says what is missing if it cannot
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
VERSION: Final = 2
"""Version of `_hot.c` that this code expects: a file that was compiled before an update is not used."""
REBUILD: Final = "python -m earwitness.harness.native.build"


SOCKETS: Final = sys.platform == "linux"
"""True if the native core reads and writes sockets itself, instead of Python."""


class Core(Protocol):
    """Protocol of the native core of one connection (`ChatSession.core` makes it).

    frames   how many frames the last call of `receive` or `pull` recorded
    next     size in bytes of the next frame, which is whole and which Python must process; 0 if the frame is cut, or
             the core does not know its length
    got      how many bytes the last call of `pull` read, at `now` (monotonic ns)
    written  how many bytes of its frame the last call of `post` wrote
    """

    frames: int
    next: int
    got: int
    now: int
    written: int

    def receive(self, now_ns: int, data: bytes, at: int, /) -> int:
        """Record the usual frames of `data` from byte `at` on; return the position of the first byte not processed."""

    def send(self, now_ns: int, label: str, payload: str, planned_ns: int | None, asks: bool, /) -> bytes | None:
        """Record one message and return its masked frame; None if Python must do it, and nothing has changed.

        `asks`: it is a question to the platform's agent.
        """

    def again(self, now_ns: int, message_id: str, /) -> bytes | None:
        """Record an unanswered message as sent again; return its masked frame, or None as `send` does."""

    def pull(self, fd: int, /) -> int | bytes | None:
        """Read once from the socket `fd` and record the usual frames.

        Returns the number of bytes if all were recorded; else the bytes from the first frame on that is for Python; 0
        at the end of the stream; None if there is nothing to read.
        """

    def post(
        self, fd: int, now_ns: int, label: str, payload: str, planned_ns: int | None, asks: bool, /
    ) -> int | bytes | None:
        """Do what `send` does, and write the frame to the socket `fd`.

        Returns the frame's size in bytes; the frame itself if the kernel accepted only `written` bytes of it; None as
        `send` does.
        """


def choose(wanted: str) -> tuple[ModuleType | None, str, str]:
    """Return (the compiled module or None, the reason in words, what is wrong with the setting or "").

    `wanted`: on; off; or "": use the module if it is compiled.
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
    """Return what a run states about the native path: {"native": "on" or "off", "why": words}."""
    return {"native": "off" if HOT is None else "on", "why": WHY}
