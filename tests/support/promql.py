"""Names of the metrics in a PromQL query: a reader of words, enough for the queries of our own dashboards and rules.

No parser is needed for that: whether a query is well-formed, Prometheus itself says when it runs it.
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
"""What holds no name of a metric: texts, selectors of labels, ranges, lists of labels."""
_WORD = re.compile(r"(?<![\w:$.])([A-Za-z_:][\w:]*)\s*(\(?)")
_OPERATORS = frozenset({"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "sum", "count"})


def metrics_in(query: str) -> set[str]:
    """Return the names of all metrics that a query reads.

    `label_values(METRIC, LABEL)`, which is Grafana's and not PromQL, is understood too.
    """
    asked = re.fullmatch(r"label_values\((\w+),\s*\w+\)", query)
    return {asked[1]} if asked else set(_names(query))


def _names(query: str) -> Iterator[str]:
    for dropped in _DROPPED:
        query = re.sub(dropped, " ", query)
    for word, call in _WORD.findall(query):
        if not call and word.lower() not in _OPERATORS:
            yield word
