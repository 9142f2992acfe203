"""What a machine needs can be installed as the README says."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parents[1] / "requirements.lock"


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
