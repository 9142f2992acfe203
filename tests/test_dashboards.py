"""The files of `dashboards/`: current, about metrics that there are, accepted by Prometheus' own tool, for this machine
only. What the panels show is compared with a verdict in `tests/load/test_dashboards.py`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from promql import metrics_in

from earwitness.harness.run.metric_table import SERIES

ROOT = Path(__file__).parents[1]
HERE = ROOT / "dashboards"
SHOWN = sorted((HERE / "grafana" / "dashboards").glob("*.json"))


def read(name: str) -> Any:
    return yaml.safe_load((HERE / name).read_text("utf-8"))


def rules() -> Iterator[dict[str, Any]]:
    for name in ("recording.yml", "alerts.yml"):
        for group in read(name)["groups"]:
            yield from group["rules"]


def queries() -> Iterator[tuple[str, str]]:
    """Each query with its place."""
    for path in SHOWN:
        dashboard = json.loads(path.read_text("utf-8"))
        for panel in dashboard["panels"]:
            yield from ((f"{path.stem}: {panel['title']}", target["expr"]) for target in panel["targets"])
        yield from ((f"{path.stem}: {one['name']}", one["expr"]) for one in dashboard["annotations"]["list"])
        variables = (one for one in dashboard["templating"]["list"] if one["type"] == "query")
        yield from ((f"{path.stem}: ${one['name']}", one["definition"]) for one in variables)
    yield from ((rule.get("record") or rule["alert"], rule["expr"]) for rule in rules())


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('sum by (a, b) (rate(x_total{run="$run", y=~"z|w"}[30s]))', {"x_total"}),
        ("(a > 0) and on (run) (last_over_time(b[$__range]) == 1)", {"a", "b"}),
        ('count(a{text="} and c"} == 1) or vector(0)', {"a"}),
        ("time() - a offset 5m", {"a"}),
        ("histogram_quantile(0.99, sum by (le) (rate(a_bucket[1m])))", {"a_bucket"}),
        ("a:b:rate30s * 1e3", {"a:b:rate30s"}),
        ("label_values(a_info, run)", {"a_info"}),
    ],
)
def test_the_names_in_a_query(query: str, names: set[str]) -> None:
    assert metrics_in(query) == names


def test_each_metric_of_a_query_exists() -> None:
    """It is in our table, or one of our rules records it."""
    known = SERIES | {rule["record"] for rule in rules() if "record" in rule}
    found = {place: metrics_in(query) for place, query in queries()}
    assert len(found) > 40
    assert {place: names - known for place, names in found.items() if names - known} == {}
    assert [place for place, names in found.items() if not names] == []


def test_what_we_serve_is_shown() -> None:
    """Apart from these, each metric stands in a panel, an annotation or a rule."""
    shown = {name for _, query in queries() for name in metrics_in(query)}
    summed = {name for name in SERIES if name.endswith(("_seconds_sum", "_seconds_count"))}
    assert SERIES - shown - summed == set()


def test_the_dashboards_are_current() -> None:
    done = subprocess.run([sys.executable, "build.py", "--check"], cwd=HERE, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [path.stem for path in SHOWN] == ["correctness", "load", "services"]


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.stem)
def test_a_dashboard_for_any_source_and_run(path: Path) -> None:
    """No address of a data source is written down; panels do not overlap and have different titles."""
    dashboard = json.loads(path.read_text("utf-8"))
    assert {one["name"] for one in dashboard["templating"]["list"]} == {"datasource", "run"}
    sources = [one["datasource"]["uid"] for one in (*dashboard["panels"], *dashboard["annotations"]["list"])]
    sources += [target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert set(sources) == {"${datasource}"}
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["title"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert "127.0.0.1" not in path.read_text("utf-8")


def test_the_compose_file_opens_this_machine_only() -> None:
    """Each service takes the network of this machine, to reach a run on 127.0.0.1, and listens there only."""
    services = read("compose.yaml")["services"]
    for name, service in services.items():
        assert service["network_mode"] == "host", name
        assert "ports" not in service, name
        assert ":latest" not in service["image"]
        assert ":" in service["image"]
    listening = [word for word in services["prometheus"]["command"] if "listen-address" in word]
    assert listening == ["--web.listen-address=127.0.0.1:9090"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    (source,) = read("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://127.0.0.1:9090"
    for service in services.values():
        for mount in service["volumes"]:
            if mount.startswith("./"):
                assert (HERE / mount.split(":")[0]).exists(), mount


def test_alerts_say_what_to_do() -> None:
    """Each has a page that exists, and a test in rules_test.yml."""
    alerts = [rule for rule in rules() if "alert" in rule]
    for alert in alerts:
        assert set(alert["annotations"]) == {"summary", "action", "page"}, alert["alert"]
        page = alert["annotations"]["page"].replace("{{ $labels.check }}", "I4")
        assert (ROOT / page).exists(), alert["alert"]
    tests = read("rules_test.yml")["tests"]
    tried = {one["alertname"] for test in tests for one in test.get("alert_rule_test", ()) if one.get("exp_alerts")}
    silent = {
        one["alertname"] for test in tests for one in test.get("alert_rule_test", ()) if not one.get("exp_alerts")
    }
    names = {alert["alert"] for alert in alerts}
    assert (tried, silent) == (names, names)
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert recorded == {one["expr"] for test in tests for one in test.get("promql_expr_test", ())}


@pytest.mark.parametrize("arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yml")])
def test_promtool_accepts_the_files(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian's package prometheus has it")
    done = subprocess.run([promtool, *arguments], cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
