"""Panels and dashboards in Grafana's form.

By hand and not by grafana-foundation-sdk: the tables hold all that our panels need, and nothing has to be installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COLUMNS = 24
"""Width of a dashboard in Grafana's grid."""
SCHEMA = 39
"""Schema of Grafana 11.0; later versions read it."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLOURS = {"PASS": "green", "UNKNOWN": "yellow", "FAIL": "red"}
KINDS = {"stat": 4, "bargauge": 7, "timeseries": 8, "table": 10, "state-timeline": 5}
"""Kind of a panel → its height in the grid."""
INSTANT = ("stat", "bargauge", "table")
"""Kinds that show one value of each series, the last one of the time range."""

HIDDEN = ("Time", "__name__", "instance", "job", "run")
"""Columns that no table shows."""


@dataclass(frozen=True)
class Panel:
    """One panel.

    queries  pairs of a query and its legend; in a table the title of its column of values, which "" hides
    unit     Grafana's name of it
    width    in columns of the grid
    maps     texts for the values 0, 1, 2 … of a state
    names    show the name of a series and not its value
    """

    title: str
    kind: str
    text: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    width: int = 8
    maps: tuple[str, ...] = ()
    names: bool = False

    def rendered(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Return the panel in Grafana's form."""
        shown = {
            "id": number,
            "title": self.title,
            "description": self.text,
            "type": self.kind,
            "datasource": SOURCE,
            "gridPos": {"h": KINDS[self.kind], "w": self.width, "x": x, "y": y},
            "targets": [self._target(n, query, legend) for n, (query, legend) in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": list(self._overrides())},
            "options": self._options(),
        }
        if self.kind == "table":
            columns = self._columns()
            hidden = [*HIDDEN, *(column for column, title in columns.items() if not title)]
            organize = {
                "excludeByName": dict.fromkeys(hidden, True),
                "renameByName": {column: title for column, title in columns.items() if title},
            }
            shown["transformations"] = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
        return shown

    def _target(self, number: int, query: str, legend: str) -> dict[str, Any]:
        instant = self.kind in INSTANT
        how = {"instant": instant, "range": not instant, "format": "table" if self.kind == "table" else "time_series"}
        return {"refId": chr(ord("A") + number), "datasource": SOURCE, "expr": query, "legendFormat": legend, **how}

    def _columns(self) -> dict[str, str]:
        """Return the titles of the columns of values: the legends of the queries."""
        if len(self.queries) == 1:
            return {"Value": self.queries[0][1]}
        return {f"Value #{chr(ord('A') + n)}": legend for n, (_, legend) in enumerate(self.queries)}

    def _defaults(self) -> dict[str, Any]:
        defaults: dict[str, Any] = {"unit": self.unit}
        if self.kind == "timeseries":
            defaults["custom"] = {"lineWidth": 1, "fillOpacity": 5, "showPoints": "auto", "spanNulls": False}
            defaults["min"] = 0
        if self.maps:
            texts = {
                str(value): {"text": text, "color": COLOURS.get(text, "text"), "index": value}
                for value, text in enumerate(self.maps)
            }
            defaults["mappings"] = [{"type": "value", "options": texts}]
        return defaults

    def _overrides(self) -> Iterator[dict[str, Any]]:
        """Colour series that are named like an outcome."""
        if any("outcome" in legend for _, legend in self.queries):
            for name, colour in COLOURS.items():
                fixed = {"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}
                yield {"matcher": {"id": "byName", "options": name}, "properties": [fixed]}

    def _options(self) -> dict[str, Any]:
        if self.kind in ("stat", "bargauge"):
            options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
            if self.kind == "stat":
                return {**options, "textMode": "name" if self.names else "auto", "colorMode": "value"}
            return {**options, "displayMode": "basic", "orientation": "horizontal"}
        if self.kind == "timeseries":
            return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
        return {"showHeader": True} if self.kind == "table" else {"showValue": "auto"}


@dataclass(frozen=True)
class Dashboard:
    """One dashboard; `name` is that of its file."""

    name: str
    title: str
    text: str
    panels: tuple[Panel, ...]

    def rendered(self) -> dict[str, Any]:
        """Return the dashboard in Grafana's form."""
        return {
            "uid": f"earwitness-{self.name}",
            "title": self.title,
            "description": self.text,
            "tags": ["earwitness"],
            "schemaVersion": SCHEMA,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "5s",
            "time": {"from": "now-30m", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": list(_annotations())},
            "templating": {"list": list(_variables())},
            "links": [
                {"type": "dashboards", "title": "Earwitness", "tags": ["earwitness"], "asDropdown": False,
                 "includeVars": True, "keepTime": True, "targetBlank": False, "icon": "external link"}
            ],
            "panels": list(self._placed()),
        }  # fmt: skip

    def _placed(self) -> Iterator[dict[str, Any]]:
        """Place the panels in rows from the left; a row is as high as its highest panel."""
        x = y = height = 0
        for number, panel in enumerate(self.panels, 1):
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            yield panel.rendered(number, x, y)
            x, height = x + panel.width, max(height, KINDS[panel.kind])


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}
    query = "label_values(earwitness_run_info, run)"
    yield {
        "name": "run", "label": "Run", "type": "query", "datasource": SOURCE, "definition": query,
        "query": {"query": query, "refId": "runs"}, "refresh": 2, "sort": 2, "multi": False, "includeAll": False,
    }  # fmt: skip


def _annotations() -> Iterator[dict[str, Any]]:
    """Mark how long each fault was on, and the exact time of its beginning: a short one may lie between two scrapes."""
    common = {"datasource": SOURCE, "enable": True, "hide": False, "iconColor": "orange", "step": "1s"}
    yield {
        **common, "name": "Faults on", "expr": 'earwitness_fault_active{run="$run"} > 0',
        "titleFormat": "{{fault}}", "tagKeys": "kind,where", "useValueForTime": False,
    }  # fmt: skip
    begin = '(earwitness_fault_begin_timestamp_seconds{run="$run"} > 0) * 1000'
    yield {
        **common, "name": "Faults begin", "expr": begin, "titleFormat": "{{fault}} begins", "tagKeys": "kind,where",
        "useValueForTime": True,
    }  # fmt: skip
