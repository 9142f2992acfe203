"""Seeds of trials, in blocks: `make test` takes a sample, `make campaign tests` the rest too."""

from __future__ import annotations

from typing import Any

import pytest
from _pytest.mark import ParameterSet


def blocks(count: int, sample: int | None = None) -> list[ParameterSet]:
    """Return the numbers of `count` blocks, those behind the first `sample` (None: half) marked as of the campaign."""
    sample = count // 2 if sample is None else sample
    return [pytest.param(n, marks=[pytest.mark.campaign] if n >= sample else []) for n in range(count)]


def rest(*values: Any) -> ParameterSet:
    """Return a set of parameters that only the campaign tries."""
    return pytest.param(*values, marks=pytest.mark.campaign)
