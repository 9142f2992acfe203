"""Prometheus with the files of `dashboards/`, and the values that its panels show."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from tied import tied

DASHBOARDS = Path(__file__).resolve().parents[2] / "dashboards"
WHOLE = "1h"
"""Range of each query: longer than any run of the tests, so that a rate covers the whole run."""
WHOLE_S = 3600.0
READY_S = 60.0
Labels = dict[str, str]


@dataclass(frozen=True)
class Series:
    """One series that a query returned; `values` in order of time, a single one for an instant query."""

    labels: Labels
    values: list[float]

    @property
    def last(self) -> float:
        return self.values[-1]


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def ask(self, query: str) -> list[Series]:
        """Return each series of a query with its present value."""
        found = self._get("query", query=query)
        return [Series(one["metric"], [float(one["value"][1])]) for one in found]

    def ask_range(self, query: str, seconds: float) -> list[Series]:
        """Return each series of a query over the last `seconds` seconds, with one value for each second."""
        now = time.time()
        found = self._get("query_range", query=query, start=str(now - seconds), end=str(now), step="1")
        return [Series(one["metric"], [float(value) for _, value in one["values"]]) for one in found]

    def panel(self, panel: dict[str, Any], run: str, seconds: float) -> dict[str, list[Series]]:
        """Return query letter → series, for a panel that shows the run `run`."""
        shown = {}
        for target in panel["targets"]:
            query = filled(target["expr"], run)
            shown[target["refId"]] = self.ask(query) if target["instant"] else self.ask_range(query, seconds)
        return shown

    def await_evaluation(self) -> None:
        """Wait until all rules have been evaluated after this call began."""
        now, end = datetime.now(UTC), time.monotonic() + READY_S
        while any(datetime.fromisoformat(group["lastEvaluation"]) <= now for group in self._data("rules")["groups"]):
            assert time.monotonic() < end, "the rules are not evaluated"
            time.sleep(0.1)

    def _get(self, what: str, **arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._data(what, **arguments)["result"]
        return found

    def _data(self, what: str, **arguments: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=arguments, timeout=30).json()
        assert answer["status"] == "success", (arguments, answer)
        data: dict[str, Any] = answer["data"]
        return data


def filled(query: str, run: str) -> str:
    """Return the query with the values that Grafana would fill in for its variables."""
    return query.replace("$__rate_interval", WHOLE).replace("$__range", WHOLE).replace("$run", run)


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name of the dashboard, panel) for each panel."""
    for path in sorted((DASHBOARDS / "grafana" / "dashboards").glob("*.json")):
        yield from ((path.stem, panel) for panel in json.loads(path.read_text("utf-8"))["panels"])


@contextlib.contextmanager
def serving(program: str, folder: Path, port: int, target: int) -> Iterator[Prometheus]:
    """Run Prometheus with the project's rules on 127.0.0.1:`port` within this context; yield a client.

    It scrapes only 127.0.0.1:`target`, at the interval of the project's configuration.
    """
    config = (DASHBOARDS / "prometheus.yml").read_text("utf-8")
    lines = [line for line in config.splitlines() if "8089" not in line]
    text = "\n".join(lines).replace("127.0.0.1:9646", f"127.0.0.1:{target}")
    assert f"127.0.0.1:{target}" in text
    for rules in ("recording.yml", "alerts.yml"):
        text = text.replace(f"- {rules}", f"- {DASHBOARDS / rules}")
    (folder / "prometheus.yml").write_text(text, "utf-8")
    command = [
        program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("w") as log:
        process = tied(command, stdout=log, stderr=log)
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        _await_scrapes(prometheus, process, folder / "prometheus.log")
        yield prometheus
    finally:
        process.terminate()
        process.wait(30)


def _await_scrapes(prometheus: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until Prometheus has scraped its target, which it begins about five seconds after it is ready."""
    end = time.monotonic() + READY_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, "Prometheus is not ready"
        with contextlib.suppress(httpx.TransportError, ValueError):
            if prometheus.ask("up"):
                return
        time.sleep(0.1)
