"""Decorators of compiled loops: numba, cached on disk, without the GIL; plain Python under NUMBA_DISABLE_JIT=1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])

COMPILED: bool = not getattr(numba.config, "DISABLE_JIT", 0)
"""Whether loops are compiled. False under NUMBA_DISABLE_JIT=1: they run as plain Python."""


def _stamp() -> tuple[float, int]:
    """Return the newest modification time and the total size of this folder's files, as a stamp for numba's cache.

    Numba only checks the file of the outermost function. A helper that was edited in another file of this folder must
    make cached loops stale too.
    """
    states = [path.stat() for path in Path(__file__).parent.glob("*.py")]
    return max(state.st_mtime for state in states), sum(state.st_size for state in states)


_STAMP = _stamp()


def kernel(function: F) -> F:
    """Compile a loop that Python calls (decorator).

    Without a writable directory for the cache (numba tries NUMBA_CACHE_DIR, the package's own folder, then the user's
    cache folder) the loop is compiled anew in each process.

    Loops neither allocate nor keep arrays, so numba's reference counting is off: counting the arrays of `Tables` at
    each call made the shared pass 20 times slower.

    By convention `records` is a chunk of the journal `journal`, and `mids`, `subs`, `slots`, `conns` (-1: none) and
    `seen` belong to its records, as `checks.engine.resolve.resolve` sets them. `w` holds the shared tables. `out` is
    filled with the rows that a loop finds (columns of `checks.engine.fold`), and `totals` is an array of counters to
    which it adds. The caller has made room.
    """
    return _compiled(function, forceinline=False)


def helper(function: F) -> F:
    """Compile a function that compiled loops call (decorator).

    It is always inlined: otherwise `Tables` would be copied at each call.
    """
    return _compiled(function, forceinline=True)


def _compiled(function: F, *, forceinline: bool) -> F:
    if not COMPILED:
        return function
    options: dict[str, Any] = {"nogil": True, "_nrt": False, "forceinline": forceinline}
    compiled: Any
    try:
        compiled = numba.njit(cache=True, **options)(function)
        compiled._cache._cache_file._source_stamp = _STAMP
    except RuntimeError:
        compiled = numba.njit(**options)(function)
    return cast(F, compiled)
