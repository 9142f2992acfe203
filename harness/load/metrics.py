"""`/metrics` for Prometheus: the live verdict, the traffic that the judge has counted, the load's own delays.

Nothing is counted here: each scrape reads the judge's `live.json` and Locust's statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import locust
from gevent import pywsgi
from locust.runners import WorkerRunner
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from earwitness.checks.verdict import Outcome
from earwitness.harness.client.tally import ACKNOWLEDGED
from earwitness.harness.errors import SettingsError
from earwitness.harness.load.web_guard import Names
from earwitness.harness.report.live_file import LADDER_S, read_live

if TYPE_CHECKING:
    from earwitness.harness.load.coordinator import Conductor
    from earwitness.harness.load.hooks import Life

events: Any = locust.events
LAG = "earwitness-lag-ms"


class Metrics:
    """Prometheus collector of this process; it reports the latest run, `conductor.runs[-1]`."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor
        self._lags: dict[str, Mapping[str, float]] = {}
        self._server: Any = None
        self.registry = CollectorRegistry()
        self.registry.register(self)
        events.worker_report.add_listener(self._heard_lag)

    def exposition(self, accept: str) -> tuple[bytes, int, dict[str, str]]:
        """Return body, status and headers of the answer to a scrape."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), 200, {"Content-Type": content_type}

    def serve(self, port: int) -> None:
        """Serve the metrics on 127.0.0.1:port too, for runs without a web UI.

        Raises SettingsError if the port is taken.
        """
        app = Names().wsgi(make_wsgi_app(self.registry))
        self._server = pywsgi.WSGIServer(("127.0.0.1", port), app, log=None)
        try:
            self._server.start()
        except OSError as error:
            fault = f"cannot listen on 127.0.0.1:{port}: {error.strerror}; name another port"
            raise SettingsError("--metrics-port", [fault]) from error

    def close(self) -> None:
        """Stop the server of `serve`, if it was started."""
        if self._server is not None:
            self._server.stop()

    def collect(self) -> Iterator[Metric]:
        """Implement `Collector.collect` of prometheus_client: yield the metrics of one scrape."""
        runs, life = self._conductor.runs, self._conductor.life
        yield GaugeMetricFamily("earwitness_users", "Virtual users of Locust", life.runner.user_count)
        yield self._loop_lag(life)
        entry = life.environment.stats.entries.get((ACKNOWLEDGED, "WS"))  # `get` would make one
        if entry is not None:
            yield _acknowledged(entry)
        live = read_live(runs[-1]) if runs else None
        if live is not None:
            yield from _verdict(runs[-1].name, live)
            yield from _traffic(live)

    def _heard_lag(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        if LAG in data:
            self._lags[client_id] = data[LAG]

    def _loop_lag(self, life: Life) -> Metric:
        family = GaugeMetricFamily(
            "earwitness_loop_lag_seconds",
            "How late each load process woke its sleepers in the last second",
            labels=["process", "quantile"],
        )
        own = {} if life.part is None else {life.part.journal.name: life.part.lag_ms()}
        for process, lag in {**self._lags, **own}.items():
            for name, quantile in (("p50", "0.5"), ("p99", "0.99"), ("max", "1")):
                family.add_metric([process, quantile], lag[name] / 1e3)
        return family


def report_lag(life: Life) -> None:
    """Send the lag of a worker's event loop with Locust's own reports."""
    assert isinstance(life.runner, WorkerRunner)

    def report(client_id: str, data: dict[str, Any], **_: Any) -> None:
        if life.part is not None:
            data[LAG] = life.part.lag_ms()

    events.report_to_master.add_listener(report)


def _verdict(run: str, live: Mapping[str, Any]) -> Iterator[Metric]:
    told = GaugeMetricFamily("earwitness_run", "The run of these figures", labels=["run", "story", "seed", "state"])
    told.add_metric([run, live["story"], str(live["seed"]), live["state"]], 1)
    yield told
    yield GaugeMetricFamily(
        "earwitness_outcome", "The run's verdict so far: 0 PASS, 1 UNKNOWN, 2 FAIL", Outcome[live["outcome"]]
    )
    labels = ["check", "name", "promised"]
    outcomes = GaugeMetricFamily("earwitness_check_outcome", "0 PASS, 1 UNKNOWN, 2 FAIL", labels=labels)
    examined = CounterMetricFamily("earwitness_check_examined", "Opportunities for a violation seen", labels=labels)
    violations = CounterMetricFamily("earwitness_check_violations", "Violations found", labels=labels)
    for check in live["checks"]:
        which = [check["id"], check["name"], str(check["promised"]).lower()]
        outcomes.add_metric(which, Outcome[check["outcome"]])
        examined.add_metric(which, check["examined"])
        violations.add_metric(which, check["violations"])
    yield from (outcomes, examined, violations)


def _traffic(live: Mapping[str, Any]) -> Iterator[Metric]:
    messages = CounterMetricFamily("earwitness_messages", "Messages by outcome", labels=["event"])
    for event, count in live["messages"].items():
        messages.add_metric([event], count)
    yield messages
    yield CounterMetricFamily("earwitness_connections_opened", "Connections opened", live["connections"]["opened"])
    yield GaugeMetricFamily("earwitness_connections_open", "Connections open now", live["connections"]["open"])
    yield CounterMetricFamily("earwitness_records_judged", "Records that the judge has read", live["records"])
    yield CounterMetricFamily("earwitness_judge_cpu_seconds", "Processor time of the judge", live["judge_cpu_s"])
    fan_out = HistogramMetricFamily(
        "earwitness_fan_out_seconds",
        "From a message's sending to its receipt, by size of the room; sent and received by one process",
        labels=["room"],
    )
    for size, spread in live["fan_out"].items():
        buckets = _buckets(zip(LADDER_S, spread["within"], strict=True), spread["samples"])
        fan_out.add_metric([size], buckets, spread["sum_s"])
    yield fan_out


def _acknowledged(entry: Any) -> Metric:
    """Return the latencies of acknowledgements from Locust's statistics; on the master, those of all processes."""
    times = sorted(entry.response_times.items())
    within = [sum(count for ms, count in times if ms <= bound * 1e3) for bound in LADDER_S]
    family = HistogramMetricFamily("earwitness_acknowledged_seconds", "From a message's sending to its answer")
    samples = sum(entry.response_times.values())
    family.add_metric([], _buckets(zip(LADDER_S, within, strict=True), samples), entry.total_response_time / 1e3)
    return family


def _buckets(within: Iterable[tuple[float, int]], samples: int) -> list[tuple[str, float]]:
    return [*((f"{bound:g}", count) for bound, count in within), ("+Inf", samples)]
