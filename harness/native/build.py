"""Compile the native hot path in the folder of its source: `python -m earwitness.harness.native.build`.

Set-up compiles it too, by setuptools. Use this command after a change of the source, or to see what was missing when
set-up continued without the native path. The compiler is that of `CC`, else `cc`; `CFLAGS` adds to its options, for
example `-fsanitize=address,undefined`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from earwitness.harness.errors import Exit
from earwitness.harness.progress import say

SOURCE: Final = Path(__file__).with_name("_hot.c")
COMPILED: Final = SOURCE.with_name("_hot.abi3.so")
OPTIONS: Final = ("-O3", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror=implicit-function-declaration")


def missing(compiler: str, headers: Path) -> str:
    """Return a sentence about what is missing for compiling, "" if nothing is. `headers`: folder of Python.h."""
    if shutil.which(compiler) is None:
        return f"There is no C compiler {compiler!r}: install one (Debian: gcc), or name it in CC."
    if not (headers / "Python.h").exists():
        return f"There is no Python.h in {headers}: install the headers of this Python (Debian: python3-dev)."
    return ""


def compiled(compiler: str, headers: Path, more: list[str]) -> str:
    """Compile the module with the options `more` added; return "" if it is compiled, else a sentence with the reason.

    The new file replaces the old one when it is complete; a process that has loaded the old one keeps using that.
    """
    lacks = missing(compiler, headers)
    if lacks:
        return lacks
    fresh = COMPILED.with_suffix(f".{os.getpid()}")
    command = [compiler, *OPTIONS, *more, f"-I{headers}", str(SOURCE), "-o", str(fresh)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        fresh.unlink(missing_ok=True)
        return f"{compiler} ended with {done.returncode}: {done.stderr.strip()[:2000]}"
    fresh.replace(COMPILED)
    return ""


def main() -> int:
    """Compile the module and print the outcome; return the exit code: PASS, or CANNOT_RUN if it failed."""
    headers = Path(sysconfig.get_path("include"))
    fault = compiled(os.environ.get("CC") or "cc", headers, shlex.split(os.environ.get("CFLAGS", "")))
    say(fault or f"compiled {COMPILED.name}; new processes use it")
    return int(Exit.CANNOT_RUN) if fault else int(Exit.PASS)


if __name__ == "__main__":
    sys.exit(main())
