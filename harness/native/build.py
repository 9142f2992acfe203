"""Compile the native hot path beside its source: `python -m earwitness.harness.native.build`.

Set-up does it too, by setuptools. This is for a checkout whose source changed, and to see what is missing where set-up
went on without it. The compiler is that of `CC`, else `cc`; `CFLAGS` adds to its options, for example
`-fsanitize=address,undefined`.
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
    """Return what is missing for compiling, as a sentence; "" if nothing is."""
    if shutil.which(compiler) is None:
        return f"There is no C compiler {compiler!r}: install one (Debian: gcc), or name it in CC."
    if not (headers / "Python.h").exists():
        return f"There is no Python.h in {headers}: install the headers of this Python (Debian: python3-dev)."
    return ""


def compiled(compiler: str, headers: Path, more: list[str]) -> str:
    """Compile the module with the options `more` added; return what is wrong as a sentence, "" if it is compiled now.

    A process that has loaded the old file keeps it: the new one takes its name when it is whole.
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
    """Compile and print the outcome; return the exit code, CANNOT_RUN if it failed."""
    headers = Path(sysconfig.get_path("include"))
    fault = compiled(os.environ.get("CC") or "cc", headers, shlex.split(os.environ.get("CFLAGS", "")))
    say(fault or f"compiled {COMPILED.name}; new processes use it")
    return int(Exit.CANNOT_RUN) if fault else int(Exit.PASS)


if __name__ == "__main__":
    sys.exit(main())
