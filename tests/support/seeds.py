"""Seeds of trials, in blocks: `make test` takes a sample, `make campaign tests` the rest too."""

from __future__ import annotations

import pytest
from _pytest.mark import ParameterSet


def blocks(count: int) -> list[ParameterSet]:
    """Return the numbers of `count` blocks, the second half of them (at least one) marked as of the campaign."""
    sample = count // 2
    return [pytest.param(n, marks=[pytest.mark.campaign] if n >= sample else []) for n in range(count)]
