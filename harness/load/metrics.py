"""Figures of a worker, and `/metrics` for Prometheus: the live verdict, the traffic, the load's own delays.

Nothing is counted here: each scrape reads the judge's `live.json`, Locust's statistics and what workers report. See
`harness.run.metric_table` for the metrics and `harness.run.metrics` for where they come from.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import gevent
import locust
from gevent import pywsgi
from locust.runners import WorkerRunner
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from earwitness.harness.client.tally import ACKNOWLEDGED
from earwitness.harness.errors import SettingsError
from earwitness.harness.load.web_guard import Names
from earwitness.harness.progress import show
from earwitness.harness.report.live_file import read_live
from earwitness.harness.run.metric_table import STAGES, gauge
from earwitness.harness.run.metrics import RunMetrics, acknowledged

if TYPE_CHECKING:
    from earwitness.harness.load.hooks import Life
    from earwitness.harness.load.worker import Part

events: Any = locust.events
REPORT: Final = "earwitness-part"
"""Key of a worker's figures in the reports that Locust's workers send to the master every few seconds."""
SCRAPES_KEPT: Final = 6
"""Number of scrapes whose times are stored, to estimate the interval of the scraper."""
UNKNOWN_INTERVAL_S: Final = 15.0
"""Interval in seconds that is assumed after a single scrape."""
LAST_SCRAPE_MOST_S: Final = 30.0
"""Longest wait in seconds for a last scrape."""
POLL_S: Final = 0.05


class Metrics:
    """Prometheus collector of this process; it reports the latest run."""

    def __init__(self, life: Life) -> None:
        """Start without a run and without a server; `life` is that of the Locust process."""
        self._life = life
        self._run: RunMetrics | None = None
        self._parts: dict[str, Mapping[str, Any]] = {}
        self._server: Any = None
        self._scrapes: deque[float] = deque(maxlen=SCRAPES_KEPT)
        self._finished_at = 0.0
        self.registry = CollectorRegistry()
        self.registry.register(self)
        events.worker_report.add_listener(self._on_report)

    # -- the run ------------------------------------------------------------------------------------------------------

    def begin(self, run: RunMetrics) -> None:
        """Report `run` from now on, and forget the figures of the workers of the run before."""
        self._run = run
        self._parts.clear()

    def enter(self, stage: str) -> None:
        """Note that the run enters `stage`, a name in STAGES."""
        if self._run is not None:
            self._run.stages.enter(stage)
            if stage == STAGES[-1]:
                self._finished_at = time.monotonic()

    def take_part(self, worker: str, figures: Mapping[str, Any]) -> None:
        """Store the latest figures of a worker, as `part_figures` returns them."""
        self._parts[worker] = figures

    def _on_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        if REPORT in data:
            self.take_part(client_id, data[REPORT])

    # -- the server ---------------------------------------------------------------------------------------------------

    def exposition(self, accept: str) -> tuple[bytes, int, dict[str, str]]:
        """Return body, status and headers of the answer to a scrape.

        `accept`: header Accept of the request, which sets the format.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), 200, {"Content-Type": content_type}

    def serve(self, port: int) -> None:
        """Serve the metrics at http://127.0.0.1:`port`/metrics too, for runs without a web UI.

        Raises SettingsError if the port is taken.
        """
        app = Names().wsgi(make_wsgi_app(self.registry))
        self._server = pywsgi.WSGIServer(("127.0.0.1", port), app, log=None)
        try:
            self._server.start()
        except OSError as error:
            fault = f"cannot listen on 127.0.0.1:{port}: {error.strerror}; name another port"
            raise SettingsError("--metrics-port", [fault]) from error

    def close(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Stop the server of `serve`, if it was started, after a last scrape that sees the final verdict.

        Waits only if a scraper has come before, at most LAST_SCRAPE_MOST_S seconds, and until the result of
        `interrupted` changes.
        """
        if self._server is None:
            return
        wait_s = self._last_scrape_s()
        if wait_s:
            show(f"earwitness: waiting for a last scrape of the metrics, at most {wait_s:.0f} s ...")
        before, end = interrupted(), time.monotonic() + wait_s
        while self._scrape_missing() and time.monotonic() < end and interrupted() == before:
            gevent.sleep(POLL_S)
        self._server.stop()  # after requests that are being answered

    def _scrape_missing(self) -> bool:
        return not self._scrapes or self._scrapes[-1] <= self._finished_at

    def _last_scrape_s(self) -> float:
        """Return the seconds to wait for the next scrape, about one and a half intervals; 0.0 if none is expected."""
        if not self._scrapes or not self._finished_at or not self._scrape_missing():
            return 0.0
        gaps = [after - before for before, after in zip(self._scrapes, list(self._scrapes)[1:], strict=False)]
        interval_s = max(gaps, default=UNKNOWN_INTERVAL_S)
        return min(1.5 * interval_s + 1.0, LAST_SCRAPE_MOST_S)

    # -- a scrape -----------------------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Implement `Collector.collect` of prometheus_client: yield the metrics of one scrape."""
        self._scrapes.append(time.monotonic())
        run, runner = self._run, self._life.runner
        parts = self._all_parts()
        yield gauge("build_info", [([version("earwitness")], 1)])
        yield gauge("users", [([], runner.user_count)])
        yield gauge("loop_lag_seconds", _lags(parts))
        if run is None:
            return
        entry = self._life.environment.stats.entries.get((ACKNOWLEDGED, "WS"))  # `get` would make one
        times, total = ({}, 0.0) if entry is None else (entry.response_times, entry.total_response_time)
        yield acknowledged(run.name, times, total)
        planned, started = (sum(int(part["actions"][n]) for part in parts.values()) for n in (0, 1))
        yield from run.metrics(read_live(run.path), (planned, started))

    def _all_parts(self) -> dict[str, Mapping[str, Any]]:
        """Return the figures of all load processes of the run: workers, or this process."""
        part = self._life.latest_part
        if part is None or self._run is None or part.run_dir != self._run.path:  # none, or that of the run before
            return dict(self._parts)
        own = {part.journal.name: part_figures(part)}
        return {**self._parts, **own}


def part_figures(part: Part) -> dict[str, Any]:
    """Return the figures of a load process.

    process  name of its journal
    lag_ms   lag of its event loop, as `Part.lag_ms` returns it; None after its end
    actions  numbers of (planned, started) actions so far
    """
    lag = None if part.ended else part.lag_ms()
    return {"process": part.journal.name, "lag_ms": lag, "actions": part.actions(time.monotonic_ns())}


def report_part(life: Life) -> None:
    """Add the figures of this worker to the reports that Locust sends to the master."""
    assert isinstance(life.runner, WorkerRunner)

    def report(client_id: str, data: dict[str, Any], **_: Any) -> None:
        if life.part is not None:
            data[REPORT] = part_figures(life.part)

    events.report_to_master.add_listener(report)


def _lags(parts: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[list[str], float]]:
    for part in parts.values():
        for statistic in ("p50", "p99", "max"):
            if part["lag_ms"] is not None:
                yield [part["process"], statistic], part["lag_ms"][statistic] / 1e3
