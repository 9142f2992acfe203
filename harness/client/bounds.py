"""Bounds on what one server may send: the table `[bounds]` of a target file, and its defaults.

Without bounds a server decides how much memory the tester uses. When input exceeds a bound, the tester ends the request
or the connection with an error that names the bound. Data that is missing for that reason makes no check fail.

One process speaks to one target, so the bounds belong to the process: `use` sets them when a target is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from earwitness.checks.declared import Number, key, keys_of
from earwitness.harness.described import Table


def _most(unit: str = "") -> Number:
    return Number(whole=True, least=1, unit=unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits on what a server may send to this process.

    The defaults are far above what a platform needs, and far below what would exhaust this machine's memory.
    """

    body_mb: int = key(64, _most("MiB"), "body of an HTTP answer")
    head_kb: int = key(1024, _most("KiB"), "status line and headers of an HTTP answer")
    answer_s: int = key(
        20, _most("seconds"), "time for a whole HTTP answer; of a streamed one: for its begin, and each silence in it"
    )
    stream_s: int = key(300, _most("seconds"), "time for a whole HTTP answer that is streamed")
    fragments: int = key(10_000, _most(), "fragments of one WebSocket message (urls.frame_bytes_max bounds its bytes)")
    unsent_mb: int = key(32, _most("MiB"), "what waits to be sent because the server does not read")
    names: int = key(100_000, _most(), "names outside the plan (users, rooms, reasons), in one process")
    history_pages: int = key(5_000, _most(), "pages of one read of a conversation")
    history_rows: int = key(1_000_000, _most(), "rows of one read of a conversation")

    @property
    def body_bytes(self) -> int:
        """Return `body_mb` in bytes."""
        return self.body_mb << 20

    @property
    def head_bytes(self) -> int:
        """Return `head_kb` in bytes."""
        return self.head_kb << 10


DEFAULTS: Final = Bounds()
_used = [DEFAULTS]


def bounds() -> Bounds:
    """Return the limits on what a server may send to this process: those of the last `use`, else DEFAULTS."""
    return _used[0]


def use(these: Bounds) -> None:
    """Set the limits of this process to `these`.

    Call it when a target is opened, before anything is received from it.
    """
    _used[0] = these


def read_bounds(top: Table) -> Bounds:
    """Return the limits of the table `[bounds]` of a target file; keys that it leaves out have their defaults."""
    table = top.table("bounds", example="{ body_mb = 64 }")
    if table is None:
        return DEFAULTS
    return Bounds(**table.fields(keys_of(Bounds)))
