"""Page `docs/reference/metrics.md`: every metric of `/metrics`, from the table in `harness.run.metric_table`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from earwitness.harness.run.metric_table import HISTOGRAM, OUTCOMES, STAGES, TABLE, THRESHOLD_STATES, Described

INTRO: Final = """# Metrics

A run serves these metrics for Prometheus: at `/metrics` of the web UI, and with `--metrics-port PORT` at
`http://127.0.0.1:PORT/metrics`. [Dashboards](../guide/dashboards.md) shows how to collect and draw them.

- Units are seconds, bytes and ratios.
- The label `run` is the name of the run's directory. One process reports one run at a time, the latest.
- A quality with several states has one series for each state. The series of the present state is 1, the others are 0.
- Counters of checks and messages exist from the start of a run, with 0.
- With several load processes the master reports the figures of all of them.
- After the verdict a process with `--metrics-port` waits for one more scrape, for one and a half intervals of the
  scraper and at most 30 seconds. It does not wait if no scraper has come before."""


def page() -> str:
    """Return the page of metrics, without the line on how it was written."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|", *map(_row, TABLE)]
    return "\n\n".join([INTRO, "\n".join(rows), "## Values of labels", "\n".join(_values())]) + "\n"


def _row(described: Described) -> str:
    shown = described.name if described.kind == HISTOGRAM else described.series[0]
    labels = ", ".join(f"`{label}`" for label in described.labels)
    return f"| `{shown}` | {described.kind} | {labels} | {described.help} |"


def _values() -> Iterator[str]:
    yield "| label | values |"
    yield "|---|---|"
    for label, values in (
        ("stage", STAGES),
        ("outcome", OUTCOMES),
        ("state", THRESHOLD_STATES),
        ("promised", ("true", "false")),
        ("event", ("sent", "acknowledged", "refused", "unanswered", "heard")),
        ("statistic", ("p50", "p99", "max")),
    ):
        yield f"| `{label}` | {', '.join(f'`{value}`' for value in values)} |"
