"""Seeds of trials, in blocks: `make test` runs a sample of the blocks, `make campaign tests` all of them."""

from __future__ import annotations

from typing import Any

import pytest
from _pytest.mark import ParameterSet


def blocks(count: int, sample: int | None = None) -> list[ParameterSet]:
    """Return the numbers of `count` blocks as pytest parameters; those after `sample` are marked as `campaign`.

    `sample`: how many are not marked; None: half of them.
    """
    sample = count // 2 if sample is None else sample
    return [pytest.param(n, marks=[pytest.mark.campaign] if n >= sample else []) for n in range(count)]


def rest(*values: Any) -> ParameterSet:
    """Return a set of parameters that only the campaign tries."""
    return pytest.param(*values, marks=pytest.mark.campaign)
