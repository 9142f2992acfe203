"""What a machine needs can be installed as the README says."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK, UV_LOCK = ROOT / "requirements.lock", ROOT / "requirements-uv.lock"
WORKFLOWS = ROOT / ".github" / "workflows"


def test_the_lock_names_the_extras_that_its_packages_ask_for() -> None:
    """With hashes, the pip of Python 3.11.7 takes `coverage[toml]` for unpinned where only `coverage` is."""
    pinned = [Requirement(line) for line in re.findall(r"^([\w.-]+(?:\[[^]]+\])?)==", LOCK.read_text(), re.M)]
    locked = {canonicalize_name(one.name): one.extras for one in pinned}
    asked = 0
    for name, extras in locked.items():
        try:
            requires = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            continue  # not for this machine
        for needed in map(Requirement, requires):
            marker = needed.marker
            if needed.extras and (marker is None or any(marker.evaluate({"extra": one}) for one in ("", *extras))):
                asked += 1
                assert needed.extras <= locked[canonicalize_name(needed.name)], f"{name} asks for {needed}"
    assert asked


def test_the_installer_is_installed_by_its_hash() -> None:
    """What installs everything else by hash must not itself be whatever the index offers."""
    lines = [line for line in (ROOT / "Makefile").read_text().splitlines() if re.search(r"\bpip install\b", line)]
    assert len(lines) == 3
    assert all("--require-hashes" in line or "--no-build-isolation -e ." in line for line in lines), lines
    pinned = re.findall(r"^([\w-]+)==\S+ \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", UV_LOCK.read_text(), re.M)
    assert [name for name, _ in pinned] == ["uv"]


def test_actions_are_pinned_by_commit() -> None:
    """A tag can be moved to other code; a commit cannot."""
    used = re.findall(r"uses: +(\S+)", "".join(path.read_text() for path in WORKFLOWS.glob("*.yml")))
    assert used
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one) for one in used), used
