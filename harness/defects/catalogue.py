"""All defects, in the order of their ids: importing this module imports every module that declares one."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from pathlib import Path

from earwitness.harness.defects.declared import DECLARED, Declaration

NOT_DECLARING = {"__main__", "catalogue"}


def _by_id(one: Declaration) -> tuple[bool, int, str]:
    """Sort Z before S (those are met by tests only), then by number, then by letter: Z6, Z6b, Z10."""
    found = re.fullmatch(r"([A-Z])(\d+)(\w*)", one.defect.id)
    assert found is not None, one.defect.id
    return found[1] != "Z", int(found[2]), found[3]


for _module in pkgutil.iter_modules([str(Path(__file__).parent)]):
    if _module.name not in NOT_DECLARING:
        import_module(f"{__package__}.{_module.name}")

CATALOGUE: tuple[Declaration, ...] = tuple(sorted(DECLARED.values(), key=_by_id))
BY_NAME: dict[str, Declaration] = {key: one for one in CATALOGUE for key in (one.defect.id, one.defect.name)}
"""How `--defect` finds one: by id or by name."""
