"""Catalogue of all defects, sorted by id. Importing this module imports every module that declares a defect."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from pathlib import Path

from earwitness.harness.defects.declared import DECLARED, Declaration

NOT_DECLARING = {"__main__", "catalogue"}


def _by_id(one: Declaration) -> tuple[bool, int, str]:
    """Return the sort key: Z before S, which only tests use, then the number, then the letter (Z6, Z6b, Z10)."""
    found = re.fullmatch(r"([A-Z])(\d+)(\w*)", one.defect.id)
    assert found is not None, one.defect.id
    return found[1] != "Z", int(found[2]), found[3]


for _module in pkgutil.iter_modules([str(Path(__file__).parent)]):
    if _module.name not in NOT_DECLARING:
        import_module(f"{__package__}.{_module.name}")

CATALOGUE: tuple[Declaration, ...] = tuple(sorted(DECLARED.values(), key=_by_id))
BY_NAME: dict[str, Declaration] = {key: one for one in CATALOGUE for key in (one.defect.id, one.defect.name)}
"""Defects by id and by name, as `--defect` accepts both."""
