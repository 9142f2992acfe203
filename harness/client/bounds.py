"""Bounds on what one server may send: the table `[bounds]` of a target file, and its defaults.

Without bounds a server decides how much memory the tester uses. Input that exceeds a bound ends its request or its
connection, from the tester's side and with a sentence that names the bound. No check fails for what was cut.

One process speaks to one target, so the bounds belong to the process: `use` sets them when a target is opened.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from earwitness.harness.described import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of a process.

    The defaults are far above what a platform needs, and far below what hurts.

    body_mb        of an HTTP answer
    head_kb        of its status line and headers
    answer_s       for a whole answer, however slowly it arrives
    fragments      of one WebSocket message (`urls.frame_bytes_max` bounds its bytes)
    unsent_mb      that wait because the server does not read
    names          outside the plan (users, rooms, reasons), in one process
    history_pages  of one read of a conversation
    history_rows   of one read of a conversation
    """

    body_mb: int = 64
    head_kb: int = 1024
    answer_s: int = 20
    fragments: int = 10_000
    unsent_mb: int = 32
    names: int = 100_000
    history_pages: int = 5_000
    history_rows: int = 1_000_000

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
    """Return the bounds of this process."""
    return _used[0]


def use(these: Bounds) -> None:
    """Set the bounds of this process."""
    _used[0] = these


def read_bounds(top: Table) -> Bounds:
    """Return the table `[bounds]` of a target file; names that it leaves out have their defaults."""
    table = top.table("bounds", example="{ body_mb = 64 }")
    if table is None:
        return DEFAULTS
    given = {
        field.name: table.whole(field.name, example=str(getattr(DEFAULTS, field.name)), least=1)
        for field in fields(Bounds)
    }
    table.finish()
    return Bounds(**{name: value for name, value in given.items() if value is not None})
