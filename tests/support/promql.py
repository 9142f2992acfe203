"""Names of the metrics in a PromQL query, found by patterns that suit the project's dashboards and rules.

A parser is not needed, because Prometheus itself checks the queries when it runs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_DROPPED = (
    r'"(?:\\.|[^"\\])*"',  # strings first: they may hold brackets
    r"\{[^}]*\}",
    r"\[[^\]]*\]",
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)",
)
"""Patterns of parts that contain no metric: texts, label selectors, ranges, and lists of labels."""
_WORD = re.compile(r"(?<![\w:$.])([A-Za-z_:][\w:]*)\s*(\(?)")
_OPERATORS = frozenset({"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "sum", "count"})


def metrics_in(query: str) -> set[str]:
    """Return the names of all metrics that a query reads.

    Accepts also `label_values(METRIC, LABEL)`, which is Grafana's and not PromQL.
    """
    asked = re.fullmatch(r"label_values\((\w+),\s*\w+\)", query)
    return {asked[1]} if asked else set(_names(query))


def _names(query: str) -> Iterator[str]:
    for dropped in _DROPPED:
        query = re.sub(dropped, " ", query)
    for word, call in _WORD.findall(query):
        if not call and word.lower() not in _OPERATORS:
            yield word
